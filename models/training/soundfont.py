"""Which samples the presets of a SoundFont 2 file play: what is needed to keep splits apart.

Reads the list chunk `pdta` of the SoundFont Technical Specification 2.04; SF3 has the same one.
"""

import struct
from collections import defaultdict
from pathlib import Path

DRUM_BANK = 128
_INSTRUMENT, _KEY_RANGE, _SAMPLE = 41, 43, 53  # generators
_ALL_KEYS = 0x7F00
_RECORDS = {
    "phdr": "<20sHHHIII", "pbag": "<HH", "pgen": "<HH", "inst": "<20sH", "ibag": "<HH", "igen": "<HH",
    "shdr": "<20sIIIIIBbHH",
}


def _chunks(data, start, end):
    while start + 8 <= end:
        name, size = data[start : start + 4], struct.unpack_from("<I", data, start + 4)[0]
        yield name, start + 8, size
        start += 8 + size + size % 2


def _records(path):
    data = memoryview(Path(path).read_bytes())
    for name, start, size in _chunks(data, 12, len(data)):
        if bytes(name) == b"LIST" and bytes(data[start : start + 4]) == b"pdta":
            parts = {bytes(part).decode(): (at, count) for part, at, count in _chunks(data, start + 4, start + size)}
            return {
                name: list(struct.iter_unpack(form, data[parts[name][0] : sum(parts[name])]))
                for name, form in _RECORDS.items()
            }
    raise ValueError(f"{path} is no soundfont")


def _zones(headers, index, bag_field, bags, generators):
    """The generators of each zone of a preset or an instrument, as {operator: amount}."""
    for bag in range(headers[index][bag_field], headers[index + 1][bag_field]):
        yield dict(generators[bags[bag][0] : bags[bag + 1][0]])


def _keys(*zones):
    """The keys that all zones let through."""
    ranges = [zone.get(_KEY_RANGE, _ALL_KEYS) for zone in zones]
    return range(max(each & 255 for each in ranges), min(each >> 8 for each in ranges) + 1)


def samples(path):
    """{(bank, program, key): names of the samples that it plays}"""
    tables = _records(path)
    found = defaultdict(set)
    presets = tables["phdr"]
    for index in range(len(presets) - 1):
        program, bank = presets[index][1:3]
        for outer in _zones(presets, index, 3, tables["pbag"], tables["pgen"]):
            if _INSTRUMENT not in outer:
                continue
            for inner in _zones(tables["inst"], outer[_INSTRUMENT], 1, tables["ibag"], tables["igen"]):
                if _SAMPLE not in inner:
                    continue
                name = tables["shdr"][inner[_SAMPLE]][0].split(b"\0")[0].decode("latin-1")
                for key in _keys(outer, inner):
                    found[bank, program, key].add(name)
    return dict(found)
