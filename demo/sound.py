"""What every instrument needs: time, filters, space, files. Signals are float arrays at 44.1 kHz,
mono of shape (n,) or stereo of shape (n, 2)."""

import struct

import numpy as np

RATE = 44100


def frames(seconds):
    return int(round(seconds * RATE))


def times(seconds):
    """The seconds at which the frames of a sound of that length fall."""
    return np.arange(frames(seconds)) / RATE


def hertz(note):
    """'A4' -> 440.0; sharps only, as in 'F#3'."""
    steps = {"C": -9, "D": -7, "E": -5, "F": -4, "G": -2, "A": 0, "B": 2}
    step = steps[note[0]] + ("#" in note) + 12 * (int(note[-1]) - 4)
    return 440.0 * 2 ** (step / 12)


def fade(sound, attack, release):
    """Straight ramps of so many seconds at both ends."""
    n = len(sound)
    up = np.clip(np.arange(n) / max(1, frames(attack)), 0, 1)
    down = np.clip((n - np.arange(n)) / max(1, frames(release)), 0, 1)
    return sound * up * down


def shape(sound, gain):
    """Filters with any gain over frequency (Hz -> factor), without delay."""
    n = len(sound)
    size = 1 << (n + RATE // 4).bit_length()
    spectrum = np.fft.rfft(sound, size) * gain(np.fft.rfftfreq(size, 1 / RATE))
    return np.fft.irfft(spectrum, size)[:n]


def low(sound, corner, order=2):
    return shape(sound, lambda f: 1 / np.sqrt(1 + (f / corner) ** (2 * order)))


def high(sound, corner, order=2):
    return shape(sound, lambda f: 1 / np.sqrt(1 + (corner / np.maximum(f, 1e-3)) ** (2 * order)))


def pan(sound, place):
    """Mono to stereo at equal power; -1 is left, 1 is right."""
    angle = (place + 1) * np.pi / 4
    return np.stack([np.cos(angle) * sound, np.sin(angle) * sound], axis=1)


def add(track, start, sound):
    """Lays `sound` into `track` from `start` seconds on; what reaches past the end is cut."""
    at = frames(start)
    end = min(len(track), at + len(sound))
    track[at:end] += sound[: end - at]


def convolve(sound, response):
    n = len(sound) + len(response) - 1
    size = 1 << n.bit_length()
    return np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(response, size), size)[:n]


def room(track, rng, seconds, wet, bright=6000):
    """Adds a room that rings for so many seconds: noise that dies away, different in each ear."""
    t = times(seconds)
    out = track.copy()
    for side in range(2):
        echo = rng.standard_normal(len(t)) * 10 ** (-3 * t / seconds)
        echo = fade(low(high(echo, 250), bright), 0.008, 0.02)
        echo *= wet / np.sqrt(np.sum(echo**2))
        dry = 0.7 * track[:, side] + 0.3 * track[:, 1 - side]
        out[:, side] += convolve(dry, echo)[: len(track)]
    return out


def even(sound, level, amount):
    """Brings what is louder or softer than `level` (root mean square over about 0.2 s) nearer to
    it: 0 leaves everything, 1 leaves no difference."""
    window = np.hanning(frames(0.2))
    energy = convolve(sound**2, window / window.sum())[len(window) // 2 :][: len(sound)]
    loudness = np.sqrt(np.maximum(energy, 0)) + 0.02 * level
    return sound * (level / loudness) ** amount


def write_wav(path, sound):
    """Stereo, 32-bit float."""
    data = sound.astype("<f4").tobytes()
    layout = struct.pack("<HHIIHHH", 3, 2, RATE, 8 * RATE, 8, 32, 0)
    chunks = b"WAVE" + b"fmt " + struct.pack("<I", len(layout)) + layout
    chunks += b"fact" + struct.pack("<II", 4, len(sound))
    chunks += b"data" + struct.pack("<I", len(data)) + data
    with open(path, "wb") as file:
        file.write(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)
