"""One command for each step; `python -m training STEP --help` tells more."""

import argparse
import importlib

STEPS = {
    "licences": "collect the licences of the material; fails on an unknown one",
    "generate": "synthesize songs as stems",
    "train": "train a network on them; goes on from its last checkpoint",
    "evaluate": "SDR and SI-SDR on songs that were kept out, against other ways",
    "export": "write a checkpoint as the file that programs load",
    "pack": "put all that a machine without network needs into parts of a size",
}


def main():
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    modules = {}
    for name, summary in STEPS.items():
        modules[name] = importlib.import_module(f"training.{name}")
        details = modules[name].__doc__
        form = argparse.RawDescriptionHelpFormatter
        modules[name].add_arguments(steps.add_parser(name, help=summary, description=details, formatter_class=form))
    args = parser.parse_args()
    modules[args.step].run(args)


if __name__ == "__main__":
    main()
