"""The network: HTDemucs of Demucs 4.1 (S. Rouard et al., Hybrid Transformers for Music Source
Separation, ICASSP 2023), as a config file describes it."""

import json
import re
import tomllib
from fractions import Fraction
from pathlib import Path

import torch
from demucs.htdemucs import HTDemucs
from safetensors import safe_open

from . import licences
from .audio import SAMPLE_RATE, SOURCES

GATE = 1.0  # the bias with which the gates of a pass-through begin: they are 73 % open


def load_config(name):
    """A name in `configs/`, or a path -> the TOML as it is."""
    path = Path(name)
    if not path.exists():
        path = Path(__file__).parent / "configs" / f"{name}.toml"
    return tomllib.loads(path.read_text())


def options(config):
    """The keyword arguments of HTDemucs."""
    given = dict(config["network"])
    given["segment"] = Fraction(given["segment"])
    return {"sources": list(SOURCES), "audio_channels": 2, "samplerate": SAMPLE_RATE} | given


def build(config):
    """A network to begin training with: random, and near to giving each stem a quarter of the mix."""
    torch.manual_seed(config["seed"])
    model = HTDemucs(**options(config))
    pass_through(model)
    return model


def published(path):
    """An exported file -> (weights of 32 bits, the steps that made them).

    ValueError if it was not trained by this recipe: what else is in it could not be said.
    """
    with safe_open(path, framework="pt") as file:
        about = file.metadata() or {}
        if not about.get("data", "").startswith(licences.ONLY):
            raise ValueError(f"{path} does not say that it was trained only on what this recipe makes")
        weights = {name: file.get_tensor(name).float() for name in file.keys()}
    return weights, json.loads(about["training"])["steps"]


def parameters(model):
    return sum(each.numel() for each in model.parameters())


@torch.no_grad()
def pass_through(model):
    """Makes the outermost layers of both branches pass the mix on, scaled, before anything is learnt.

    A few thousand steps are too few to find that first. Scales of residual branches, which Demucs
    begins at 1e-3 and 1e-4, begin at 0.1 for the same reason.
    """
    for name, parameter in model.named_parameters():
        if name.endswith(".scale") and parameter.dim() == 1:
            parameter.fill_(0.1)
    spectral_inputs = 4 if model.cac else 2
    pairs = _pass_branch(model.encoder[0], model.decoder[-1], spectral_inputs)
    _pass_branch(model.tencoder[0], model.tdecoder[-1], 2)
    if model.freq_emb is not None:
        # What is added to both channels of a pair falls out of their difference.
        table = model.freq_emb.embedding.weight
        table[:, pairs : 2 * pairs] = table[:, :pairs]


def _pass_branch(encoder, decoder, inputs):
    """Pairs of channels carry one frame of one input, with both signs: gelu(x) - gelu(-x) = x.

    The kernel of 8 has a stride of 4, so that 4 pairs hold all frames of an input. Weights, in the
    order of PyTorch: encoder.conv [channels, inputs, 8, ...], decoder.conv_tr [channels, sources x
    inputs, 8, ...]. Gives the number of pairs.
    """
    analysis, synthesis = encoder.conv.weight, decoder.conv_tr.weight
    channels = analysis.shape[0]
    for layer in (encoder.conv, decoder.conv_tr):
        layer.weight.mul_(0.3)
        layer.bias.zero_()
    for layer in (encoder.rewrite, decoder.rewrite):
        _identity(layer, channels)
    opened = torch.sigmoid(torch.tensor(GATE)) ** 2  # two gates lie on the way
    share = 0.5 / len(SOURCES) / opened  # both branches add up, to a quarter of the mix
    carried = [(number, tap) for tap in range(4) for number in range(inputs)][: channels // 2]
    for pair, (number, tap) in enumerate(carried):
        for sign, channel in ((1, pair), (-1, pair + len(carried))):
            analysis[channel, number, 2 + tap] += sign
            for source in range(len(SOURCES)):
                synthesis[channel, source * inputs + number, 2 + tap] += sign * share
    return len(carried)


@torch.no_grad()
def grown(weights, model):
    """Weights of a network of fewer channels -> weights for `model`, which then gives nearly the same.

    New channels hear the old ones, and no old one hears them yet: training finds out what they are good
    for. T. Chen et al., Net2Net (ICLR 2016), with zeros where it shares weights out. Only nearly, since
    the norms of DConv are over all channels: its new ones repeat old ones, so that statistics stay.

    ValueError if more than channels is new, or something is larger than in `model`.
    """
    return {name: _grown(name, _known(name, fresh, weights), fresh) for name, fresh in model.state_dict().items()}


def _known(name, fresh, weights):
    """What a network without a bottleneck lacks before and after its transformer lets all channels through."""
    if name in weights:
        return weights[name]
    if not name.startswith(("channel_upsampler", "channel_downsampler")):
        raise ValueError(f"cannot grow a network by {name}")
    size = len(weights["crosstransformer.norm_in.weight"])
    return torch.eye(size)[..., None] if fresh.dim() == 3 else torch.zeros(size)


def _grown(name, old, fresh):
    """One tensor, whose rows are what it gives and whose columns are what it hears."""
    if old.shape == fresh.shape:
        return old
    if any(before > now for before, now in zip(old.shape, fresh.shape)):
        raise ValueError(f"cannot make {name} smaller: it has the shape {list(old.shape)}")
    transposed = name.endswith("conv_tr.weight") or name.startswith("freq_emb")
    old, new = (each.transpose(0, 1) if transposed else each for each in (old, fresh.clone()))
    rows = torch.arange(len(old))
    if "rewrite" in name or re.search(r"dconv\.layers\.\d+\.[34]\.", name):
        # Into a gated linear unit: the second half are the gates of the first.
        rows = torch.cat([rows[: len(old) // 2], rows[: len(old) // 2] + len(new) // 2])
    if old.dim() == 1:
        new[rows] = old
    else:
        new[rows] = 0
        new[rows, : old.shape[1]] = old
    if "dconv" in name and not name.endswith(".scale"):
        added = sorted(set(range(len(new))) - set(rows.tolist()))
        new[added] = new[rows[torch.arange(len(added)) % len(rows)]]
    return new.transpose(0, 1) if transposed else new


def _identity(layer, channels):
    """A convolution into a gated linear unit: each channel mostly gives itself."""
    layer.weight.mul_(0.3)
    layer.bias[:channels] = 0
    layer.bias[channels:] = GATE
    middle = tuple(size // 2 for size in layer.weight.shape[2:])
    for channel in range(channels):
        layer.weight[(channel, channel, *middle)] += 1
