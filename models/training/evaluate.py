"""SDR and SI-SDR of models on songs that were kept out of training: other instruments, other voices.

    python -m training evaluate DATA mini.safetensors [more.safetensors] --json figures.json

Models are files in the published layout, or checkpoints (.pt). Beside them stand the mix itself and
plain filters. Prints Markdown: the median over the songs, and the mean. DATA may be any folder with
DATA/test/SONG/{drums,bass,other,vocals}.flac, or .wav: MUSDB18-HQ is one.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from demucs.apply import apply_model
from demucs.hf import load_safetensors_model
from demucs.htdemucs import HTDemucs

from . import baselines, checkpoint, generate, material, metrics, network
from .audio import SAMPLE_RATE, SOURCES, frames, read

MEASURES = {"SI-SDR": metrics.si_sdr, "SDR": metrics.sdr}


def load_model(path):
    """A model in eval mode, and its sources in our order."""
    if Path(path).suffix == ".pt":
        contents = checkpoint.load(path)
        model = HTDemucs(**network.options(contents["config"]))
        model.load_state_dict(contents["average"])
    else:
        model = load_safetensors_model(path)
    if list(model.sources) != list(SOURCES):
        sys.exit(f"evaluate: {path} gives {', '.join(model.sources)}; expected {', '.join(SOURCES)}")
    return model.float().eval()


def separator(model, device):
    """[2, frames] -> [4, 2, frames], as `demucs.separate` does it: normalized by the mono mix, overlapping
    segments, no shifts."""

    def separate(mix):
        sound = torch.from_numpy(mix)
        mono = sound.mean(0)
        centre, scale = mono.mean(), mono.std() + 1e-8
        with torch.no_grad():
            stems = apply_model(model, ((sound - centre) / scale)[None], shifts=0, overlap=0.25, device=device)[0]
        return (stems * scale + centre).cpu().numpy()

    return separate


def middle(folder, seconds):
    """[4, 2, frames]: the middle of a song."""
    total = generate.song_frames(folder)
    count = min(total, frames(seconds))
    start = (total - count) // 2
    return np.stack([read(generate.stem_file(folder, source), start, count).T for source in SOURCES])


def score(separate, songs):
    """{measure: [songs, 4]}, NaN where a stem is silent, and the seconds that a second of music took."""
    scores, spent, heard = {name: [] for name in MEASURES}, 0.0, 0.0
    for stems in songs:
        mix = stems.sum(0)
        begin = time.time()
        estimates = separate(mix)
        spent, heard = spent + time.time() - begin, heard + mix.shape[-1] / SAMPLE_RATE
        for name, measure in MEASURES.items():
            pairs = zip(stems, estimates)
            scores[name].append([measure(*pair) if metrics.audible(pair[0]) else np.nan for pair in pairs])
    return {name: np.array(rows) for name, rows in scores.items()}, spent / heard


def summary(scores):
    """{"median" and "mean": one number for each stem, then their mean}"""
    kinds = {"median": np.nanmedian, "mean": np.nanmean}
    rows = {name: kind(scores, axis=0) for name, kind in kinds.items()}
    return {name: [round(float(each), 2) for each in (*row, np.nanmean(row))] for name, row in rows.items()}


def markdown(results, measure, kind):
    lines = [f"| {measure}, {kind}, dB | {' | '.join(SOURCES)} | mean |", "|---|" + "---|" * (len(SOURCES) + 1)]
    for name, result in results.items():
        lines.append(f"| {name} | " + " | ".join(f"{each:.2f}" for each in result[measure][kind]) + " |")
    return "\n".join(lines)


def evaluate(systems, songs):
    """{name: separate} -> {name: {measure: summary, "seconds_per_second": …}}"""
    results = {}
    for name, separate in systems.items():
        scores, speed = score(separate, songs)
        results[name] = {measure: summary(rows) for measure, rows in scores.items()}
        results[name]["seconds_per_second"] = round(speed, 3)
    return results


def add_arguments(parser):
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("models", type=Path, nargs="*", metavar="MODEL")
    parser.add_argument("--split", choices=material.SPLITS, default="test")
    parser.add_argument("--songs", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=10, help="from the middle of each song")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2)


def run(args):
    torch.set_num_threads(args.threads)
    songs = [middle(folder, args.seconds) for folder in generate.song_folders(args.data, args.split)[: args.songs]]
    systems = {"mixture": baselines.mixture, "filters": baselines.filters}
    systems |= {str(path): separator(load_model(path), args.device) for path in args.models}
    results = evaluate(systems, songs)
    print(f"{len(songs)} songs of the split {args.split}, {args.seconds:g} s of each\n")
    for measure in MEASURES:
        for kind in ("median", "mean"):
            print(markdown(results, measure, kind), end="\n\n")
    for path in args.models:
        print(f"{path}: {results[str(path)]['seconds_per_second']} s for a second of music")
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")
