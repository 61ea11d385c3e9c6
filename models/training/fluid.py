"""FluidSynth, through its C library: notes of one preset become sound."""

import ctypes
from functools import lru_cache

import numpy as np

from .audio import SAMPLE_RATE, frames
from .material import FLUIDSYNTH
from .soundfont import DRUM_BANK

_LEVELS = 5  # of FluidSynth's log
_DRUM_CHANNEL = 9


@lru_cache
def _library():
    library = ctypes.CDLL(FLUIDSYNTH)
    library.new_fluid_settings.restype = ctypes.c_void_p
    library.new_fluid_synth.restype = ctypes.c_void_p
    library.fluid_set_log_function.restype = ctypes.c_void_p
    for level in range(_LEVELS):
        library.fluid_set_log_function(level, None, None)
    return library


class Fluid:
    """A soundfont, played without FluidSynth's own reverb and chorus."""

    def __init__(self, path):
        self.library, self.path = _library(), path
        self.settings = ctypes.c_void_p(self.library.new_fluid_settings())
        self._set("setnum", "synth.sample-rate", ctypes.c_double(SAMPLE_RATE))
        self._set("setnum", "synth.gain", ctypes.c_double(0.5))
        self._set("setint", "synth.polyphony", 96)
        self._set("setint", "synth.reverb.active", 0)
        self._set("setint", "synth.chorus.active", 0)
        # Only the samples of the presets that are played: some fonts hold a gigabyte.
        self._set("setint", "synth.dynamic-sample-loading", 1)

    def _set(self, kind, name, value):
        getattr(self.library, f"fluid_settings_{kind}")(self.settings, name.encode(), value)

    def render(self, notes, count, program, bank=0):
        """[Note] -> [count, 2]. A note that ends later is cut.

        The synthesizer is a new one each time: one that has played before keeps the rest of a block and of
        notes, and a song would depend on what was made before it.
        """
        synth = ctypes.c_void_p(self.library.new_fluid_synth(self.settings))
        try:
            return self._played(synth, notes, count, program, bank)
        finally:
            self.library.delete_fluid_synth(synth)

    def _played(self, synth, notes, count, program, bank):
        font = self.library.fluid_synth_sfload(synth, str(self.path).encode(), 1)
        if font < 0:
            raise ValueError(f"FluidSynth cannot read {self.path}")
        channel = _DRUM_CHANNEL if bank == DRUM_BANK else 0
        if self.library.fluid_synth_program_select(synth, channel, font, bank, program) != 0:
            raise ValueError(f"the soundfont has no preset {bank}:{program}")
        sound, done = np.zeros((2, count), np.float32), 0
        for start, on, key, velocity in _events(notes):
            if start >= count:
                break
            done = self._advance(synth, sound, done, start)
            if on:
                self.library.fluid_synth_noteon(synth, channel, key, velocity)
            else:
                self.library.fluid_synth_noteoff(synth, channel, key)
        self._advance(synth, sound, done, count)
        return np.ascontiguousarray(sound.T)

    def _advance(self, synth, sound, done, until):
        if until > done:
            left, right = (channel[done:].ctypes.data_as(ctypes.c_void_p) for channel in sound)
            self.library.fluid_synth_write_float(synth, until - done, left, 0, 1, right, 0, 1)
        return max(done, until)


def _events(notes):
    """Note-offs come before note-ons of the same frame: a repeated key sounds again."""
    events = []
    for note in notes:
        velocity = int(np.clip(note.velocity, 1, 127))
        events.append((max(0, frames(note.start)), 1, int(note.key), velocity))
        events.append((max(0, frames(note.start + note.seconds)), 0, int(note.key), 0))
    return sorted(events)


@lru_cache(maxsize=4)
def fluid(path):
    """One for each soundfont."""
    return Fluid(path)
