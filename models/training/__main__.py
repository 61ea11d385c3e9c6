"""One command for each step; `python -m training STEP --help` tells more.

{steps}"""

import argparse
import importlib

STEPS = {
    "licences": "collect the licences of the material; fails on an unknown one",
    "generate": "synthesize songs as stems",
    "train": "train a network on them; goes on from its last checkpoint",
    "evaluate": "SDR and SI-SDR on songs that were kept out, against other ways",
    "export": "write a checkpoint as the file that programs load",
    "pack": "put what a machine without network needs into files of a size that can be carried",
}


def main():
    form = argparse.RawDescriptionHelpFormatter
    listed = "".join(f"  {name:10}{summary}\n" for name, summary in STEPS.items())
    about = __doc__.format(steps=listed)
    parser = argparse.ArgumentParser("python -m training", description=about, formatter_class=form)
    parser.add_argument("step", choices=STEPS, metavar="STEP")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="…")
    chosen = parser.parse_args()
    # Only then: importing torch takes seconds, and most steps do without.
    module = importlib.import_module(f"training.{chosen.step}")
    name = f"python -m training {chosen.step}"
    step = argparse.ArgumentParser(name, description=module.__doc__, formatter_class=form)
    module.add_arguments(step)
    module.run(step.parse_args(chosen.arguments))


if __name__ == "__main__":
    main()
