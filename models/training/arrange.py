"""A song's notes as four stems: who plays what, and how each stem is produced and mixed."""

from dataclasses import dataclass, field, replace

import numpy as np

from . import amplifier, drums, effects, material, mastering, singing, strings, struck, sustained, synth
from .audio import SOURCES, active_level, chance, decibels, frames, with_level
from .composer import Song
from .effects import butterworth, maybe
from .fluid import fluid

# How loud the stems are in a mix, in dB against each other, before chance moves them.
BALANCE = {"drums": -2.0, "bass": -2.5, "other": -1.5, "vocals": 0.0}
PARTS = ("chords", "chords", "chords", "chords", "pads", "arpeggio", "lead", "power_chords", "power_chords")
DISTORTED = (29, 30)
# Who plays a part, by its role, and how often: presets of soundfonts, and instruments that are calculated.
PLAYERS = {
    "keys": {"sampled": 4, "struck": 4, "organ": 2, "synthesized": 2},
    "guitar": {"sampled": 5, "plucked": 5},
    "pad": {"sampled": 4, "bowed": 2, "wind": 1, "organ": 1, "synthesized": 3},
    "lead": {"sampled": 3, "wind": 2, "bowed": 1, "plucked": 3, "synthesized": 2},
    "pluck": {"sampled": 3, "struck": 3, "plucked": 2, "synthesized": 2},
}
AMPLIFIED = {"plucked": 0.7, "organ": 0.3, "struck": 0.1}
CHOIRS = 0.2  # of the songs, in which one of a soundfont sings along


@dataclass
class Studio:
    """All that may sound in songs of one split."""

    split: str
    bank: dict  # of the voices: {name: (weight, utterances)}
    strokes: dict = field(init=False)
    programs: dict = field(init=False)
    fonts: list = field(init=False)

    def __post_init__(self):
        self.strokes, self.programs = material.strokes(self.split), material.programs(self.split)
        self.fonts = material.soundfonts()


def _sampled(notes, count, rng, studio, role):
    """A preset of a soundfont plays -> (sound, program, name)."""
    choices = studio.programs[role]
    program = int(choices[rng.integers(len(choices))])
    name, path = studio.fonts[rng.integers(len(studio.fonts))]
    return fluid(path).render(notes, count, program), program, f"{name}/{program}"


def drum_stem(song, count, rng, studio):
    sound, names = drums.render(song.drums(), count, rng, studio.strokes)
    sound = effects.random_eq(sound, rng)
    sound = maybe(rng, 0.5, effects.peak_filter, sound, rng.uniform(50, 110), rng.uniform(0, 7), 0.9)
    sound = maybe(rng, 0.6, effects.compress, sound, rng, rng.uniform(-20, -4), rng.uniform(2, 8))
    sound = maybe(rng, 0.4, effects.drive, sound, rng.uniform(-4, 14))
    sound = maybe(rng, 0.5, effects.overheads, sound, rng)
    return maybe(rng, 0.6, effects.reverb, sound, rng, rng.uniform(-30, -9), rng.uniform(0.2, 1.2)), names


def bass_stem(song, count, rng, studio):
    notes = song.bass()
    kind = rng.uniform()
    if kind < 0.3:
        sound, name = synth.render(notes, count, rng, "bass"), "synthesized"
    elif kind < 0.65:
        sound, name = strings.render(notes, count, rng, "bass"), "plucked"
    else:
        sound, _, name = _sampled(notes, count, rng, studio, "bass")
    sound = effects.width(sound, rng.choice([0, 0, 0.3, 1]))
    sound = effects.random_eq(sound, rng)
    sound = maybe(rng, 0.5, effects.drive, sound, rng.uniform(-4, 20))
    sound = maybe(rng, 0.5, butterworth, sound, np.exp(rng.uniform(np.log(700), np.log(9_000))), "low")
    sound = maybe(rng, 0.6, effects.compress, sound, rng, rng.uniform(-16, -5), rng.uniform(2, 6))
    return maybe(rng, 0.1, effects.reverb, sound, rng, -20), [name]


def _role(part, rng):
    if part == "chords":
        return str(rng.choice(["keys", "keys", "guitar", "guitar", "pad"]))
    return {"pads": "pad", "arpeggio": "pluck", "lead": "lead", "power_chords": "guitar"}[part]


def _played(role, notes, count, rng, studio):
    """The part as one of the instruments for `role` plays it -> (sound, program or None, name)."""
    names, shares = zip(*PLAYERS[role].items())
    name = str(rng.choice(names, p=np.array(shares) / sum(shares)))
    if name == "sampled":
        return _sampled(notes, count, rng, studio, role)
    if name == "synthesized":
        sound = synth.render(notes, count, rng, "pad" if role == "pad" else "pluck")
    elif name == "plucked":
        sound = strings.render(notes, count, rng, "lead" if role == "lead" else "guitar")
    elif name == "struck":
        sound = struck.render(notes, count, rng)
    else:
        players = int(rng.choice([1, 3, 5])) if role == "pad" and name != "organ" else 1
        sound = sustained.render(notes, count, rng, name, players)
    return sound, None, name


def _instrument(part, role, notes, count, rng, studio):
    """The part, played and amplified -> (sound, name)."""
    sound, program, name = _played(role, notes, count, rng, studio)
    if chance(rng, AMPLIFIED.get(name, 0.6 if role == "guitar" and program else 0.0)):
        sound = amplifier.amplify(sound, rng, program in DISTORTED or part == "power_chords")
    return with_level(sound, 0.08), name


def _placed(sound, rng):
    sound = maybe(rng, 0.4, effects.width, sound, 0)
    sound = effects.width(sound, rng.uniform(0.3, 1.7))
    return maybe(rng, 0.6, effects.pan, sound, rng.uniform(-0.8, 0.8))


def _part(song, count, rng, studio):
    """One instrument of the stem `other`, or two that play the same, one on each side: most guitars of rock."""
    part = PARTS[rng.integers(len(PARTS))]
    role, notes = _role(part, rng), getattr(song, part)()
    sound, name = _instrument(part, role, notes, count, rng, studio)
    if chance(rng, 0.5 if role == "guitar" else 0.1):
        second, other_name = _instrument(part, role, _loosely(notes, rng), count, rng, studio)
        side, name = rng.uniform(0.5, 1), f"{name} and {other_name}"
        sound = effects.pan(effects.width(sound, 0), -side) + effects.pan(effects.width(second, 0), side)
    else:
        sound = _placed(sound, rng)
    sound = maybe(rng, 0.15, effects.chorus, sound, rng)
    sound = maybe(rng, 0.15, effects.echo, sound, rng, song.beat)
    sound = maybe(rng, 0.7, effects.reverb, sound, rng, rng.uniform(-28, -8))
    return effects.random_eq(sound, rng), name


def _loosely(notes, rng):
    """The notes as someone else plays them."""
    return [replace(note, start=max(0.0, note.start + 0.012 * rng.normal())) for note in notes]


def other_stem(song, count, rng, studio):
    sound, names = np.zeros((count, 2), np.float32), []
    for _ in range(int(rng.choice([1, 2, 2, 3, 3, 4]))):
        part, name = _part(song, count, rng, studio)
        sound += part * decibels(rng.uniform(-8, 2))
        names.append(name)
    return sound, names


def vocal_stem(song, count, rng, studio):
    sound, names = singing.render(song, count, rng, studio.bank)
    if "choir" in studio.programs and chance(rng, CHOIRS):
        choir, _, name = _sampled(song.pads(), count, rng, studio, "choir")
        sound += with_level(choir, active_level(sound) * decibels(rng.uniform(-15, 0)))
        names.append(name)
    return singing.produce(sound, song, rng), names


STEMS = {"drums": drum_stem, "bass": bass_stem, "other": other_stem, "vocals": vocal_stem}


def make_song(seed, seconds, studio):
    """A seed -> (stems [4, frames, 2] in the order of SOURCES, what is in them). The mix is their sum."""
    rng = np.random.default_rng(seed)
    song, count = Song(rng, seconds), frames(seconds)
    stems, names = [], {}
    for source in SOURCES:
        sound, names[source] = STEMS[source](song, count, rng, studio)
        level = 0.1 * decibels(BALANCE[source] + rng.uniform(-7, 4))
        stems.append(with_level(np.nan_to_num(sound).astype(np.float32), level))
    about = {"beats_per_minute": round(song.beats_per_minute, 2), "tonic": song.tonic, "material": names}
    return mastering.master(np.stack(stems), rng), about
