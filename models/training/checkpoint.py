"""All that a training is, in one file: stopped at any moment, it goes on as if it had not been."""

import random
from pathlib import Path

import torch

NAME = "checkpoint.pt"


def path(run):
    return Path(run) / NAME


def random_states(device):
    states = {"python": random.getstate(), "torch": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random_states(states, device):
    random.setstate(states["python"])
    torch.set_rng_state(states["torch"].cpu())
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"].cpu(), device)


def save(run, contents):
    """The last one stays whole until this one is."""
    partial = Path(run) / f".{NAME}.partial"
    torch.save(contents, partial)
    partial.rename(path(run))


def load(run, device="cpu"):
    """A run's folder or the file -> its contents, or None where there is none yet.

    `device` is where its tensors go. The file is a pickle: load only your own.
    """
    file = Path(run) if Path(run).suffix == ".pt" else path(run)
    return torch.load(file, map_location=device, weights_only=False) if file.exists() else None
