"""Writes a trained network as the file that Stemflow and Demucs 4.1 load: safetensors of 16-bit floats
in the published layout, with its licence and what it was trained on in the metadata.

    python -m training export RUN mini.safetensors

Of several runs that began with the same weights it writes the mean: M. Wortsman et al., Model Soups (ICML 2022).
"""

import hashlib
import json
import sys
from fractions import Fraction
from pathlib import Path

import torch
from safetensors.torch import save_file

from . import checkpoint, licences, network

LICENCE = "MIT"
LARGEST = 16 * 1024 * 1024


def encode(value):
    """Fractions as `demucs.hf._decode_json` reads them."""
    if isinstance(value, Fraction):
        return {"_type": "fraction", "numerator": value.numerator, "denominator": value.denominator}
    return value


def metadata(contents):
    """Class and arguments as Demucs wants them; beside them what people should know."""
    kwargs = {name: encode(value) for name, value in network.options(contents["config"]).items()}
    about = contents["about"]
    steps = contents["before"] + contents["step"]
    return {
        "klass": "demucs.htdemucs.HTDemucs",
        "args": "[]",
        "kwargs": json.dumps(kwargs),
        "licence": LICENCE,
        "data": licences.statement(about["licences"]),
        "training": json.dumps({"steps": steps, "hours_of_music": about["hours"], "songs": about["songs"]}),
    }


def tensors(contents):
    """The averaged weights, of 16 bits."""
    return {
        name: (value.half() if value.is_floating_point() else value).cpu().contiguous()
        for name, value in contents["average"].items()
    }


def _shared(contents):
    """What runs have in common whose weights have a mean worth having, and which one file can describe."""
    return {"network": contents["config"]["network"], "start": contents["before"], "data": contents["about"]}


def mean(runs):
    """The contents of checkpoints -> those of one whose weights are their mean, and whose steps are those of all."""
    first = runs[0]
    for name, value in _shared(first).items():
        if any(_shared(run)[name] != value for run in runs):
            raise ValueError(f"the runs differ in their {name}: only what began and learnt alike has a mean")
    average = {
        name: sum(run["average"][name] for run in runs) / len(runs) if value.is_floating_point() else value
        for name, value in first["average"].items()
    }
    return first | {"average": average, "step": sum(run["step"] for run in runs)}


def write(contents, path):
    """Writes the file; gives its SHA-256."""
    weights = tensors(contents)
    unfit = [name for name, value in weights.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if unfit:
        raise ValueError(f"16 bits do not hold {', '.join(unfit)}")
    save_file(weights, path, metadata=metadata(contents))
    size = Path(path).stat().st_size
    if size > LARGEST:
        raise ValueError(f"{path} has {size} bytes; at most {LARGEST} are shipped")
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def add_arguments(parser):
    parser.add_argument("runs", type=Path, metavar="RUN", nargs="+", help="a run's folder, or its checkpoint")
    parser.add_argument("file", type=Path, metavar="FILE")


def run(args):
    runs = [checkpoint.load(run) for run in args.runs]
    for run, contents in zip(args.runs, runs):
        if contents is None:
            sys.exit(f"export: no checkpoint in {run}")
    try:
        digest = write(mean(runs), args.file)
    except ValueError as error:
        sys.exit(f"export: {error}")
    print(f"{digest}  {args.file}  {args.file.stat().st_size} bytes")
