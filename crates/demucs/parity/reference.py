"""Seeded models and mixes, and what Demucs 4.1.0 for Python makes of them.

    reference.py fixtures DIR            the committed ones: crates/demucs/tests/fixtures
    reference.py make NAME DIR           one of the models below at its published size
    reference.py mix SECONDS FILE [mono] a mix
    reference.py expect MODEL MIX DIR    DIR/*.wav, for any model file or bag
    reference.py compare DIR DIR         the greatest difference of two folders of stems
    reference.py table DIR [NAME...]     the models below, mixes of three lengths, mono and stereo,
                                         against examples/separate; networks at their published
                                         sizes, those of bags with fewer channels

WAV files are stereo, 44.1 kHz, 32-bit float. It needs torch==2.11.0, demucs==4.1.0 and
diffq==0.2.4.
"""

import random
import shutil
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import demucs.states
import numpy as np
import torch
import yaml
from demucs.api import Separator
from demucs.apply import BagOfModels
from demucs.demucs import Demucs
from demucs.hdemucs import HDemucs
from demucs.hf import load_safetensors_model
from demucs.htdemucs import HTDemucs
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[2] / "models/fixtures"))
import make  # noqa: E402: the forms of model files

RATE = 44_100
TOLERANCE = 1e-4
SOURCES = ["drums", "bass", "other", "vocals"]
SPARSE = 8  # fixtures keep every eighth frame of what is expected

# A model is a list of networks, (class, options), and what a bag says of them.
NO_BAG = {}
IDENTITY = {"weights": np.eye(4).tolist()}
MDX = {"weights": [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 1, 1], [1, 0, 1, 1]], "segment": 44}

# At the sizes of the published models; options are those that differ from the defaults.
HTDEMUCS = (HTDemucs, {"segment": Fraction(39, 5), "dconv_mode": 3, "bottom_channels": 512})
HDEMUCS = (HDemucs, {})
OLD = (HDemucs, {"norm_starts": 999, "cac": False, "hybrid_old": True})
BANDS = (HDemucs, {"norm_starts": 999, "multi_freqs": [0.1, 0.3], "multi_freqs_depth": 2})
TIME = (Demucs, {"rewrite": False})
REPRO = (Demucs, {})
PUBLISHED = {
    "htdemucs": ([HTDEMUCS], NO_BAG),
    "htdemucs_ft": ([HTDEMUCS] * 4, IDENTITY),
    "hdemucs_mmi": ([HDEMUCS], {"segment": 44}),
    "mdx": ([TIME, TIME, OLD, BANDS], MDX),
    "mdx_extra": ([HDEMUCS, OLD], {"segment": 44}),
    "repro_time_only": ([REPRO], {"segment": 44}),
}

# Bags cost as much as all their networks: for them the table makes these as thin as this.
THIN = {HTDemucs: {"channels": 16, "bottom_channels": 64}, HDemucs: {"channels": 16}, Demucs: {"channels": 16}}

# The same architectures, small: every part of the published models and of `mini`, songs of several
# segments, the last of them short. Two are quantized by DiffQ, and have no names for their weights;
# one of these is of the old form.
SMALL = {"sources": ["drums", "bass"], "channels": 4, "segment": 0.4}
SMALL_HYBRID = {**SMALL, "nfft": 256, "depth": 4, "norm_starts": 2, "dconv_lstm": 2, "dconv_attn": 2}
SMALL_TIME = {**SMALL, "depth": 4, "norm_starts": 2, "dconv_lstm": 3, "dconv_attn": 2}
COMPLEX = {
    "sources": ["drums", "bass", "other"], "segment": Fraction(1, 10), "channels": 8, "nfft": 1024,
    "depth": 3, "dconv_mode": 3, "dconv_comp": 4, "bottom_channels": 24, "t_layers": 3,
    "t_heads": 2,
}
MAGNITUDE = {
    "sources": ["drums", "vocals"], "segment": 0.15, "channels": 8, "growth": 2, "nfft": 2048,
    "depth": 3, "context_enc": 1, "dconv_mode": 1, "dconv_depth": 3, "dconv_comp": 4, "cac": False,
    "wiener_iters": -1, "end_iters": -1, "t_layers": 2, "t_heads": 4, "t_hidden_scale": 2.0,
    "t_max_period": 5000.0, "t_weight_pos_embed": 0.7,
}
SMALL_OLD = {**SMALL_HYBRID, "norm_starts": 999, "cac": False, "hybrid_old": True}
SMALL_BANDS = {**SMALL_HYBRID, "norm_starts": 999, "multi_freqs": [0.1, 0.3]}


def build(klass, options, seed):
    """A network with random weights, in which every one of them is heard.

    The first weights of training would hide most: LayerScale begins near 0, many biases at 0, and
    attention looks everywhere alike.
    """
    torch.manual_seed(seed)
    net = klass(**{"sources": SOURCES, **options})
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if name.endswith(".scale"):
                weight.uniform_(0.5, 1.0)
            elif weight.dim() == 1 and ".lstm." not in name:
                weight.add_(0.3 * torch.randn_like(weight))
            elif "crosstransformer" in name or (".dconv." in name and ".lstm." not in name):
                weight.mul_(2.0)
    return net.eval()


def save_packed(net, path):
    make.save_packed_safetensors(net, make.quantize(net, min_size=0.003), path)


def save_old_packed(net, path):
    make.save_th(net, path.with_suffix(".th"), make.quantize(net, min_size=0.003))


def save_half(net, path):
    make.save_safetensors(net, path)


def save_whole(net, path):
    make.save_safetensors(net, path, half=False)


FIXTURES = {
    "complex": ([(HTDemucs, COMPLEX)], NO_BAG, save_half),
    "magnitude": ([(HTDemucs, MAGNITUDE)], NO_BAG, save_half),
    "hybrid": ([(HDemucs, SMALL_HYBRID)], NO_BAG, save_packed),
    "time": ([(Demucs, {**SMALL_TIME, "dconv_mode": 3})], NO_BAG, save_old_packed),
    "bag": (
        [
            (Demucs, {**SMALL_TIME, "rewrite": False}),
            (HDemucs, SMALL_OLD),
            (HDemucs, {**SMALL_BANDS, "multi_freqs_depth": 1}),
        ],
        {"weights": [[1, 0], [1, 1], [0.5, 2]], "segment": 0.3},
        save_half,
    ),
}


def save_model(nets, bag, folder, save=save_whole):
    """A bag, `model.yaml` and its networks; or one network, `model.safetensors`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if len(nets) == 1 and not bag:
        save(build(*nets[0], 1), folder / "model.safetensors")
        return next(folder.glob("model.*"))
    signatures = [f"{index:08x}" for index in range(len(nets))]
    for index, (net, signature) in enumerate(zip(nets, signatures)):
        save(build(*net, 1 + index), folder / f"{signature}.safetensors")
    path = folder / "model.yaml"
    path.write_text(yaml.safe_dump({"models": signatures, **bag}))
    return path


def load_model(path):
    path = Path(path)
    if path.suffix == ".th":
        return demucs.states.load_model(path).eval()
    if path.suffix != ".yaml":
        return load_safetensors_model(path).eval()
    bag = yaml.safe_load(path.read_text())
    nets = [load_safetensors_model(path.parent / f"{sig}.safetensors") for sig in bag["models"]]
    return BagOfModels(nets, bag.get("weights"), bag.get("segment")).eval()


def make_mix(frames, seed, mono=False):
    """Tones that glide, noise that comes and goes, an offset, a near silence: [2, frames].

    Nowhere is it quite silent: there the phase, which some networks' magnitudes go with, would be
    that of rounding errors, and differ from one run of the reference to another.
    """
    noise = np.random.default_rng(seed)
    time = np.arange(frames) / RATE
    left = 0.3 * np.sin(2 * np.pi * (220 + 40 * time) * time)
    right = 0.2 * np.sin(2 * np.pi * 997 * time + 1)
    level = np.where(np.sin(2 * np.pi * 3 * time) > 0.5, 0.3, 0.03)
    mix = np.stack([left, right]) + level * noise.standard_normal((2, frames)) + 0.01
    mix[:, frames // 2 : frames // 2 + frames // 10] *= 0.03
    if mono:
        mix[:] = mix.mean(0)
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


def lead(seed, shift):
    """Draw number `shift` of SplitMix64: `audio::Shifts`."""
    mask = 2**64 - 1
    z = (seed + (shift + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return (z ^ (z >> 31)) % 22_051


def draw_as_we_do(shifts, seed):
    """Lets the reference draw our shifts: its offset is what is left of half a second."""
    draws = 0

    def randint(low, high):
        nonlocal draws
        drawn = lead(seed, draws % shifts)
        draws += 1
        return high - drawn

    random.randint = randint


def separate(model, mix, overlap=0.25, shifts=0, seed=0, device="cpu"):
    """`Separator.separate_tensor` for a model that has no name in any repository."""
    if shifts:
        draw_as_we_do(shifts, seed)
    separator = Separator.__new__(Separator)
    separator._model = model
    separator._audio_channels = model.audio_channels
    separator._samplerate = model.samplerate
    separator.update_parameter(
        device=device, shifts=shifts, overlap=overlap, split=True, segment=None, jobs=0,
        progress=False, callback=None, callback_arg=None,
    )
    _, stems = separator.separate_tensor(torch.from_numpy(mix))
    return {name: stem.numpy() for name, stem in stems.items()}


def expect(model, mix, folder):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, stem in separate(load_model(model), read_wav(mix)).items():
        write_wav(folder / f"{name}.wav", stem)


def make_fixtures(folder):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mix = make_mix(RATE // 2, 2)
    write_wav(folder / "mix.wav", mix)
    for name, (nets, bag, save) in FIXTURES.items():
        model = load_model(save_model(nets, bag, folder / name, save))
        expected = {}
        for shifts in [0, 2]:
            for source, stem in separate(model, mix, shifts=shifts, seed=5).items():
                sparse = torch.from_numpy(stem[:, ::SPARSE].copy())
                expected[f"{source}, {shifts} shifts"] = sparse
        save_file(expected, folder / name / "expected.safetensors")


def rms(samples):
    return float(np.sqrt((samples**2).mean()))


def difference(folder, expected):
    """The greatest difference, its source, and the greatest sample."""
    worst = []
    for path in sorted(Path(expected).glob("*.wav")):
        ours, theirs = read_wav(Path(folder) / path.name), read_wav(path)
        if ours.shape != theirs.shape:
            sys.exit(f"{path.name}: {ours.shape[1]} frames, not {theirs.shape[1]}")
        apart = np.nan_to_num(np.abs(ours - theirs), nan=np.inf)
        worst.append((float(apart.max()), path.stem, rms(apart), float(np.abs(theirs).max())))
    return sorted(worst, reverse=True)


def compare(folder, expected):
    worst = difference(folder, expected)
    for apart, source, spread, peak in worst:
        print(f"{source:8} max |difference| {apart:.2e}, rms {spread:.2e} (peak {peak:.3f})")
    within = worst[0][0] <= TOLERANCE
    print(f"worst    {worst[0][0]:.2e}, {'within' if within else 'BEYOND'} {TOLERANCE:.0e}")
    sys.exit(not within)


def build_example(folder):
    """A copy of our example that no later build replaces."""
    root = Path(__file__).parents[3]
    build = ["cargo", "build", "-q", "--release", "--workspace", "--example", "separate"]
    subprocess.run(build, check=True, cwd=root)
    return shutil.copy(root / "target/release/examples/separate", folder / "separate")


def thin(nets):
    return [(klass, {**options, **THIN[klass]}) for klass, options in nets]


def table(folder, names):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    example = build_example(folder)
    beyond = False
    for name in names or PUBLISHED:
        nets, bag = PUBLISHED[name]
        path = save_model(nets if len(nets) == 1 else thin(nets), bag, folder / name)
        for seconds in [3, 25, 61.3]:
            for mono in [False, True]:
                mix, ours, theirs = folder / "mix.wav", folder / "ours", folder / "theirs"
                write_wav(mix, make_mix(int(seconds * RATE), 3, mono))
                expect(path, mix, theirs)
                command = [example, mix, ours, "--model", path]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                apart, source, _, peak = difference(ours, theirs)[0]
                channels = "mono" if mono else "stereo"
                print(
                    f"| {name} | {seconds} s {channels} | {apart:.1e} | {peak:.2f} | {source} |",
                    flush=True,
                )
                beyond |= apart > TOLERANCE
        shutil.rmtree(folder / name)
    sys.exit(beyond)


def main():
    match sys.argv[1:]:
        case ["fixtures", folder]:
            make_fixtures(folder)
        case ["make", name, folder]:
            save_model(*PUBLISHED[name], folder)
        case ["mix", seconds, file, *mono]:
            write_wav(file, make_mix(int(float(seconds) * RATE), 1, bool(mono)))
        case ["expect", model, mix, folder]:
            expect(model, mix, folder)
        case ["compare", folder, expected]:
            compare(folder, expected)
        case ["table", folder, *names]:
            table(folder, names)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
