"""Collects the licences of all material, and fails on one that is not known to be permissive.

    python -m training licences [--json]
"""

import fnmatch
import json
import re
import sys
from pathlib import Path

from . import material

COPYRIGHT = Path("usr/share/doc")
ONLY = "Trained only on music "  # what files of all versions of this recipe begin with
STATEMENT = (
    f"{ONLY}that models/training of Stemflow makes of oscillators, noise and material under permissive "
    "licences, some of it recorded, none of it sung: "
)


class UnknownLicence(Exception):
    """It could not be found, or it is none that is allowed."""


def _plain(text):
    """Words that one blank parts: how a licence is wrapped and ruled does not matter."""
    return " ".join(text.split())


def _copyright(package):
    path = material.root() / COPYRIGHT / package / "copyright"
    if not path.exists():
        raise UnknownLicence(f"{package}: no copyright file; is it installed?")
    return path.read_text(errors="replace")


def stanzas(text):
    """A machine-readable copyright file (DEP-5) as [(patterns, licence)], in its order."""
    found = []
    for paragraph in re.split(r"\n\s*\n", text):
        fields, name = {}, None
        for line in paragraph.splitlines():
            if line[:1] in " \t" and name:
                fields[name] += " " + line.strip()
            elif ":" in line:
                name, value = line.split(":", 1)
                fields[name] = value.strip()
        if "License" in fields and ("Files" in fields or "Format" in fields):
            # The first paragraph has no files: its licence is that of the whole, if it names one.
            found.append((fields.get("Files", "*").split(), fields["License"].split()[0]))
    return found


def licence_of(file, parsed):
    """Of one file: the last stanza that matches it counts, says DEP-5."""
    matching = [licence for patterns, licence in parsed if any(fnmatch.fnmatch(file, each) for each in patterns)]
    if not matching:
        raise UnknownLicence(f"{file}: no stanza of the copyright file names it")
    return matching[-1]


def _files(package, entry):
    oneshots = material.listed()["oneshots"]
    samples = material.sample_names() if package == oneshots["package"] else []
    return entry.get("files", []) + [f"{oneshots['source']}/{name}.flac" for name in samples]


def check(package, entry, text, allowed):
    """The licence of a package's material, as a row of the table."""
    if entry["licence"] not in allowed:
        raise UnknownLicence(f"{package}: {entry['licence']} is not among the allowed licences")
    files = _files(package, entry)
    parsed = stanzas(text)
    for file in files:
        licence = licence_of(file, parsed)
        if licence != entry["licence"]:
            raise UnknownLicence(f"{package}: {file} is under {licence}, not {entry['licence']}")
    for words in entry.get("evidence", []):
        if _plain(words) not in _plain(text):
            raise UnknownLicence(f"{package}: its copyright file does not say: {words}")
    if not files and not entry.get("evidence"):
        raise UnknownLicence(f"{package}: nothing says that it is under {entry['licence']}")
    return {"package": package, "licence": entry["licence"], "material": _names(package)}


def _names(package):
    listed = material.listed()
    names = [each["name"] for kind in ("soundfont", "voice") for each in listed[kind] if each["package"] == package]
    if package == listed["oneshots"]["package"]:
        names.append(f"{len(material.sample_names())} samples")
    recorded = [each for each in listed["recording"] if each["package"] == package]
    count = sum(len(material.recorded_files(each, kind)) for each in recorded for kind in material.RECORDED)
    if count:
        names.append(f"{count} recorded file{'s' * (count > 1)}")
    return names


def used_packages():
    """Every package that something in the list comes from."""
    listed = material.listed()
    named = {each["package"] for kind in ("soundfont", "voice", "recording") for each in listed[kind]}
    return sorted(named | {listed["oneshots"]["package"]})


def collect(packages=None, read=_copyright):
    """The rows of the table: one for each package."""
    listed = material.listed()
    rows = []
    for package in packages or used_packages():
        if package not in listed["package"]:
            raise UnknownLicence(f"{package}: material.toml gives it no licence")
        rows.append(check(package, listed["package"][package], read(package), listed["allowed"]))
    return rows


def statement(rows):
    """What a model file says of the data it was trained on."""
    parts = [f"{', '.join(row['material'])} ({row['package']}: {row['licence']})" for row in rows]
    return f"{STATEMENT}{'; '.join(parts)}."


def table(rows):
    lines = [f"| {row['package']} | {', '.join(row['material'])} | {row['licence']} |" for row in rows]
    return "\n".join(["| package | material | licence |", "|---|---|---|", *lines])


def add_arguments(parser):
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args):
    try:
        rows = collect()
    except UnknownLicence as error:
        sys.exit(f"licences: {error}")
    print(json.dumps(rows, indent=2) if args.json else table(rows))
