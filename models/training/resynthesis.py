"""Magnitudes become sound with the phase of the mix: what HTDemucs does where `cac` is false, with a
gradient of its own.

Autograd takes complex arithmetic apart into copies as large as the spectra of all stems; on a CPU they
are a quarter of a training step.
"""

import torch
from demucs.htdemucs import HTDemucs

OVERLAPPED = 1.5  # squares of Hann windows, a quarter apart, add up to this


class _Resynthesis(torch.autograd.Function):
    @staticmethod
    def forward(ctx, magnitudes, phase, length):
        """[batch, sources, channels, bins, hops], phase [batch, 1, channels, bins, hops, 2] -> [..., length]"""
        ctx.save_for_backward(phase)
        *other, bins, hops = magnitudes.shape
        # Demucs leaves out the highest bin, and two hops on both sides.
        spectrum = magnitudes.new_zeros(*other, bins + 1, hops + 4, 2)
        torch.mul(magnitudes[..., None], phase, out=spectrum[..., :bins, 2:-2, :])
        spectrum = torch.view_as_complex(spectrum).flatten(0, -3)
        begin, hop = _begin(bins), bins // 2
        sound = torch.istft(
            spectrum, 2 * bins, hop, window=torch.hann_window(2 * bins, device=spectrum.device), normalized=True,
            length=hops * hop + 2 * begin,
        )
        return sound[:, begin : begin + length].reshape(*other, length)

    @staticmethod
    def backward(ctx, gradient):
        """The transpose of the inverse STFT is the STFT: what lies in the middle of a spectrum counts twice, for
        its mirror image, and the window is not divided by."""
        (phase,) = ctx.saved_tensors
        bins, hops = phase.shape[-3:-1]
        begin, hop = _begin(bins), bins // 2
        end = hops * hop + 2 * begin - begin - gradient.shape[-1]
        padded = torch.nn.functional.pad(gradient.flatten(0, -2) / OVERLAPPED, (begin, end))
        spectrum = torch.stft(
            padded, 2 * bins, hop, window=torch.hann_window(2 * bins, device=padded.device), normalized=True,
            pad_mode="constant", return_complex=True,
        )
        spectrum = torch.view_as_real(spectrum)[:, :bins, 2:-2].unflatten(0, gradient.shape[:-1])
        along = spectrum[..., 0] * phase[..., 0] + spectrum[..., 1] * phase[..., 1]
        along[..., 1:, :] *= 2
        return along, None, None


def _begin(bins):
    """The frames by which Demucs begins earlier: three halves of a hop."""
    return bins // 2 // 2 * 3


class Network(HTDemucs):
    """HTDemucs, quicker to train."""

    def _mask(self, z, m):
        if self.cac or not self.training or self.end_iters >= 0:
            return super()._mask(z, m)
        phase = z / (1e-8 + z.abs())
        return m, torch.view_as_real(phase)[:, None].contiguous()

    def _ispec(self, z, length=None, scale=0):
        if isinstance(z, tuple):
            return _Resynthesis.apply(*z, length)
        return super()._ispec(z, length, scale)
