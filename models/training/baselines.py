"""Ways to separate that learn nothing: what a network must be better than. [2, frames] -> [4, 2, frames]."""

import numpy as np
from scipy import ndimage, signal

from .audio import SAMPLE_RATE

BASS_BELOW = 160  # Hz
WINDOW = 2_048
VOICE = (150, 9_000)  # Hz


def mixture(mix):
    """The mix itself for each stem."""
    return np.stack([mix] * 4)


def filters(mix):
    """A low-pass takes the bass, a harmonic-percussive split the drums, the centre the vocals, and
    `other` is what is left.

    The split: D. FitzGerald, Harmonic/Percussive Separation Using Median Filtering (DAFx 2010).
    """
    low = signal.butter(4, BASS_BELOW, "low", fs=SAMPLE_RATE, output="sos")
    bass = signal.sosfiltfilt(low, mix, axis=-1)
    frequencies, _, spectrum = signal.stft(mix - bass, SAMPLE_RATE, nperseg=WINDOW)
    magnitude = np.abs(spectrum).mean(0)
    steady, sudden = ndimage.median_filter(magnitude, (1, 17)), ndimage.median_filter(magnitude, (17, 1))
    percussive = sudden**2 / (steady**2 + sudden**2 + 1e-12)
    harmonic = spectrum * (1 - percussive)
    left, right = harmonic
    centre = np.clip(1 - np.abs(left - right) / (np.abs(left) + np.abs(right) + 1e-9), 0, 1) ** 2
    centre *= ((frequencies > VOICE[0]) & (frequencies < VOICE[1]))[:, None]
    parts = [spectrum * percussive, harmonic * (1 - centre), harmonic * centre]
    drums, other, vocals = (_inverse(part, mix.shape[-1]) for part in parts)
    return np.stack([drums, bass, other, vocals]).astype(np.float32)


def _inverse(spectrum, count):
    return signal.istft(spectrum, SAMPLE_RATE, nperseg=WINDOW)[1][:, :count]
