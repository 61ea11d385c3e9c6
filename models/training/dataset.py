"""Batches of stems from songs and recordings on disk, remixed and augmented as Demucs does.

A batch depends on the seed and its step alone, so that a training that was stopped goes on with the
batches it would have had. Augmentation follows S. Uhlich et al., Improving Music Source Separation
Based on DNNs through Data Augmentation and Network Blending (ICASSP 2017), and Demucs (augment.py:
Remix, Scale, FlipSign, FlipChannels; repitch.py, here as one change of speed).
"""

from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from .audio import SAMPLE_RATE, SOURCES, chance, decibels, log_uniform, read
from .effects import butterworth, drive, maybe, pan, peak_filter, random_eq, reverb
from .generate import song_folders, song_frames, stem_file

OTHER, VOCALS = SOURCES.index("other"), SOURCES.index("vocals")
SPEEDS = (0.89, 1.12)
SPEAKERS = (0.85, 1.7)  # how much higher one speaks than another: pitch and formants
# Against the level in the song. Basses and voices are raised: what a small network is not sure of it leaves out.
# A recorded backing is mastered, and so louder than a song's.
GAINS_DB = {"drums": (-4, 8), "bass": (-2, 9), "other": (-6, 6), "vocals": (3, 12), "backing": (-12, 0)}
DRIVES_DB = (0, 22)
SILENT = 0.005  # a crop whose peak is below is drawn again, where it may come from any song
AHEAD = 8  # batches that are being made while one is used, or as many as there are threads


class Songs:
    """The stems of a split, read in crops."""

    def __init__(self, data, split):
        self.folders = song_folders(data, split)
        if not self.folders:
            raise FileNotFoundError(f"no songs in {data}/{split}: generate some")
        self.lengths = [song_frames(folder) for folder in self.folders]

    def __len__(self):
        return len(self.folders)

    def stem(self, song, source, start, count):
        """[2, count]"""
        return read(stem_file(self.folders[song], SOURCES[source]), start, count).T

    def start(self, rng, song, count):
        return int(rng.integers(0, max(1, self.lengths[song] - count)))

    def crop(self, song, start, count):
        """[4, 2, count]"""
        return np.stack([self.stem(song, source, start, count) for source in range(len(SOURCES))])


def _resampled(sound, count, speed):
    """[2, more] -> [2, count], linearly: `speed` times as fast."""
    if speed == 1:
        return sound
    place = np.arange(count) * speed
    index = place.astype(np.int64)
    weight = (place - index).astype(np.float32)
    return sound[:, index] * (1 - weight) + sound[:, index + 1] * weight


def _shouted(sound, rng):
    """As loud as before. Voices of rock are strongest from 1 to 3 kHz, and weak below; no
    speech synthesizer is. J. Sundberg, The Science of the Singing Voice (1987), chapter 4."""
    strong = butterworth(sound, log_uniform(rng, 150, 900), "high", 1)
    strong = peak_filter(strong, log_uniform(rng, 1_000, 3_000), rng.uniform(3, 14), rng.uniform(0.5, 1.2))
    strong = butterworth(strong, log_uniform(rng, 3_500, 16_000), "low", 1)
    return strong * (sound.std() / (strong.std() + 1e-9))


def _bright(sound, rng):
    """Cymbals as loud as rock has them, against the kick that most of a kit's level is."""
    return peak_filter(sound, log_uniform(rng, 4_500, 11_000), rng.uniform(2, 14), rng.uniform(0.3, 0.6))


def _driven(sound, rng):
    return drive(sound, rng.uniform(*DRIVES_DB))


def _placed(sound, rng):
    """Off the middle, where voices are in most songs, but not in all."""
    return pan(sound, rng.uniform(-0.5, 0.5))


# What happens to a stem, [frames, 2], in this order, each with the probability that a config has under its name.
EFFECTS = {
    "drums": {"bright": _bright, "equalize": random_eq},
    "bass": {"drive": _driven, "equalize": random_eq},
    "other": {"equalize": random_eq},
    "vocals": {"shout": _shouted, "drive": _driven, "equalize": random_eq, "place": _placed},
    "backing": {"equalize": random_eq},
}


class Mixer:
    """Makes items of training: four stems, [4, 2, frames], whose sum is the mix."""

    def __init__(self, songs, recordings, count, augmentation):
        self.songs, self.recordings, self.count, self.options = songs, recordings, count, augmentation

    def item(self, rng):
        """(stems, whether drums, bass and other are known: else their sum is in the place of the first)"""
        parted = not chance(rng, self.options["backing"])
        return (self._parted(rng) if parted else self._backed(rng)), parted

    def _backed(self, rng):
        """A recorded backing, perhaps an instrument before it, and a voice."""
        stems = np.zeros((len(SOURCES), 2, self.count), np.float32)
        stems[0] = self._augmented(self._recorded(rng, "backing", self._speed(rng)), "backing", rng)
        if chance(rng, 0.5):
            stems[0] += self._augmented(self._from_any(rng, OTHER, self._speed(rng)), "other", rng)
        stems[VOCALS] = self._augmented(self._from_any(rng, VOCALS, self._speed(rng)), "vocals", rng)
        return stems

    def _parted(self, rng):
        song = int(rng.integers(len(self.songs)))
        remix = chance(rng, self.options["remix"])
        speed = self._speed(rng)
        start = self.songs.start(rng, song, self._frames(SPEEDS[1]))
        stems = np.zeros((len(SOURCES), 2, self.count), np.float32)
        for source in range(len(SOURCES)):
            if remix:
                stems[source] = self._remixed(rng, source)
            else:
                stems[source] = self._stem(song, source, start, speed)
            stems[source] = self._augmented(stems[source], SOURCES[source], rng)
        return stems

    def _speed(self, rng):
        return rng.uniform(*SPEEDS) if chance(rng, self.options["speed"]) else 1.0

    def _frames(self, speed):
        return self.count if speed == 1 else int(self.count * speed) + 2

    def _stem(self, song, source, start, speed):
        return _resampled(self.songs.stem(song, source, start, self._frames(speed)), self.count, speed)

    def _recorded(self, rng, kind, speed):
        return _resampled(self.recordings.crop(rng, kind, self._frames(speed)), self.count, speed)

    def _spoken(self, rng):
        """Somebody who speaks, as if another had, and maybe in a room."""
        sound = self._recorded(rng, "vocals", log_uniform(rng, *SPEAKERS)).T
        sound = maybe(rng, 0.5, reverb, sound, rng, rng.uniform(-20, -6))
        return sound.T * decibels(rng.uniform(-12, 0))

    def _from_any(self, rng, source, speed):
        if source == OTHER and chance(rng, self.options["recorded"]):
            return self._recorded(rng, "other", speed)
        if source == VOCALS and chance(rng, self.options["recorded"]):
            return self._spoken(rng)
        for _ in range(3):
            song = int(rng.integers(len(self.songs)))
            sound = self._stem(song, source, self.songs.start(rng, song, self._frames(speed)), speed)
            if np.abs(sound).max() > SILENT:
                break
        return sound

    def _remixed(self, rng, source):
        if source == OTHER and chance(rng, self.options["apart"]):
            return self._apart(rng, source)
        return self._from_any(rng, source, self._speed(rng))

    def _apart(self, rng, source):
        """The instruments of two songs, one on each side: many songs are wide, and voices in the middle."""
        left, right = (self._from_any(rng, source, self._speed(rng)).mean(0) for _ in range(2))
        leak = rng.uniform(0, 0.5)
        return np.stack([left + leak * right, right + leak * left])

    def _augmented(self, sound, source, rng):
        if chance(rng, self.options["drop"]):
            return np.zeros_like(sound)
        sound = sound.T
        for name, effect in EFFECTS[source].items():
            sound = maybe(rng, self.options[name], effect, sound, rng)
        sign = -1 if chance(rng, 0.5) else 1
        sound = sound[:, ::-1] if chance(rng, 0.5) else sound
        return sound.T * (sign * decibels(rng.uniform(*GAINS_DB[source])))


def batch(mixer, seed, step, size):
    """(stems [size, 4, 2, frames] float32, whether the parts of their backing are known [size] bool)"""
    rng = np.random.default_rng([seed, step])
    stems, parted = zip(*(mixer.item(rng) for _ in range(size)))
    return torch.from_numpy(np.stack(stems)), torch.tensor(parted)


def batches(mixer, seed, first, size, threads):
    """All batches from the step `first` on, in order, made ahead by threads."""
    with ThreadPoolExecutor(threads) as pool:
        step, waiting = first, deque()
        try:
            while True:
                while len(waiting) < max(AHEAD, threads):
                    waiting.append(pool.submit(batch, mixer, seed, step, size))
                    step += 1
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def validation(songs, count, crops):
    """[crops, 4, 2, count]: the same crops each time, from all songs in turn."""
    rng = np.random.default_rng(len(songs))
    numbers = [number % len(songs) for number in range(crops)]
    return torch.from_numpy(np.stack([songs.crop(each, songs.start(rng, each, count), count) for each in numbers]))


def seconds(songs):
    return sum(songs.lengths) / SAMPLE_RATE
