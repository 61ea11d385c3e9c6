"""What training makes small."""

import math

import torch

WINDOWS = (512, 2_048)
MOMENT = 4_410  # frames: a tenth of a second


def magnitudes(sound, window):
    """[..., frames] -> |STFT| [n, bins, hops], hops of a quarter; white noise keeps about its level."""
    flat = sound.reshape(-1, sound.shape[-1]).float()
    hann = torch.hann_window(window, device=sound.device)
    spectrum = torch.stft(flat, window, window // 4, window=hann, normalized=True, return_complex=True)
    # Where it is 0 the absolute value has no gradient.
    return torch.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-12)


def spectral_l1(estimate, stems):
    """L1 between magnitudes at several resolutions. R. Yamamoto et al., Parallel WaveGAN (ICASSP 2020),
    without its logarithm: silence weighs nothing, as in the waveform's RMS."""
    parts = [(magnitudes(estimate, window) - magnitudes(stems, window)).abs().mean() for window in WINDOWS]
    return sum(parts) / len(parts)


def rms(error):
    """[batch, 4, 2, frames] -> the root of the mean square of each tenth of a second of each stem, in the mean.

    What could be of one stem or of another is shared between them, as a square wants it; L1 gives all to the likelier.
    The root keeps loud moments from weighing as the square of their level.
    """
    moments = error.split(MOMENT, dim=-1)
    parts = [torch.linalg.vector_norm(each, dim=(2, 3)).mean() / math.sqrt(each[0, 0].numel()) for each in moments]
    return sum(parts) / len(parts)


def whole_backing(sounds):
    """[batch, 4, 2, frames] -> the same with all that is not sung in the place of the first stem."""
    together = torch.zeros_like(sounds)
    together[:, 0] = sounds[:, :-1].sum(1)
    together[:, -1] = sounds[:, -1]
    return together


def total(estimate, stems, parted, options):
    """(what is made small, its waveform part): the RMS of the error, and shares of the others.

    `treble`: how much the difference of neighbouring frames counts. Its gain is f / 7 kHz, where music falls off: the
    waveform alone hardly tells what voices and cymbals have above 2 kHz. As in speech: pre-emphasis.
    `parted`: [batch], whether drums, bass and other are known, or only their sum, as `whole_backing` has it.
    """
    if not parted.all():
        estimate = torch.where(parted[:, None, None, None], estimate, whole_backing(estimate))
    error = estimate - stems
    waveform = rms(error)
    value = waveform
    if options["treble"]:
        value = value + options["treble"] * rms(error.diff())
    if options["spectral"]:
        value = value + options["spectral"] * spectral_l1(estimate, stems)
    return value, waveform
