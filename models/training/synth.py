"""A subtractive and FM synthesizer, drawn anew for each part: no two songs share a sound."""

from dataclasses import dataclass

import numpy as np

from .audio import SAMPLE_RATE, add_at, chance, frames, hertz, log_uniform, stereo, times
from .effects import butterworth


@dataclass(frozen=True)
class Patch:
    wave: str
    voices: int
    detune: float  # cents
    attack: float  # seconds, as decay and release
    decay: float
    sustain: float
    release: float
    cutoff: float  # Hz
    sweep: float  # octaves by which the filter begins above it
    sub: float  # of a sine at the fundamental
    index: float  # of the modulation, and its ratio to the carrier
    ratio: float
    glide: bool = False


def draw_patch(rng, kind):
    """`kind` is bass, pad or pluck."""
    ratio = float(rng.choice([0.5, 1, 1, 2, 3, 3.5, 7]))
    common = {"index": rng.uniform(0.5, 5), "ratio": ratio, "detune": rng.uniform(4, 16)}
    if kind == "bass":
        return Patch(
            str(rng.choice(["sine", "sine", "saw", "square", "triangle", "fm"])), int(rng.choice([1, 1, 1, 3])),
            attack=0.005, decay=rng.uniform(0.15, 1.2), sustain=rng.uniform(0.2, 1), release=0.05,
            cutoff=log_uniform(rng, 200, 3_000), sweep=rng.uniform(0, 3), sub=rng.uniform(), glide=chance(rng, 0.25),
            **common,
        )
    wave, voices = str(rng.choice(["saw", "saw", "square", "triangle", "fm"])), int(rng.choice([1, 1, 3, 5]))
    if kind == "pad":
        return Patch(
            wave, voices, attack=rng.uniform(0.05, 0.5), decay=2.0, sustain=0.8, release=0.4,
            cutoff=log_uniform(rng, 400, 6_600), sweep=0.5, sub=0.0, **common,
        )
    return Patch(
        wave, voices, attack=0.005, decay=rng.uniform(0.1, 0.6), sustain=rng.uniform(0, 0.7), release=0.12,
        cutoff=log_uniform(rng, 500, 10_000), sweep=rng.uniform(0, 3), sub=0.0, **common,
    )


def _step_correction(phase, increment):
    """PolyBLEP: rounds a saw's step over one frame on both sides, against aliases.

    V. Valimaki, A. Huovilainen, Antialiasing Oscillators in Subtractive Synthesis, SPM 24 (2007).
    """
    after, before = phase / increment, (phase - 1) / increment
    rising = np.where(phase > 1 - increment, before * before + 2 * before + 1, 0)
    return np.where(phase < increment, 2 * after - after * after - 1, rising)


def _saw(cycles, increment):
    phase = cycles % 1
    return 2 * phase - 1 - _step_correction(phase, increment)


def wave(kind, frequency, rng):
    """[frames]; `frequency` in Hz for each frame."""
    increment = frequency / SAMPLE_RATE
    cycles = np.cumsum(increment) + rng.uniform()
    if kind == "sine":
        return np.sin(2 * np.pi * cycles)
    if kind == "triangle":
        return 2 * np.abs(2 * (cycles % 1) - 1) - 1
    if kind == "square":
        return (_saw(cycles, increment) - _saw(cycles + 0.5, increment)) / 2
    return _saw(cycles, increment)


def _oscillators(patch, frequency, rng):
    """All voices of a note, [frames, 2], each somewhere between left and right."""
    if patch.wave == "fm":
        time, cycles = times(len(frequency)), np.cumsum(frequency) / SAMPLE_RATE
        modulator = patch.index * np.exp(-time / patch.decay) * np.sin(2 * np.pi * cycles * patch.ratio)
        return stereo(np.sin(2 * np.pi * cycles + modulator))
    sound = np.zeros((len(frequency), 2))
    for _ in range(patch.voices):
        detuned = frequency * 2 ** (rng.normal() * patch.detune / 1200)
        place = rng.uniform(0.2, 0.8) if patch.voices > 1 else 0.5
        sound += wave(patch.wave, detuned, rng)[:, None] * np.sqrt([1 - place, place])
    return sound / np.sqrt(patch.voices)


def _envelope(patch, count, held):
    time = times(count)
    decaying = patch.sustain + (1 - patch.sustain) * np.exp(-np.maximum(0, time - patch.attack) / patch.decay)
    released = np.exp(-np.maximum(0, time - held) / patch.release)
    return np.minimum(1, time / patch.attack) * decaying * released


def _frequency(patch, count, key, before):
    frequency = np.full(count, float(hertz(key)))
    if patch.glide and before is not None:
        frequency *= (float(hertz(before)) / frequency) ** np.exp(-times(count) / 0.05)
    return frequency


def _note(patch, count, held, key, before, rng):
    frequency = _frequency(patch, count, key, before)
    sound = _oscillators(patch, frequency, rng)
    if patch.sub:
        sound = sound + patch.sub * np.sin(2 * np.pi * np.cumsum(frequency) / SAMPLE_RATE)[:, None]
    low = butterworth(sound, min(patch.cutoff, 18_000), "low")
    if patch.sweep > 0.3 and patch.wave != "fm":
        # Between two fixed filters: what a moving one sounds like, without its loop over frames.
        opened = butterworth(sound, min(patch.cutoff * 2**patch.sweep, 20_000), "low")
        blend = np.exp(-times(count) / (0.6 * patch.decay))[:, None]
        low = low + blend * (opened - low)
    return (low * _envelope(patch, count, held)[:, None]).astype(np.float32)


def render(notes, count, rng, kind):
    """[Note] -> [count, 2]. Notes of the same pitch and length are made once."""
    patch, track, made, before = draw_patch(rng, kind), np.zeros((count, 2), np.float32), {}, None
    for note in notes:
        start = frames(note.start)
        if start >= count:
            continue
        name = (note.key, round(note.seconds, 2), before if patch.glide else None)
        if name not in made:
            total = frames(note.seconds + 4 * patch.release)
            made[name] = _note(patch, total, note.seconds, note.key, before, rng)
        add_at(track, made[name] * np.float32((note.velocity / 127) ** 1.5), start)
        before = note.key
    return track
