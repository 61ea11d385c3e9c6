#!/usr/bin/env python3
"""Makes the demo song, "Four Ways Home", from nothing: 24 seconds with a singer, drums, a bass
and harmony.

    python3 demo/song.py                    writes demo/song.mp3
    python3 demo/song.py --stems DIR        and what it was mixed from, as WAV files
    python3 demo/song.py --wav FILE         the mix as WAV instead of MP3

Needs numpy, and cargo for the MP3. The same everywhere: all chance comes from one seed.
"""

import argparse
import pathlib
import subprocess
import tempfile

import numpy as np

import band
from sound import add, even, frames, pan, room, write_wav
from voice import Syllable, double, sing

HERE = pathlib.Path(__file__).resolve().parent
SEED = 4
TITLE, ARTIST, KILOBITS = "Four Ways Home", "Stemflow", "192"

BEAT = 60 / 98  # seconds
BAR = 4 * BEAT
TAIL = 1.6  # seconds that the last chord rings on

# One chord a bar: the bass's root, then what the others play.
CHORDS = {
    "Dm": ("D2", ("D3", "A3", "D4", "F4", "A4")),
    "Bb": ("A#1", ("A#2", "F3", "A#3", "D4", "F4")),
    "F": ("F1", ("F2", "C3", "A3", "C4", "F4")),
    "C": ("C2", ("C3", "G3", "C4", "E4", "G4")),
}
BARS = ("Dm", "Dm", "Bb", "F", "C", "Bb", "F", "C", "Dm")
CHORUS = 5  # the bar it begins with
SECONDS = len(BARS) * BAR + TAIL

# bar, beat, beats, note, consonant, vowel
MELODY = """
1 0.0 0.5 D3 w e    1 0.5 0.5 F3 n a    1 1.0 0.5 G3 s o    1 1.5 1.3 A3 m ai
1 3.0 0.5 G3 t e    1 3.5 0.5 F3 n a
2 0.0 1.6 D3 l ou   2 2.0 0.5 F3 d a    2 2.5 0.5 G3 w e    2 3.0 0.9 F3 s o
3 0.0 0.5 A3 k a    3 0.5 0.9 C4 l ai   3 1.5 0.5 A3 n a    3 2.0 0.5 G3 m e
3 2.5 0.9 F3 d ou   3 3.5 0.5 F3 h a
4 0.0 1.9 G3 s ei   4 2.5 0.5 E3 n a    4 3.0 0.5 G3 l o    4 3.5 0.5 A3 t a
5 0.0 1.4 D4 f ai   5 1.5 0.5 C4 l a    5 2.0 1.4 A3 h ou   5 3.5 0.5 G3 m e
6 0.0 0.9 A3 n a    6 1.0 0.9 C4 s au   6 2.0 1.4 C4 l ai   6 3.5 0.5 A3 d e
7 0.0 0.9 G3 w ei   7 1.0 0.5 A3 n a    7 1.5 0.5 G3 k o    7 2.0 1.4 E3 m ai
7 3.5 0.5 F3 t e
8 0.0 3.4 D3 l au
"""


def at(bar, beat=0.0):
    return bar * BAR + beat * BEAT


def silence():
    return np.zeros((frames(SECONDS), 2))


def melody():
    words = MELODY.split()
    for k in range(0, len(words), 6):
        bar, beat, beats, note, consonant, vowel = words[k : k + 6]
        yield Syllable(at(int(bar), float(beat)), float(beats) * BEAT, note, consonant, vowel)


def vocals(rng):
    lead = even(sing(list(melody()), SECONDS, rng), 0.2, 0.3)
    track = pan(lead, 0.0)
    chorus = lead * (np.arange(len(lead)) >= frames(at(CHORUS)))
    for place, delay in ((-0.5, 0.021), (0.5, 0.03)):
        track += 0.2 * pan(double(chorus, rng, delay), place)
    return room(track, rng, 1.1, 0.14)


def drums(rng):
    track = silence()
    for bar in range(len(BARS)):
        last = bar == len(BARS) - 1
        for beat in (0, 1.5, 2) if bar >= CHORUS else (0, 2, 2.5) if bar else (0, 2):
            add(track, at(bar, beat), 0.95 * pan(band.kick(), 0))
        for beat in (1, 3):
            if not (last and beat == 3):
                add(track, at(bar, beat), 0.72 * pan(band.snare(rng), -0.05))
        for eighth in range(8):
            opened = eighth == 7 and bar % 2 == 0
            loud = (0.30 if eighth % 2 == 0 else 0.19) * rng.uniform(0.85, 1.1)
            add(track, at(bar, eighth / 2), loud * pan(band.hat(rng, opened), 0.35))
    for bar in (1, CHORUS, len(BARS) - 1):
        add(track, at(bar), 0.30 * pan(band.crash(rng), -0.3))
    for k, note in enumerate(("A2", "F2", "D2", "A1")):
        add(track, at(CHORUS - 1, 3 + k / 4), 0.55 * pan(band.tom(note, rng), -0.5 + k / 3))
    add(track, at(len(BARS)), 0.9 * pan(band.kick(), 0))
    return room(track, rng, 0.5, 0.16, 9000)


def bass():
    track = silence()
    up = {"D2": "D3", "A#1": "A#2", "F1": "F2", "C2": "C3"}
    for bar, chord in enumerate(BARS):
        root = CHORDS[chord][0]
        notes = [(0, 1.4), (1.5, 0.5), (2, 1.0), (3, 0.5), (3.5, 0.5)]
        for beat, beats in notes[:1] if bar == 0 else notes:
            note = up[root] if beat == 3 else root
            add(track, at(bar, beat), 0.55 * pan(band.bass(note, beats * BEAT), 0))
    add(track, at(len(BARS)), 0.55 * pan(band.bass("D2", TAIL), 0))
    return track


def other(rng):
    track = silence()
    arpeggio = (0, 2, 3, 4, 3, 2, 4, 3)
    for bar, chord in enumerate(BARS):
        notes = CHORDS[chord][1]
        for eighth, which in enumerate(arpeggio):
            string = band.pluck(notes[which], 3 * BEAT, rng)
            add(track, at(bar, eighth / 2), 0.34 * pan(string, -0.55))
        for k, note in enumerate(notes[1:]):
            wide = 0.9 if k % 2 else -0.9
            strings = band.pad(note, BAR + 0.3, rng, 5 - 3 * k)
            add(track, at(bar), 0.028 * pan(strings, wide))
        for beat in (0.5, 2.5) if bar >= CHORUS else ():
            for note in notes[2:]:
                add(track, at(bar, beat), 0.085 * pan(band.keys(note, 1.4 * BEAT), 0.5))
    for note in CHORDS["Dm"][1]:
        add(track, at(len(BARS)), 0.12 * pan(band.keys(note, TAIL), 0.5))
        add(track, at(len(BARS)), 0.25 * pan(band.pluck(note, TAIL, rng), -0.55))
    return room(track, rng, 1.6, 0.22)


def master(stems):
    """Evens the mix out and brings it up to level. Every stem takes the same gain at the same
    time, so that they still add up to the mix."""
    ceiling, ahead = 0.89, frames(0.006)
    mix = sum(stems.values())
    drive = 1.25 * ceiling / np.quantile(np.abs(mix), 0.999)
    excess = np.maximum(1, drive * np.max(np.abs(mix), axis=1) / ceiling)
    # The lowest gain wanted within reach, rounded off: it comes in before the peak and leaves
    # after it, too slowly to be heard.
    wanted = 1 / sliding_maximum(excess, 2 * ahead)
    window = np.hanning(2 * ahead + 1) / ahead
    gain = np.convolve(np.pad(wanted, ahead, mode="edge"), window, mode="valid")
    fade_out = np.clip((len(mix) - np.arange(len(mix))) / frames(0.8), 0, 1)
    gain = (drive * gain * fade_out)[:, None]
    mastered = {name: stem * gain for name, stem in stems.items()}
    peak = np.max(np.abs(sum(mastered.values())))
    return {name: stem * min(1, 0.95 / peak) for name, stem in mastered.items()}


def sliding_maximum(values, reach):
    """The greatest of the values up to `reach` frames away on either side."""
    result, have = values.copy(), 0
    while have < reach:
        step = min(have + 1, reach - have)
        earlier = np.concatenate([np.full(step, values[0]), result[:-step]])
        later = np.concatenate([result[step:], np.full(step, values[-1])])
        result = np.maximum(result, np.maximum(earlier, later))
        have += step
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stems", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--wav", type=pathlib.Path, metavar="FILE")
    options = parser.parse_args()

    rngs = [np.random.default_rng([SEED, part]) for part in range(3)]
    stems = {
        "drums": 1.0 * drums(rngs[0]),
        "bass": 0.8 * bass(),
        "other": 2.1 * other(rngs[1]),
        "vocals": 0.56 * vocals(rngs[2]),
    }
    stems = master(stems)
    mix = sum(stems.values())
    if options.stems:
        options.stems.mkdir(parents=True, exist_ok=True)
        for name, stem in stems.items():
            write_wav(options.stems / f"{name}.wav", stem)
    if options.wav:
        write_wav(options.wav, mix)
    else:
        encode(mix, HERE / "song.mp3")


def encode(mix, path):
    with tempfile.TemporaryDirectory() as folder:
        wav = pathlib.Path(folder) / "song.wav"
        write_wav(wav, mix)
        cargo = ["cargo", "run", "--quiet", "--release", "-p", "audio", "--example", "encode", "--"]
        subprocess.run([*cargo, wav, path, KILOBITS, TITLE, ARTIST], check=True, cwd=HERE)


if __name__ == "__main__":
    main()
