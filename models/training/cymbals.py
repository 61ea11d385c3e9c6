"""Cymbals that are calculated: noise whose level and decay depend on its frequency, and a few partials.

Struck metal plates have so many modes that they sound like noise; its treble comes late, since energy goes up
from the modes that were struck, and dies soon. N. Fletcher and T. Rossing, The Physics of Musical Instruments
(2nd ed., 1998), chapter 20: cymbals.
"""

import numpy as np
from scipy import signal

from .audio import HIGHEST, SAMPLE_RATE, decaying, frames, log_uniform, times

WINDOW = 256  # of the noise, 6 ms: short, so that strokes begin at once
PARTIALS = 40
# Time constants of the decay at 3 kHz, in seconds.
DECAYS = {"hat": (0.012, 0.06), "open": (0.1, 0.5), "ride": (0.3, 1.2), "crash": (0.3, 1.2)}
PING = {"ride": (0.3, 1.5)}  # how loud the partials are; others: MURMUR
MURMUR = (0.05, 0.4)


def stroke(role, rng, seconds):
    """One stroke, [frames, 2], peak 1."""
    decay, count = log_uniform(rng, *DECAYS[role]), frames(seconds)
    sound = _wash(count, decay, rng)
    partials = _partials(count, decay, rng)
    loud = rng.uniform(*PING.get(role, MURMUR)) * np.abs(sound).max() / (np.abs(partials).max() + 1e-9)
    sound = sound + np.float32(loud) * partials[:, None]
    return (sound / (np.abs(sound).max() + 1e-9)).astype(np.float32)


def _wash(count, decay, rng):
    """Noise, [count, 2], which the two channels share in part: drawn as a spectrogram."""
    hertz = np.fft.rfftfreq(WINDOW, 1 / SAMPLE_RATE)[:, None]
    time = times(count + 2 * WINDOW)[:: WINDOW // 2][None]
    decays = decay * (np.maximum(hertz, 500) / 3_000) ** -rng.uniform(0.1, 0.8)
    rises = rng.uniform(0.001, 0.02) * np.minimum(1, decay / 0.1) * hertz / 10_000
    level = _level(hertz, rng) * np.exp(-time / decays) * (1 - 0.9 * np.exp(-time / (rises + 1e-4)))
    real, imaginary = rng.standard_normal((3, 2, *level.shape)).swapaxes(0, 1)
    noise = real + 1j * imaginary
    spectra = level * (noise[0] + rng.uniform(0.1, 1) * noise[1:])  # what they share, and what each has
    return signal.istft(spectra, SAMPLE_RATE, nperseg=WINDOW)[1].T[:count]


def _level(hertz, rng):
    """Rises to a broad top and falls off above it: each cymbal by its own slopes."""
    octaves = np.log2(np.maximum(hertz, 50) / log_uniform(rng, 2_500, 9_000))
    slope = np.where(octaves < 0, rng.uniform(3, 9), -rng.uniform(3, 12))
    return 10 ** (slope * octaves / 20)


def _partials(count, decay, rng):
    frequencies = np.exp(rng.uniform(np.log(300), np.log(HIGHEST), PARTIALS))
    amplitudes = rng.exponential(size=PARTIALS) * _level(frequencies, rng)
    return decaying(frequencies, amplitudes, rng.uniform(0.5, 2, PARTIALS) / decay, times(count))
