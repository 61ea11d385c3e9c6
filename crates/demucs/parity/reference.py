"""Seeded models and mixes, and what Demucs 4.1.0 for Python makes of them.

    reference.py make fixtures DIR     the committed ones: crates/demucs/tests/fixtures
    reference.py make official DIR     the same at the size of the published htdemucs, 25 seconds
    reference.py expect MODEL MIX DIR  DIR/*.wav, for any model and any mix
    reference.py compare DIR DIR       the greatest difference of two folders of stems

Every folder made holds model.safetensors, mix.wav and expected/*.wav; WAV files are stereo,
44.1 kHz, 32-bit float. The check at full size, in an environment with torch==2.11.0 and
demucs==4.1.0:

    reference.py make official out/parity
    cargo run --release -p demucs --example separate -- \\
        out/parity/mix.wav out/parity/ours --model out/parity/model.safetensors
    reference.py compare out/parity/ours out/parity/expected
"""

import argparse
import json
import struct
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from demucs.api import Separator
from demucs.hf import load_safetensors_model
from demucs.htdemucs import HTDemucs
from safetensors.torch import save_file

RATE = 44_100
TOLERANCE = 1e-4
SOURCES = ["drums", "bass", "other", "vocals"]

# The constructor's options of the published htdemucs, where they are not the defaults.
OFFICIAL = {
    "sources": SOURCES,
    "segment": Fraction(39, 5),
    "dconv_mode": 3,
    "bottom_channels": 512,
}

# The same architecture, small. `complex` has every part of the published models, `magnitude` every
# part of `mini`; both are cut into several segments, the last of them short.
FIXTURES = {
    "complex": {
        "sources": ["drums", "bass", "other"],
        "segment": Fraction(1, 10),
        "channels": 8,
        "nfft": 1024,
        "depth": 3,
        "dconv_mode": 3,
        "dconv_comp": 4,
        "bottom_channels": 24,
        "t_layers": 3,
        "t_heads": 2,
    },
    "magnitude": {
        "sources": ["drums", "vocals"],
        "segment": 0.15,
        "channels": 8,
        "growth": 2,
        "nfft": 2048,
        "depth": 3,
        "context_enc": 1,
        "dconv_mode": 1,
        "dconv_depth": 3,
        "dconv_comp": 4,
        "cac": False,
        "wiener_iters": -1,
        "end_iters": -1,
        "t_layers": 2,
        "t_heads": 4,
        "t_hidden_scale": 2.0,
        "t_max_period": 5000.0,
        "t_weight_pos_embed": 0.7,
    },
}


def build(options, seed):
    """A model with random weights, in which every one of them is heard.

    The first weights of training would hide most: LayerScale begins near 0, many biases at 0, and
    attention looks everywhere alike.
    """
    torch.manual_seed(seed)
    model = HTDemucs(**options)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(".scale"):
                weight.uniform_(0.5, 1.0)
            elif weight.dim() == 1:
                weight.add_(0.3 * torch.randn_like(weight))
            elif "crosstransformer" in name or ".dconv." in name:
                weight.mul_(2.0)
    return model.eval()


def encode_fraction(value):
    if isinstance(value, Fraction):
        numerator, denominator = value.numerator, value.denominator
        return {"_type": "fraction", "numerator": numerator, "denominator": denominator}
    return value


def save_model(model, options, path, dtype):
    """In the form of `demucs.hf.load_safetensors_model`."""
    kwargs = {name: encode_fraction(value) for name, value in options.items()}
    metadata = {"klass": "demucs.htdemucs.HTDemucs", "args": "[]", "kwargs": json.dumps(kwargs)}
    state = {name: tensor.to(dtype).contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, path, metadata)


def make_mix(frames, seed):
    """Tones that glide, noise that comes and goes, an offset, a silence: [2, frames]."""
    noise = np.random.default_rng(seed)
    time = np.arange(frames) / RATE
    left = 0.3 * np.sin(2 * np.pi * (220 + 40 * time) * time)
    right = 0.2 * np.sin(2 * np.pi * 997 * time + 1)
    bursts = 0.3 * noise.standard_normal((2, frames)) * (np.sin(2 * np.pi * 3 * time) > 0.5)
    mix = np.stack([left, right]) + bursts + 0.01
    mix[:, frames // 2 : frames // 2 + frames // 10] = 0
    return mix.astype(np.float32)


def write_wav(path, planes):
    data = planes.T.astype("<f4").tobytes()
    form = struct.pack("<HHIIHH", 3, 2, RATE, RATE * 8, 8, 32)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form
    body += b"data" + struct.pack("<I", len(data)) + data
    Path(path).write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)


def read_wav(path):
    """[2, frames] of a 32-bit float WAV."""
    data = Path(path).read_bytes()
    at = 12
    while data[at : at + 4] != b"data":
        at += 8 + struct.unpack_from("<I", data, at + 4)[0]
    size = struct.unpack_from("<I", data, at + 4)[0]
    return np.frombuffer(data[at + 8 : at + 8 + size], "<f4").reshape(-1, 2).T.copy()


def separate(model, mix, overlap=0.25):
    """`Separator.separate_tensor` for a model that has no name in any repository."""
    separator = Separator.__new__(Separator)
    separator._model = model
    separator._audio_channels = model.audio_channels
    separator._samplerate = model.samplerate
    separator.update_parameter(
        device="cpu", shifts=0, overlap=overlap, split=True, segment=None, jobs=0,
        progress=True, callback=None, callback_arg=None,
    )
    _, stems = separator.separate_tensor(torch.from_numpy(mix))
    return {name: stem.numpy() for name, stem in stems.items()}


def expect(model_path, mix_path, folder, overlap=0.25):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model = load_safetensors_model(model_path).eval()
    for name, stem in separate(model, read_wav(mix_path), overlap).items():
        write_wav(folder / f"{name}.wav", stem)


def make(folder, options, frames, seed, dtype):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_model(build(options, seed), options, folder / "model.safetensors", dtype)
    write_wav(folder / "mix.wav", make_mix(frames, seed))
    expect(folder / "model.safetensors", folder / "mix.wav", folder / "expected")


def rms(samples):
    return np.sqrt((samples**2).mean())


def compare(folder, expected):
    worst = 0.0
    for path in sorted(Path(expected).glob("*.wav")):
        ours, theirs = read_wav(Path(folder) / path.name), read_wav(path)
        if ours.shape != theirs.shape:
            sys.exit(f"{path.name}: {ours.shape[1]} frames, not {theirs.shape[1]}")
        apart = np.abs(ours - theirs)
        print(
            f"{path.stem:8} max |difference| {apart.max():.2e}, rms {rms(apart):.2e}"
            f" (peak {np.abs(theirs).max():.3f}, rms {rms(theirs):.3f})"
        )
        worst = max(worst, float(np.nan_to_num(apart, nan=np.inf).max()))
    print(f"worst    {worst:.2e}, {'within' if worst <= TOLERANCE else 'BEYOND'} {TOLERANCE:.0e}")
    sys.exit(worst > TOLERANCE)


def main():
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("command", choices=["make", "expect", "compare"])
    parser.add_argument("arguments", nargs="+")
    parsed = parser.parse_args()
    match parsed.command, parsed.arguments:
        case "make", ["official", folder]:
            make(folder, OFFICIAL, 25 * RATE, 1, torch.float32)
        case "make", ["fixtures", folder]:
            for name, options in FIXTURES.items():
                make(Path(folder) / name, options, RATE // 3, 2, torch.float16)
        case "expect", [model, mix, folder]:
            expect(model, mix, folder)
        case "compare", [folder, expected]:
            compare(folder, expected)
        case _:
            parser.print_usage()
            sys.exit(2)


if __name__ == "__main__":
    main()
