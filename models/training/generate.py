"""Synthesizes songs: four stems each, FLAC, with a manifest.

    python -m training generate DATA --split train --songs 200

A song is a folder DATA/SPLIT/NUMBER with drums.flac, bass.flac, other.flac and vocals.flac; what is
heard is their sum. Songs depend on their split, number, seed and length, not on how many are made or by
how many processes; those that are there already are kept. DATA/voices holds the voices, made once, and
DATA/SPLIT/manifest.jsonl tells what each song is made of.
"""

import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from . import arrange, licences, material, voices
from .audio import SOURCES, length, to_int16, write_flac

UTTERANCES = 16  # of each voice
ABOUT = "song.json"


def song_seed(seed, split, number):
    """No two splits share a song: its split is part of the seed."""
    return [seed, material.SPLITS.index(split), number]


def quantize(stems):
    """[4, frames, 2] float -> int16, whose sum also fits into 16 bits."""
    whole = to_int16(stems)
    loudest = np.abs(whole.sum(0, dtype=np.int32)).max()
    if loudest > np.iinfo(np.int16).max:
        raise ValueError(f"the stems sum to {loudest}: more than 16 bits hold")
    return whole


def write_song(folder, stems, about):
    """A song's folder has its name once it is whole."""
    partial = folder.with_name(f".{folder.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    for source, stem in zip(SOURCES, quantize(stems)):
        write_flac(str(partial / f"{source}.flac"), stem)
    (partial / ABOUT).write_text(json.dumps(about))
    partial.rename(folder)


_studio = None  # of this process


def _open_studio(split, voice_folder):
    global _studio
    speakers = material.voices(split)
    bank = {each["name"]: (each["weight"], voices.load(voices.file(voice_folder, each))) for each in speakers}
    _studio = arrange.Studio(split, bank)


def _make(folder, seed, number, seconds):
    """Writes a song; gives the seconds of CPU that it took."""
    begin = time.process_time()
    stems, about = arrange.make_song(song_seed(seed, _studio.split, number), seconds, _studio)
    about |= {"song": folder.name, "seed": seed, "seconds": seconds, "list": material.digest()}
    write_song(folder, stems, about)
    return time.process_time() - begin


def add_arguments(parser):
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--split", choices=material.SPLITS, default="train")
    parser.add_argument("--songs", type=int, default=100, help="how many the split then has")
    parser.add_argument("--seconds", type=float, default=24, help="the length of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--utterances", type=int, default=UTTERANCES, help="of each voice, when voices are made")


def run(args):
    folder = args.data / args.split
    folder.mkdir(parents=True, exist_ok=True)
    (args.data / "licences.json").write_text(json.dumps(licences_now(), indent=2))
    voices.ensure(args.data / "voices", args.utterances)
    refuse_mixture(folder, args.seed)
    wanted = [number for number in range(args.songs) if not (folder / f"{number:05d}").exists()]
    begin, busy = time.time(), 0.0
    with _pool(args) as pool:
        made = [pool.submit(_make, folder / f"{number:05d}", args.seed, number, args.seconds) for number in wanted]
        for done, song in enumerate(made, 1):
            busy += song.result()
            if done % 20 == 0 or done == len(made):
                write_manifest(folder)
                _report(done, args, busy, time.time() - begin)


def refuse_mixture(folder, seed):
    """Ends the program where the songs that are there come from another list or seed: what a split holds
    would depend on the order of calls."""
    for song in song_folders(folder.parent, folder.name):
        about = json.loads((song / ABOUT).read_text())
        if (about["list"], about["seed"]) != (material.digest(), seed):
            sys.exit(f"generate: {song} was made of another material.toml or seed; take another folder")


def write_manifest(folder):
    lines = [(song / ABOUT).read_text() for song in song_folders(folder.parent, folder.name)]
    (folder / "manifest.jsonl").write_text("".join(f"{line}\n" for line in lines))


def licences_now():
    try:
        return licences.collect()
    except licences.UnknownLicence as error:
        sys.exit(f"generate: {error}")


def _pool(args):
    # Spawned, not forked: FluidSynth's synthesizers do not outlive a fork.
    context = get_context("spawn")
    initial = (args.split, args.data / "voices")
    return ProcessPoolExecutor(args.processes, mp_context=context, initializer=_open_studio, initargs=initial)


def _report(done, args, cpu, wall):
    music = done * args.seconds
    print(
        f"generate: {args.split}: {done} songs, {music / 60:.1f} minutes of music in {wall:.0f} s;"
        f" {music / cpu:.1f} s of music per second of CPU",
        file=sys.stderr, flush=True,
    )


def song_folders(data, split):
    """The folders of a split's songs, in their order."""
    return sorted(path for path in (Path(data) / split).iterdir() if path.is_dir() and not path.name.startswith("."))


def stem_file(folder, source):
    """Songs that were not generated may be WAV, as those of MUSDB18-HQ are."""
    flac = folder / f"{source}.flac"
    return flac if flac.exists() else flac.with_suffix(".wav")


def song_frames(folder):
    return length(stem_file(folder, SOURCES[0]))
