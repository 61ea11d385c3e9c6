"""How near an estimate is to its stem, in dB. Arrays are [..., channels, frames]."""

import numpy as np

SILENT = 1e-3  # RMS below which a stem is left out: nothing can be told of it
FLOOR = 1e-10


def sdr(stem, estimate):
    """10 log10(|s|^2 / |s - e|^2), over all channels. As Demucs and the Music Demixing Challenge do:
    Y. Mitsufuji et al., Music Demixing Challenge 2021 (Frontiers in Signal Processing, 2022)."""
    stem, estimate = stem.astype(np.float64), estimate.astype(np.float64)
    return float(10 * np.log10(((stem**2).sum() + FLOOR) / (((stem - estimate) ** 2).sum() + FLOOR)))


def si_sdr(stem, estimate):
    """The same, for the level of the stem that is nearest to the estimate. J. Le Roux et al., SDR - Half-baked
    or Well Done? (ICASSP 2019)."""
    stem, estimate = stem.ravel().astype(np.float64), estimate.ravel().astype(np.float64)
    target = stem * (stem @ estimate) / (stem @ stem + FLOOR)
    return float(10 * np.log10((target @ target + FLOOR) / (((target - estimate) ** 2).sum() + FLOOR)))


def audible(stem):
    return float(np.sqrt((stem**2).mean())) > SILENT
