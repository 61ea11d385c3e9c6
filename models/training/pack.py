"""Puts all that generating and training need into files of a size that can be carried to a machine
without network: this package, the voices, soundfonts, samples and recordings, FluidSynth and its libraries.

    python -m training pack DATA PACK

There, where Python has what `requirements.txt` names (torch with CUDA), and the parts lie in a folder:

    cat PACK/part-* | tar -x -C WORK
    WORK/run --songs 600 --config mini-gpu --minutes 25

`run` makes the songs that are not there yet on all cores, trains, and leaves WORK/out/checkpoint.pt and
mini.safetensors. Stopped, or started again with the checkpoint put back, it goes on.
"""

import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from . import licences, material, voices
from .generate import UTTERANCES

PACKAGE = Path(__file__).parent
# The C library and what belongs to it are those of the machine on which they run.
OF_THE_SYSTEM = (
    "libc.so", "libm.so", "libdl.so", "libpthread.so", "librt.so", "libgcc_s.so", "libstdc++.so", "linux-vdso",
    "ld-linux",
)

RUN = """#!/usr/bin/env bash
# Generates what is missing, trains for a while, exports. Goes on where it was stopped.
#   run [--songs N] [--config NAME] [--minutes M] [--python PYTHON]
set -euo pipefail
work=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
songs=600 config=mini-gpu minutes=20 python=python3
while (($#)); do
    case $1 in
        --songs) songs=$2 ;;
        --config) config=$2 ;;
        --minutes) minutes=$2 ;;
        --python) python=$2 ;;
        *) echo "run: what is $1?" >&2; exit 2 ;;
    esac
    shift 2
done
cores=$(nproc)
export STEMFLOW_MATERIAL=$work/root LD_LIBRARY_PATH=$work/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} OMP_NUM_THREADS=1
cd "$work"
"$python" -m training generate data --split valid --songs 24 --processes "$cores"
"$python" -m training generate data --split train --songs "$songs" --processes "$cores"
unset OMP_NUM_THREADS
"$python" -m training train data out --config "$config" --minutes "$minutes" --threads "$cores"
"$python" -m training export out out/mini.safetensors
"""


class Parts(io.RawIOBase):
    """Writes one stream into files PREFIX-00, PREFIX-01, … of at most `size` bytes."""

    def __init__(self, prefix, size):
        self.prefix, self.size, self.paths, self.left, self.file = prefix, size, [], 0, None

    def writable(self):
        return True

    def write(self, data):
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view):
            if not self.left:
                self._next()
            piece = view[done : done + self.left]
            self.file.write(piece)
            done, self.left = done + len(piece), self.left - len(piece)
        return len(view)

    def _next(self):
        if self.file:
            self.file.close()
        self.paths.append(Path(f"{self.prefix}-{len(self.paths):02d}"))
        self.file, self.left = open(self.paths[-1], "wb"), self.size

    def close(self):
        if self.file:
            self.file.close()
        super().close()


def libraries():
    """FluidSynth's library and all that it links but the system's own."""
    lines = subprocess.run(["ldconfig", "-p"], check=True, capture_output=True, text=True).stdout.splitlines()
    found = [line.split("=> ")[1] for line in lines if line.strip().startswith(material.FLUIDSYNTH)]
    if not found:
        sys.exit(f"pack: ldconfig knows no {material.FLUIDSYNTH}")
    linked = subprocess.run(["ldd", found[0]], check=True, capture_output=True, text=True).stdout.splitlines()
    paths = [line.split("=> ")[1].split(" (")[0] for line in linked if "=> /" in line]
    return [Path(path) for path in found[:1] + paths if not Path(path).name.startswith(OF_THE_SYSTEM)]


def ingredients(data):
    """[(file here, its name in the pack)]"""
    root = material.root()
    files = [path for _, path in material.soundfonts()]
    files += [material.sample_path(name) for name in material.sample_names()]
    files += [path for kind in material.RECORDED for path in material.recordings(kind)]
    files += [root / licences.COPYRIGHT / package / "copyright" for package in licences.used_packages()]
    pairs = [(path, Path("root") / path.relative_to(root)) for path in files]
    pairs += [(path.resolve(), Path("lib") / path.name) for path in libraries()]
    spoken = [voices.file(Path("voices"), each) for each in material.voices()]
    pairs += [(data / path, Path("data") / path) for path in spoken]
    sources = [path for form in ("*.py", "*.toml", "configs/*.toml") for path in sorted(PACKAGE.glob(form))]
    return pairs + [(path, Path("training") / path.relative_to(PACKAGE)) for path in sources]


def write(pairs, prefix, size):
    """Packs files and the script `run`; gives the parts."""
    with Parts(prefix, size) as parts, tarfile.open(fileobj=parts, mode="w|", dereference=True) as archive:
        for path, name in pairs:
            archive.add(path, str(name))
        script = tarfile.TarInfo("run")
        script.size, script.mode = len(RUN.encode()), 0o755
        archive.addfile(script, io.BytesIO(RUN.encode()))
    return parts.paths


def add_arguments(parser):
    parser.add_argument("data", type=Path, metavar="DATA", help="where the voices are, or are to be made")
    parser.add_argument("pack", type=Path, metavar="PACK", help="a folder, emptied first")
    parser.add_argument("--mebibytes", type=float, default=60, help="of a part at most")


def run(args):
    voices.ensure(args.data / "voices", UTTERANCES)
    shutil.rmtree(args.pack, ignore_errors=True)
    os.makedirs(args.pack)
    parts = write(ingredients(args.data), args.pack / "part", int(args.mebibytes * 1024 * 1024))
    for part in parts:
        print(f"{part}  {part.stat().st_size} bytes")
