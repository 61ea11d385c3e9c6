"""What is learnt from: `material.toml`, and where it lies on this machine.

By default that is where Debian's packages put it. With STEMFLOW_MATERIAL a folder is taken for the
file system's root: `pack` makes such folders.
"""

import ctypes
import hashlib
import os
import shutil
import sys
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

FLUIDSYNTH = "libfluidsynth.so.3"
FESTIVAL_VOICES = Path("/usr/share/festival/voices")
SPLITS = ("train", "valid", "test")
RECORDED = ("backing", "other", "vocals")


@dataclass(frozen=True)
class Stroke:
    """How a part of a drum kit is struck: a key of a soundfont's kit, or a recorded sample."""

    role: str
    path: Path
    kit: int | None = None
    key: int | None = None

    def name(self):
        return f"{self.path.stem}/{self.kit}/{self.key}" if self.kit is not None else self.path.stem


def root():
    return Path(os.environ.get("STEMFLOW_MATERIAL", "/"))


@lru_cache
def listed():
    """What `material.toml` says."""
    return tomllib.loads((Path(__file__).parent / "material.toml").read_text())


def digest():
    """Of the list: songs that were made of another list are other songs."""
    return hashlib.sha256((Path(__file__).parent / "material.toml").read_bytes()).hexdigest()[:16]


def soundfonts():
    """[(name, path)]"""
    return [(font["name"], root() / font["file"]) for font in listed()["soundfont"]]


def drum_font():
    return next(root() / font["file"] for font in listed()["soundfont"] if font["drums"])


def programs(split):
    """{role: programs of General MIDI}; one that stands there twice is taken twice as often."""
    return {role: splits[split] for role, splits in listed()["programs"].items() if split in splits}


def sample_path(name):
    return root() / listed()["oneshots"]["folder"] / f"{name}.flac"


def sample_names():
    """All recorded samples, of every split."""
    roles = [splits for splits in listed()["oneshots"].values() if isinstance(splits, dict)]
    return sorted(name for splits in roles for names in splits.values() for name in names)


def strokes(split):
    """{role: [Stroke]}"""
    found = {}
    for role, splits in listed()["strokes"].items():
        for kit in splits.get(split, []):
            found.setdefault(role, []).append(Stroke(role, drum_font(), kit, splits["key"]))
    for role, splits in listed()["oneshots"].items():
        if isinstance(splits, dict):
            for name in splits.get(split, []):
                found.setdefault(role, []).append(Stroke(role, sample_path(name)))
    return found


def recordings(kind):
    """{path: its share of the crops that are taken}, of one kind of `RECORDED`."""
    entries = [entry for entry in listed()["recording"] if kind in entry]
    whole = sum(entry["weight"] for entry in entries)
    files = [(entry["weight"] / whole, recorded_files(entry, kind)) for entry in entries]
    return {path: share / len(paths) for share, paths in files for path in paths}


def recorded_files(entry, kind):
    """The paths of one kind of an entry of `[[recording]]`, in order."""
    return sorted(path for name in entry.get(kind, []) for path in (root() / entry["folder"]).glob(name))


def voices(split=None):
    """The voices of a split, or all."""
    return [voice for voice in listed()["voice"] if split in (None, voice["split"])]


def missing_recordings():
    """The packages of those that are not there."""
    return sorted({each["package"] for each in listed()["recording"] if not (root() / each["folder"]).exists()})


def missing_packages(speakers=()):
    """The Debian packages whose material or program is not there. `speakers`: the voices that are to speak."""
    packages = {font["package"] for font in listed()["soundfont"] if not (root() / font["file"]).exists()}
    if not all(sample_path(name).exists() for name in sample_names()):
        packages.add(listed()["oneshots"]["package"])
    packages.update(missing_recordings())
    for voice in speakers:
        if not shutil.which(voice["command"]):
            packages |= {voice["command"], voice["package"]}
        if voice["command"] == "festival" and not list(FESTIVAL_VOICES.glob(f"*/{voice['name']}")):
            packages.add(voice["package"])
    try:
        ctypes.CDLL(FLUIDSYNTH)
    except OSError:
        packages.add("libfluidsynth3")
    return sorted(packages)


def require(packages):
    """Ends the program where packages are missing, with the command that gets them."""
    if packages:
        sys.exit(
            "training: missing material; on Debian or Ubuntu:\n"
            f"  sudo apt-get install -y --no-install-recommends {' '.join(packages)}"
        )
