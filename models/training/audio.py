"""Sounds as arrays: shape [frames, 2], float32, 44.1 kHz, full scale at 1.

A frame is one sample of each channel. Songs are stored as FLAC of 16 bits, one file for each stem.
"""

import numpy as np
import soundfile

SAMPLE_RATE = 44_100
SOURCES = ("drums", "bass", "other", "vocals")
FULL_SCALE = 32_767
HIGHEST = 16_000  # Hz up to which instruments that are calculated have partials


def frames(seconds):
    return int(seconds * SAMPLE_RATE)


def times(count):
    """The seconds of `count` frames."""
    return np.arange(count) / SAMPLE_RATE


def hertz(key):
    """The frequency of a MIDI key, or of several; 69 is the A of 440 Hz."""
    return 440.0 * 2.0 ** ((np.asarray(key) - 69.0) / 12.0)


def midi_key(frequency):
    return 69.0 + 12.0 * np.log2(np.asarray(frequency) / 440.0)


def decibels(level):
    """The factor by which an amplitude grows that is raised by `level` dB."""
    return np.float32(10.0 ** (level / 20.0))


def stereo(mono):
    """[frames] -> [frames, 2]."""
    return np.repeat(mono[:, None], 2, axis=1).astype(np.float32)


def log_uniform(rng, low, high):
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def chance(rng, probability):
    return rng.uniform() < probability


def add_at(track, sound, start):
    """Adds `sound` to `track` from the frame `start` on, cut where the track begins and ends."""
    if start < 0:
        sound, start = sound[-start:], 0
    length = min(len(sound), len(track) - start)
    if length > 0:
        track[start : start + length] += sound[:length]


def played(notes, count, sound):
    """[Note] -> [count, 2]. `sound(note)` is what a note adds, [frames, 2]; it is not asked for after the end."""
    track = np.zeros((count, 2), np.float32)
    for note in notes:
        start = frames(note.start)
        if start < count:
            add_at(track, sound(note), start)
    return track


def decaying(frequencies, amplitudes, decays, cycles):
    """A sum of sines that die -> [frames]. Hz, and 1/s; `cycles` [frames] are those of 1 Hz."""
    count, time = len(cycles), times(len(cycles))
    sound = np.zeros(count)
    for frequency, amplitude, decay in zip(frequencies, amplitudes, decays):
        end = min(count, frames(7 / decay) + 1)
        sound[:end] += amplitude * np.exp(-decay * time[:end]) * np.sin(2 * np.pi * frequency * cycles[:end])
    return sound


def active_level(sound, block=4_410):
    """The RMS of the blocks of 0.1 s in which something sounds: within 17 dB of the loudest."""
    count = len(sound) // block
    energy = (sound[: count * block].reshape(count, -1) ** 2).mean(1) if count else np.zeros(1)
    if energy.max() < 1e-12:
        return 0.0
    return float(np.sqrt(energy[energy > 0.02 * energy.max()].mean()))


def with_level(sound, level):
    """Scales a sound so that its active blocks have the RMS `level`; silence stays silent."""
    now = active_level(sound)
    return sound * np.float32(level / now) if now > 0 else sound


def to_int16(sound):
    return np.round(np.clip(sound, -1, 1) * FULL_SCALE).astype(np.int16)


def write_flac(path, samples):
    """Writes int16 samples, [frames, 2]."""
    soundfile.write(path, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")


def read(path, start=0, count=-1, rate=SAMPLE_RATE):
    """Reads `count` frames from `start` on, as float32, of a file that has this rate."""
    sound, found = soundfile.read(path, frames=count, start=start, dtype="float32", always_2d=True)
    if found != rate:
        raise ValueError(f"{path}: {found} Hz; expected {rate}")
    return np.repeat(sound, 2, axis=1) if sound.shape[1] == 1 else sound[:, :2]


def length(path):
    return soundfile.info(path).frames
