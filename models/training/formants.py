"""Voices of our own, drawn anew for each singer: the speech synthesizers have few speakers.

What the throat of a speaker does is drawn, and given as `voices` gives what WORLD heard of one. Harmonics
that fall towards treble, and breath, go through the resonances of a tube; fricatives and bursts are noise
of their own. G. Fant, Acoustic Theory of Speech Production (1960); D. H. Klatt, Software for a
Cascade/Parallel Formant Synthesizer, JASA 67 (1980).
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, signal

from .audio import chance, log_uniform
from .voices import BANDS, GRID, Utterance

# The lowest three formants of men, Hz. G. E. Peterson, H. L. Barney, Control Methods Used in a Study of
# the Vowels, JASA 24 (1952), table II.
VOWELS = np.array([
    (270, 2290, 3010), (390, 1990, 2550), (530, 1840, 2480), (660, 1720, 2410), (730, 1090, 2440),
    (570, 840, 2410), (440, 1020, 2240), (300, 870, 2240), (640, 1190, 2390), (490, 1350, 1690),
])
NEUTRAL = np.array([500, 1_500, 2_500])
MURMUR = np.array([260, 1_300, 2_400])  # of nasals
HIGHER = np.arange(3_500, 17_000, 1_000)  # of a tube of 17.5 cm
SILENT = -70.0  # dB
VOICED = -35.0  # dB of voice from which on it has a pitch
LOUDNESS = 600.0  # of a vowel, where the speech synthesizers have it
SYLLABLES = 8
UTTERANCES = 4


@dataclass(frozen=True)
class Throat:
    scale: np.ndarray  # by which each formant is higher than a man's
    bandwidth: float  # of the formants, against the usual
    ring: float  # how far the third to the fifth draw together, as with trained singers
    clarity: float  # how far vowels are from the neutral one
    slope: float  # dB per octave by which the source falls
    breath: float  # dB of breath in vowels
    pitch: float  # Hz
    pace: float  # by which syllables are longer


def draw_throat(rng):
    size = log_uniform(rng, 0.94, 1.25)
    return Throat(
        scale=size * np.exp(0.05 * rng.standard_normal(3 + len(HIGHER))),
        bandwidth=log_uniform(rng, 0.7, 2),
        ring=rng.uniform(0.2, 0.6) if chance(rng, 0.4) else 0.0,
        clarity=rng.uniform(0.6, 1.1),
        slope=rng.uniform(1, 9),
        breath=rng.uniform(-42, -10),
        pitch=110 * size**5 * log_uniform(rng, 0.75, 1.7),
        pace=log_uniform(rng, 0.7, 1.5),
    )


@dataclass(frozen=True)
class Sound:
    """What a throat is set to for some frames; levels in dB against a vowel's."""

    frames: int
    formants: np.ndarray  # [3] Hz
    voice: float = SILENT
    breath: float = SILENT
    hiss: float = SILENT
    center: float = 3_000.0  # of the hiss, Hz
    octaves: float = 1.0  # that it is wide


def _vowel(throat, rng):
    drawn = VOWELS[rng.integers(len(VOWELS))] * np.exp(0.04 * rng.standard_normal(3))
    return NEUTRAL * (drawn / NEUTRAL) ** throat.clarity


def _stop(throat, near, rng):
    length = throat.pace * rng.uniform(4, 12)
    voiced = rng.uniform(-30, -18) if chance(rng, 0.4) else SILENT
    hiss, center, octaves = rng.uniform(-22, -4), log_uniform(rng, 700, 7_000), rng.uniform(0.5, 1.6)
    burst = Sound(int(rng.integers(1, 4)), near, hiss=hiss, center=center, octaves=octaves)
    sounds = [Sound(int(length), near, voice=voiced), burst]
    if voiced == SILENT:
        sounds.append(Sound(int(rng.integers(2, 9)), near, breath=rng.uniform(-22, -8)))
    return sounds


def _fricative(throat, near, rng):
    length = int(throat.pace * rng.uniform(9, 26))
    voice = rng.uniform(-20, -8) if chance(rng, 0.35) else SILENT
    center, octaves = log_uniform(rng, 1_500, 9_500), rng.uniform(0.3, 1.2)
    return [Sound(length, near, voice, hiss=rng.uniform(-28, -4), center=center, octaves=octaves)]


def _nasal(throat, near, rng):
    murmur = MURMUR * np.exp(0.15 * rng.standard_normal(3))
    return [Sound(int(throat.pace * rng.uniform(7, 18)), murmur, rng.uniform(-14, -5), throat.breath)]


def _glide(throat, near, rng):
    return [Sound(int(throat.pace * rng.uniform(6, 15)), _vowel(throat, rng), rng.uniform(-9, -2), throat.breath)]


def _consonant(throat, near, rng):
    kinds = (_stop, _fricative, _nasal, _glide)
    return kinds[rng.integers(len(kinds))](throat, near, rng)


def _syllable(throat, rng):
    """([Sound], which of them is the vowel)"""
    vowel = _vowel(throat, rng)
    before = _consonant(throat, vowel, rng) if chance(rng, 0.85) else []
    voice, breath = rng.uniform(-3, 3), throat.breath + rng.uniform(-4, 4)
    core = [Sound(int(throat.pace * rng.uniform(14, 34)), vowel, voice, breath)]
    if chance(rng, 0.3):  # a diphthong
        core.append(Sound(int(throat.pace * rng.uniform(8, 20)), _vowel(throat, rng), voice, breath))
    after = _consonant(throat, vowel, rng) if chance(rng, 0.4) else []
    return before + core + after, len(before)


def _settings(sounds, name):
    """[sounds, ...]"""
    return np.array([getattr(sound, name) for sound in sounds])


def _held(values, sounds):
    """What is set for each sound, for as long as it lasts: [sounds, ...] -> [T, ...]"""
    return np.repeat(values, _settings(sounds, "frames"), axis=0)


def _moved(values, sounds, width):
    """The same as a throat moves to it, over `width` frames."""
    window = np.hanning(width + 2)[1:-1]
    return ndimage.convolve1d(_held(values, sounds), window / window.sum(), axis=0, mode="nearest")


def _levels(sounds, name):
    """The power of one of a sound's sources, [T, 1]."""
    return _moved(10 ** (_settings(sounds, name) / 20), sounds, 5)[:, None] ** 2


def _tube(formants, throat):
    """[T, 3] Hz -> [T, BANDS], the power that the resonances let through: as much as goes in, at 0 Hz."""
    higher = np.broadcast_to(HIGHER, (len(formants), len(HIGHER)))
    centers = np.concatenate([formants, higher], axis=1) * throat.scale
    ringing = centers[:, 2:5]
    centers[:, 2:5] += throat.ring * (0.95 * ringing.mean(1, keepdims=True) - ringing)
    gain = np.zeros((len(formants), BANDS))
    for center in centers.T[:, :, None]:
        half = throat.bandwidth * (25 + 0.02 * center)
        gain -= np.log(((GRID - center) ** 2 + half**2) * ((GRID + center) ** 2 + half**2))
        gain += 2 * np.log(center**2 + half**2)
    return np.exp(gain)


def _even(power):
    """[..., BANDS] -> the same with an energy of 1 over all frequencies."""
    return power / np.trapezoid(power, GRID, axis=-1)[..., None]


def _spectra(sounds, voice, throat, rng):
    """(power of pulses, power of noise), each [T, BANDS]"""
    formants = _moved(np.log(_settings(sounds, "formants")), sounds, int(rng.integers(9, 18)))
    tube = _tube(np.exp(formants), throat)
    pulses = _even(tube * (1 + (GRID / 250) ** 2) ** (-throat.slope / 6.02))
    breath = _even(tube * (1 + (GRID / 1_000) ** 2) ** -0.3)
    center, octaves = (_settings(sounds, name)[:, None] for name in ("center", "octaves"))
    hiss = _held(_even(np.exp(-0.5 * (np.log2((GRID + 1) / center) / octaves) ** 2)), sounds)
    return voice * pulses, _levels(sounds, "breath") * breath + _levels(sounds, "hiss") * hiss


def _pitch(throat, count, rng):
    """How high someone speaks: falling, and wandering by some semitones, [T] Hz."""
    wander = signal.lfilter([0.01], [1, -0.99], rng.standard_normal(count)) * rng.uniform(5, 30)
    return throat.pitch * 2 ** ((wander + np.linspace(2, -2, count)) / 12)


def _utterance(throat, rng):
    sounds, syllables, now = [], [], 0
    for _ in range(SYLLABLES):
        syllable, vowel = _syllable(throat, rng)
        lengths = [sound.frames for sound in syllable]
        loudest = now + sum(lengths[:vowel]) + lengths[vowel] // 2
        syllables.append((now, loudest, now + sum(lengths)))
        sounds, now = sounds + syllable, now + sum(lengths)
    voice = _levels(sounds, "voice")
    pulses, noise = _spectra(sounds, voice, throat, rng)
    whole = pulses + noise + 1e-9
    pitch = np.where(voice[:, 0] > 10 ** (VOICED / 10), _pitch(throat, now, rng), 0)
    return Utterance(pitch, np.log(LOUDNESS * whole), np.sqrt(noise / whole), np.array(syllables, np.int32))


def speak(rng):
    """Some utterances of a voice that is drawn."""
    throat = draw_throat(rng)
    return [_utterance(throat, rng) for _ in range(UTTERANCES)]
