"""Drum kits: sampled strokes, strokes of soundfonts, calculated cymbals and drum machines, mixed at will."""

from functools import lru_cache

import numpy as np
from scipy import signal

from . import audio, cymbals
from .audio import chance, frames, played, stereo, times
from .composer import Note
from .effects import butterworth, pan
from .fluid import fluid
from .soundfont import DRUM_BANK

LONGEST = 2.5  # seconds of a stroke
# What stands in where a kit has no stroke for a role.
STANDS_IN = {
    "clap": "snare", "rim": "snare", "open": "hat", "ride": "hat", "crash": "open", "perc": "tom", "tom": "perc",
}
QUIET_ROLES = ("hat", "open", "ride", "crash", "perc")
METAL = (2.0, 3.0, 4.16, 5.43, 6.79, 8.21)  # of a cymbal's partials: in no simple ratio
VELOCITIES = (50, 90, 120)
CALCULATED = 0.5  # of the cymbals that are not a drum machine's: few were recorded


def synthesize(role, rng):
    """One stroke of a drum machine that was never built, [frames, 2], peak 1."""
    time = times(frames(1.6 if role in ("crash", "ride") else 0.7))
    noise = rng.standard_normal(len(time))
    sound = _SYNTHESIZED.get(role, _drum)(role, time, noise, rng)
    return stereo(sound / (np.abs(sound).max() + 1e-9))


def _sweep(time, low, extra, speed):
    """A sine that falls to `low` Hz from `extra` above it."""
    return np.sin(2 * np.pi * np.cumsum(low + extra * np.exp(-time / speed)) / audio.SAMPLE_RATE)


def _kick(role, time, noise, rng):
    body = _sweep(time, rng.uniform(36, 65), rng.uniform(40, 400), rng.uniform(0.008, 0.06))
    click = rng.uniform(0, 0.5) * noise * np.exp(-time / rng.uniform(0.001, 0.006))
    return np.tanh((body * np.exp(-time / rng.uniform(0.06, 0.4)) + click) * rng.uniform(1, 4))


def _snare(role, time, noise, rng):
    wires = signal.lfilter([1, -rng.uniform(0.5, 0.95)], [1], noise) * np.exp(-time / rng.uniform(0.03, 0.2))
    low = rng.uniform(150, 280)
    skin = _sweep(time, low, rng.uniform(0, 120), 0.02) + 0.5 * _sweep(time, 1.59 * low, 0, 0.02)
    short = 0.3 if role == "rim" else 1.0
    mixed = rng.uniform(0.3, 0.8) * wires + rng.uniform(0.3, 1) * skin * np.exp(-time / rng.uniform(0.02, 0.12))
    return mixed * np.exp(-time / (short * 0.3))


def _clap(role, time, noise, rng):
    spacing = rng.uniform(0.008, 0.014)
    bursts = sum(np.exp(-np.abs(time - number * spacing) / 0.003) for number in range(3))
    tail = np.exp(-time / rng.uniform(0.05, 0.2))
    return butterworth(noise * (bursts + tail), [rng.uniform(500, 900), rng.uniform(3_000, 9_000)], "band", 1)


def _cymbal(role, time, noise, rng):
    length = {"hat": rng.uniform(0.015, 0.06), "open": rng.uniform(0.12, 0.35), "ride": rng.uniform(0.2, 0.5)}
    decay = length.get(role, rng.uniform(0.4, 0.9))
    low = rng.uniform(400, 1_100)
    metal = sum(np.sign(np.sin(2 * np.pi * low * ratio * time)) for ratio in METAL) / len(METAL)
    mixed = rng.uniform(0.2, 1) * noise + rng.uniform(0.2, 1.5) * metal
    strike = 1 + 2 * np.exp(-time / 0.01) * (role in ("ride", "crash"))
    return butterworth(mixed, rng.uniform(3_500, 9_000), "high") * np.exp(-time / decay) * strike


def _drum(role, time, noise, rng):
    low = rng.uniform(70, 300) if role == "tom" else rng.uniform(300, 1_200)
    body = _sweep(time, low, rng.uniform(0, 0.6) * low, 0.03) * np.exp(-time / rng.uniform(0.05, 0.3))
    return body + rng.uniform(0, 0.3) * noise * np.exp(-time / 0.015)


_SYNTHESIZED = {
    "kick": _kick, "snare": _snare, "rim": _snare, "clap": _clap, "hat": _cymbal, "open": _cymbal, "ride": _cymbal,
    "crash": _cymbal,
}


def _trimmed(sound):
    """From the first frame that is heard to the last; peak 1, with a short fade at the end."""
    heard = np.flatnonzero(np.abs(sound).max(1) > 0.002 * np.abs(sound).max() + 1e-9)
    if not len(heard):
        return sound[:1]
    sound = sound[heard[0] : heard[-1] + 1]
    sound = sound / np.abs(sound).max()
    fade = min(len(sound) // 4, 800)
    sound[len(sound) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)[:, None]
    return sound


@lru_cache(maxsize=400)
def recorded(stroke):
    """The layers of a stroke from soft to hard, each [frames, 2] with peak 1."""
    if stroke.kit is None:
        return [_trimmed(audio.read(stroke.path)[: frames(LONGEST)])]
    font, count = fluid(stroke.path), frames(LONGEST)
    notes = [[Note(0, LONGEST, stroke.key, velocity)] for velocity in VELOCITIES]
    return [_trimmed(font.render(each, count, stroke.kit, DRUM_BANK)) for each in notes]


def _faster(sound, speed):
    """Plays it at another speed: higher and shorter, or lower and longer."""
    index = np.arange(0, len(sound) - 1, speed)
    frame = np.arange(len(sound))
    return np.stack([np.interp(index, frame, channel) for channel in sound.T], axis=1).astype(np.float32)


class Kit:
    """Strokes for all roles, chosen when a role is first struck. `names` tells what was chosen."""

    def __init__(self, rng, strokes, synthetic):
        self.rng, self.strokes, self.synthetic = rng, strokes, synthetic
        self.speed, self.spread = rng.uniform(0.88, 1.14), rng.uniform(0, 0.7)
        self.layers, self.places, self.levels, self.names = {}, {}, {}, []

    def hit(self, role, strength):
        """[frames, 2]"""
        if role not in self.layers:
            self._choose(role)
        layers = self.layers[role]
        layer = layers[min(len(layers) - 1, int(strength * len(layers)))]
        return layer * np.float32(strength**1.3 * self.levels[role])

    def _choose(self, role):
        rng = self.rng
        place = 0 if role in ("kick", "snare", "clap") else rng.uniform(-1, 1) * self.spread
        layers, name = self._stroke(role)
        self.names.append(name)
        self.layers[role] = [pan(layer, place) for layer in layers]
        self.levels[role] = rng.uniform(0.6, 1.2) * (rng.uniform(0.2, 1) if role in QUIET_ROLES else 1)

    def _stroke(self, role):
        """(its layers from soft to hard, what it is)"""
        rng = self.rng
        choices = self.strokes.get(role) or self.strokes.get(STANDS_IN.get(role), [])
        if not choices or chance(rng, self.synthetic):
            return [synthesize(role, rng)], f"synthesized {role}"
        if role in cymbals.DECAYS and chance(rng, CALCULATED):
            return [cymbals.stroke(role, rng, LONGEST)], f"calculated {role}"
        stroke = choices[rng.integers(len(choices))]
        speed = self.speed * rng.uniform(0.93, 1.07)
        return [_faster(layer, speed) for layer in recorded(stroke)], stroke.name()


def render(hits, count, rng, strokes):
    """[Hit] -> ([count, 2], names of what sounds). Every third kit or so is synthesized for the most part."""
    kit = Kit(rng, strokes, float(rng.choice([0.1, 0.1, 0.3, 0.9])))
    return played(hits, count, lambda hit: kit.hit(hit.role, hit.strength)), kit.names
