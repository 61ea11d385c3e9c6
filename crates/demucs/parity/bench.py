"""Our Demucs against the one for Python, side by side: `scripts/bench-demucs` calls it.

    bench.py [PAIRS] [SECONDS]

htdemucs at its published size with random weights, the command line's own settings (overlap 0.25,
no shifts), all cores. Both use the same libtorch, the one that Python brings. What is timed is the
separation, after the model is loaded; ours reads the song and writes the stems within that time.
"""

import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import reference

ROOT = Path(__file__).parents[3]
LIBRARIES = Path(torch.__file__).parent / "lib"


def theirs(model, mix, device):
    """Runs in a process of its own: prints the seconds that Python takes."""
    net = reference.load_model(model)
    song = reference.read_wav(mix)
    start = time.perf_counter()
    reference.separate(net, song, device=device)
    print(f"seconds {time.perf_counter() - start}")


def run(command, environment=None):
    """The seconds that a program says it took, and the most memory it held, in MiB."""
    child = subprocess.Popen(
        [str(part) for part in command],
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        text=True,
    )
    told = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{command[0]} failed: {told}")
    seconds = re.search(r"seconds ([\d.]+)|in ([\d.]+) s", told)
    return float(seconds[1] or seconds[2]), usage.ru_maxrss / 1024


def pair(model, mix, device, folder):
    ours = [ROOT / "target/release/examples/separate", mix, folder / "ours"]
    ours += ["--model", model, "--device", device]
    return (
        run([sys.executable, __file__, "theirs", model, mix, device]),
        run(ours, {"LD_LIBRARY_PATH": str(LIBRARIES)}),
    )


def median(runs, which):
    return statistics.median(run[which] for run in runs)


def bench(pairs, seconds):
    devices = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
    print(f"htdemucs, random weights, {seconds} s of audio, {os.cpu_count()} cores, medians of {pairs} pairs")
    print("| device | Demucs 4.1.0 for Python | ours | ratio (least to most) | peak memory |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        model = reference.save_model(*reference.PUBLISHED["htdemucs"], folder / "model")
        mix = folder / "mix.wav"
        reference.write_wav(mix, reference.make_mix(int(seconds * reference.RATE), 1))
        for device in devices:
            runs = [pair(model, mix, device, folder) for _ in range(pairs)]
            python, ours = [run[0] for run in runs], [run[1] for run in runs]
            ratios = sorted(ours[0] / python[0] for python, ours in runs)
            told = [
                f"{median(side, 0):.1f} s, {seconds / median(side, 0):.2f} × real time"
                for side in (python, ours)
            ]
            print(
                f"| {device} | {told[0]} | {told[1]} |"
                f" {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |"
                f" {median(python, 1):.0f} MiB, {median(ours, 1):.0f} MiB |"
            )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["theirs", model, mix, device]:
            theirs(model, mix, device)
        case arguments:
            bench(*([int(argument) for argument in arguments] + [5, 60][len(arguments) :]))
