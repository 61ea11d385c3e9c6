"""Instruments that are struck, drawn anew for each part: pianos, electric pianos, bars and bells.

A note is a sum of decaying modes. Of strings they are nearly harmonic; of bars, tines and bells they are
not. N. H. Fletcher, T. D. Rossing, The Physics of Musical Instruments (2nd ed., 1998), chapters 12, 19, 21.
"""

from dataclasses import dataclass

import numpy as np

from .audio import HIGHEST, chance, decaying, frames, hertz, log_uniform, played, stereo, times
from .effects import butterworth, peak_filter, tremolo

LONGEST = 4.0  # seconds
STRENGTHS = 4  # in which a key is made, as of a sampled piano
# Frequencies of the modes, against the fundamental.
BARS = np.array([(1, 2.756, 5.404, 8.933), (1, 3.98, 9.2, 16.0), (1, 3.0, 6.1, 10.2)])
TINE = np.array([1, 2, 6.27, 17.55])
BELL = np.array([0.5, 1, 1.2, 1.5, 2, 2.5, 2.67, 3, 4, 5.33, 6.6])


@dataclass(frozen=True)
class Instrument:
    ratios: np.ndarray | None  # None: strings, whose modes are nearly harmonic
    levels: np.ndarray | None
    strike: float  # where a hammer hits its string: a share of its length
    stiffness: float
    hardness: float  # Hz above which the hammer is too soft
    ring: float  # seconds in which the A of 220 Hz falls to 1/e
    loss: float  # how much sooner high modes die
    beat: float  # cents between the strings of a key; 0: it has but one
    knock: float
    pickup: float  # how far its pickup bends the wave
    stop: float  # seconds in which its damper works
    pedal: bool
    wave: bool  # a vibraphone's fans, or the tremolo of an electric piano
    body: float  # Hz


def draw_instrument(rng):
    kind = str(rng.choice(["piano", "piano", "piano", "tine", "tine", "bar", "bell"]))
    ratios = {"piano": None, "tine": TINE, "bar": BARS[rng.integers(len(BARS))], "bell": BELL}[kind]
    levels = None
    if ratios is not None:
        ratios = ratios * np.exp(0.02 * rng.standard_normal(len(ratios)) * (ratios != 1))
        levels = ratios ** -rng.uniform(0.3, 1.5) * np.exp(0.5 * rng.standard_normal(len(ratios)))
        levels[ratios == 1] = 1.0
    return Instrument(
        ratios, levels,
        strike=rng.uniform(0.06, 0.2),
        stiffness=log_uniform(rng, 5e-5, 1e-3),
        hardness=log_uniform(rng, 600, 6_000) if kind == "piano" else log_uniform(rng, 1_000, 10_000),
        ring=log_uniform(rng, 0.15, 2.5),
        loss=log_uniform(rng, 0.3, 6),
        beat=rng.uniform(0.3, 3) if kind == "piano" and chance(rng, 0.8) else 0.0,
        knock=log_uniform(rng, 0.003, 0.3),
        pickup=rng.uniform(0.3, 3) if kind == "tine" else 0.0,
        stop=log_uniform(rng, 0.03, 0.3),
        pedal=chance(rng, 0.35),
        wave=kind in ("tine", "bar") and chance(rng, 0.5),
        body=log_uniform(rng, 100, 1_000),
    )


def _modes(instrument, frequency, strength):
    """(frequencies in Hz, amplitudes, decays in 1/s), each [modes]."""
    if instrument.ratios is None:
        numbers = np.arange(1, min(60, int(HIGHEST / frequency)) + 1)
        stiff = instrument.stiffness
        frequencies = numbers * frequency * np.sqrt((1 + stiff * numbers**2) / (1 + stiff))
        amplitudes = np.abs(np.sin(np.pi * numbers * instrument.strike)) / numbers
    else:
        frequencies, amplitudes = instrument.ratios * frequency, instrument.levels
    # Who strikes harder strikes brighter.
    amplitudes = amplitudes / (1 + (frequencies / (instrument.hardness * (0.3 + strength))) ** 2)
    decays = np.sqrt(frequency / 220) / instrument.ring + instrument.loss * frequencies / 1_000
    heard = (frequencies < HIGHEST) & (amplitudes > 1e-4 * amplitudes.max())
    return frequencies[heard], amplitudes[heard], decays[heard]


def strike(instrument, key, strength, rng):
    """A note of `strength` 0 to 1 that nothing damps -> [frames]"""
    frequencies, amplitudes, decays = _modes(instrument, float(hertz(key)), strength)
    count = frames(min(LONGEST, 7 / decays.min()))
    time, tunings = times(count), (-0.5, 0.5) if instrument.beat else (0.0,)
    tuned = np.concatenate([frequencies * 2 ** (tuning * instrument.beat / 1200) for tuning in tunings])
    sound = decaying(tuned, np.tile(amplitudes, len(tunings)), np.tile(decays, len(tunings)), time)
    sound /= np.abs(sound).max() + 1e-9
    if instrument.pickup:
        # Nearer to its pickup on one side: even harmonics, that die sooner than the tone.
        sound = np.exp(instrument.pickup * strength * (sound - 1)) - np.exp(-instrument.pickup * strength)
        sound = butterworth(sound, 20, "high") / (np.abs(sound).max() + 1e-9)
    noise = rng.standard_normal(count) * np.exp(-time / rng.uniform(0.003, 0.02))
    sound += instrument.knock * butterworth(noise, instrument.hardness, "low")
    return strength**1.5 * sound * np.minimum(1, time / 0.001)


def _damped(sound, instrument, seconds):
    """The note as it is held for `seconds`."""
    if instrument.pedal:
        return sound
    count = min(len(sound), frames(seconds + 5 * instrument.stop))
    return sound[:count] * np.exp(-np.maximum(0, times(count) - seconds) / instrument.stop)


def render(notes, count, rng):
    """[Note] -> [count, 2]. A key is made once in each of a few strengths."""
    instrument, made = draw_instrument(rng), {}

    def sound(note):
        level = max(1, round(note.velocity / 127 * STRENGTHS))
        if (note.key, level) not in made:
            made[note.key, level] = strike(instrument, note.key, level / STRENGTHS, rng)
        return stereo(_damped(made[note.key, level], instrument, note.seconds))

    track = peak_filter(played(notes, count, sound), instrument.body, rng.uniform(-4, 6), 1.0)
    return tremolo(track, rng, rng.uniform(0.1, 0.5)) if instrument.wave else track
