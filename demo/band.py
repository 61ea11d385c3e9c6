"""Drums, bass and harmony. Each function gives one note or one stroke, mono."""

import numpy as np

from sound import RATE, fade, frames, hertz, high, low, shape, times


def kick():
    t = times(0.42)
    sweep = 46 * t + 110 / 28 * (1 - np.exp(-28 * t))
    body = np.sin(2 * np.pi * sweep) * np.exp(-9 * t)
    click = np.exp(-t * 900) * np.sin(2 * np.pi * 1800 * t)
    return fade(np.tanh(1.6 * body) + 0.35 * click, 0.001, 0.05)


def snare(rng):
    t = times(0.32)
    body = np.sin(2 * np.pi * (185 * t + 2.2 * (1 - np.exp(-40 * t)))) * np.exp(-22 * t)
    body += 0.5 * np.sin(2 * np.pi * 331 * t) * np.exp(-30 * t)
    wires = high(rng.standard_normal(len(t)), 1400) * np.exp(-15 * t)
    crack = high(rng.standard_normal(len(t)), 3000) * np.exp(-90 * t)
    return fade(0.7 * body + 0.42 * wires + 0.5 * crack, 0.0005, 0.03)


def hat(rng, opened=False):
    t = times(0.45 if opened else 0.11)
    decay = 9 if opened else 55
    metal = sum(np.sign(np.sin(2 * np.pi * f * t + p)) for f, p in zip(METAL, range(len(METAL))))
    sound = 0.12 * metal + 0.8 * rng.standard_normal(len(t))
    return fade(high(sound, 7500, 4) * np.exp(-decay * t), 0.0005, 0.02)


METAL = (2050, 3074, 3658, 4117, 5331, 8003)  # Hz, in no simple ratio


def crash(rng):
    t = times(2.2)
    sound = high(rng.standard_normal(len(t)), 3200, 2) * (np.exp(-2.2 * t) + 0.8 * np.exp(-16 * t))
    return fade(low(sound, 13000), 0.001, 0.3)


def tom(note, rng):
    t = times(0.4)
    f = hertz(note)
    body = np.sin(2 * np.pi * (f * t + 0.25 * f / 20 * (1 - np.exp(-20 * t)))) * np.exp(-9 * t)
    skin = low(rng.standard_normal(len(t)), 3000) * np.exp(-60 * t)
    return fade(body + 0.3 * skin, 0.001, 0.05)


def saw(f, seconds, top, phase=0.0):
    """A saw without aliases: its harmonics up to `top` Hz, at a fixed or moving frequency."""
    f = np.broadcast_to(f, frames(seconds))
    turns = phase + np.cumsum(f) / RATE
    count = int(top / f.max())
    return sum(np.sin(2 * np.pi * k * turns) / k for k in range(1, count + 1))


def bass(note, seconds):
    """Fingered electric bass: a saw whose treble dies first, over its own fundamental."""
    t = times(seconds)
    f = hertz(note)
    turns = f * t
    sound = np.zeros(len(t))
    for k in range(1, int(2600 / f)):
        # Plucked at a fifth of the string: every fifth harmonic is missing.
        pluck = np.sin(np.pi * k / 5) / k**1.3
        sound += pluck * np.exp(-(1.1 + 0.75 * k) * t) * np.sin(2 * np.pi * k * turns)
    sound += 0.35 * np.sin(2 * np.pi * turns) * np.exp(-1.2 * t)
    return fade(np.tanh(1.5 * sound), 0.004, 0.05)


def pluck(note, seconds, rng):
    """A string by Karplus and Strong: noise that runs round a loop and loses its treble."""
    period = RATE / hertz(note)
    size = int(period)
    loop = low(rng.uniform(-1, 1, size), 7000, 1)
    turns = [loop]
    for _ in range(frames(seconds) // size + 1):
        loop = 0.997 * (0.53 * loop + 0.47 * np.roll(loop, 1))
        turns.append(loop)
    # The loop has a whole number of frames; reading it a little faster or slower tunes it.
    string = np.concatenate(turns)
    at = np.arange(frames(seconds)) * (size + 0.47) / period
    sound = np.interp(at, np.arange(len(string)), string)
    return fade(high(sound, 90), 0.001, 0.06)


def keys(note, seconds):
    """Electric piano: a bell that rings out over a soft tone (frequency modulation)."""
    t = times(seconds)
    f = hertz(note)
    tine = np.sin(2 * np.pi * 14 * f * t) * np.exp(-9 * t) * min(1.0, 500 / f)
    tone = np.sin(2 * np.pi * f * t + 1.1 * np.exp(-2.5 * t) * np.sin(2 * np.pi * f * t))
    return fade((tone + 0.12 * tine) * np.exp(-1.4 * t), 0.002, 0.12)


def pad(note, seconds, rng, cents):
    """Slow strings: two saws a little out of tune, without edge."""
    t = times(seconds)
    f = hertz(note) * 2 ** (cents / 1200) * (1 + 0.0012 * np.sin(2 * np.pi * 4.7 * t + cents))
    sound = saw(f, seconds, 6000, rng.uniform()) + saw(f * 1.0045, seconds, 6000, rng.uniform())
    return fade(shape(sound, lambda f: 1 / (1 + (f / 1500) ** 2)), 0.25, 0.35)
