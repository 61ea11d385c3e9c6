"""Recordings, read in crops: what no synthesizer tells of guitars, players, rooms, mastering and voices.

A recording is of one of three kinds: `other` is that stem alone; `backing` is drums, bass and other in one;
`vocals` is somebody who speaks, for want of one who sings and gives it away.
"""

import numpy as np
import soundfile
from scipy import signal

from . import material
from .audio import SAMPLE_RATE, read


class Recordings:
    def __init__(self):
        self.kinds = {kind: _files(material.recordings(kind)) for kind in material.RECORDED}

    def crop(self, rng, kind, count):
        """[2, count]"""
        files, shares = self.kinds[kind]
        file = files[rng.choice(len(files), p=shares)]
        taken = -(-count * file.samplerate // SAMPLE_RATE)
        start = int(rng.integers(file.frames - taken))
        sound = read(file.name, start, taken, file.samplerate)
        return signal.resample_poly(sound, SAMPLE_RATE, file.samplerate)[:count].T


def _files(shares):
    return [soundfile.info(path) for path in shares], np.array(list(shares.values()))
