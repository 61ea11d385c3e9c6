"""Plucked strings, drawn anew for each part: soundfonts have few basses and guitars.

A string is a sum of decaying partials; where it is plucked and where its pickup lies decide how loud
each is. N. H. Fletcher, T. D. Rossing, The Physics of Musical Instruments (2nd ed., 1998), chapter 2.
"""

from dataclasses import dataclass

import numpy as np

from .audio import HIGHEST, SAMPLE_RATE, chance, decaying, frames, hertz, log_uniform, played, stereo, times
from .effects import butterworth, peak_filter


@dataclass(frozen=True)
class String:
    pluck: float  # where it is plucked, and where its pickup is: shares of its length
    pickup: float | None  # None: it is heard through a body
    brightness: float  # Hz above which a plucking finger, or pick, is too wide
    stiffness: float
    ring: float  # seconds in which the fundamental falls to 1/e
    loss: float  # how much sooner treble dies: 1/s at 1 kHz, with the square of the frequency
    tension: float  # by which share its frequency begins too high
    click: float  # of the finger, against the string
    stop: float  # seconds in which a hand damps it
    body: float  # Hz
    vibrato: float = 0.0  # cents
    bend: float = 0.0  # cents by which notes may begin too low


def draw_string(rng, kind):
    """`kind` is bass, guitar or lead: a guitar whose notes are bent."""
    low, lead = kind == "bass", kind == "lead"
    return String(
        pluck=rng.uniform(0.06, 0.35),
        pickup=None if chance(rng, 0.2) else rng.uniform(0.05, 0.3),
        brightness=log_uniform(rng, 300, 5_000) if low else log_uniform(rng, 1_000, 8_000),
        stiffness=log_uniform(rng, 2e-5, 4e-4),
        ring=log_uniform(rng, 0.25, 4) if low else log_uniform(rng, 0.3, 3),
        loss=log_uniform(rng, 0.5, 8),
        tension=rng.uniform(0, 0.006),
        click=log_uniform(rng, 0.01, 0.4),
        stop=log_uniform(rng, 0.01, 0.1),
        body=log_uniform(rng, 70, 130) if low else log_uniform(rng, 90, 220),
        vibrato=rng.uniform(5, 60) if lead else 0.0,
        bend=float(rng.choice([0, 100, 200])) if lead else 0.0,
    )


def _partials(string, frequency, strength):
    """(frequencies in Hz, amplitudes, decays in 1/s), each [partials]."""
    numbers = np.arange(1, int(HIGHEST / frequency) + 1)
    frequencies = numbers * frequency * np.sqrt(1 + string.stiffness * numbers**2)
    amplitudes = np.sin(numbers * np.pi * string.pluck) / numbers
    if string.pickup is not None:
        amplitudes = amplitudes * np.sin(numbers * np.pi * string.pickup)
    # Who plucks harder plucks brighter.
    amplitudes = amplitudes * np.exp(-((frequencies / (string.brightness * (0.4 + 0.8 * strength))) ** 2))
    decays = 1 / string.ring + string.loss * (frequencies / 1_000) ** 2
    heard = (frequencies < HIGHEST) & (np.abs(amplitudes) > 1e-4 * np.abs(amplitudes).max())
    return tuple(each[heard] for each in (frequencies, amplitudes, decays))


def _cycles(string, count, strength, rng):
    """The cycles of 1 Hz, [count]: a string that is pulled out far is tighter, and so higher, at first."""
    time = times(count)
    cents = string.vibrato * np.clip((time - 0.2) / 0.3, 0, 1) * np.sin(2 * np.pi * rng.uniform(4, 7) * time)
    if string.bend and chance(rng, 0.4):
        cents -= string.bend * np.clip(1 - (time - rng.uniform(0, 0.1)) / rng.uniform(0.05, 0.25), 0, 1)
    bent = np.cumsum(2 ** (cents / 1200) - 1) / SAMPLE_RATE if cents.any() else 0.0
    return time + bent + string.tension * strength * 0.1 * (1 - np.exp(-time / 0.1))


def _vibration(string, frequency, count, strength, rng):
    """[count]"""
    sound = decaying(*_partials(string, frequency, strength), _cycles(string, count, strength, rng))
    return sound / (np.abs(sound).max() + 1e-9)


def pluck(string, key, seconds, strength, rng):
    """A note of `strength` 0 to 1 -> [frames, 2]"""
    count = frames(seconds + 5 * string.stop)
    sound = _vibration(string, float(hertz(key)), count, strength, rng)
    noise = rng.standard_normal(count) * np.exp(-times(count) / rng.uniform(0.002, 0.012))
    sound += string.click * strength * butterworth(noise, 2 * string.brightness, "low")
    held = np.exp(-np.maximum(0, times(count) - seconds) / string.stop)
    sound = stereo(sound * held * strength)
    return sound if string.pickup is not None else peak_filter(sound, string.body, 8, 1.2)


def render(notes, count, rng, kind):
    """[Note] -> [count, 2]"""
    string = draw_string(rng, kind)
    return played(notes, count, lambda note: pluck(string, note.key, note.seconds, note.velocity / 127, rng))
