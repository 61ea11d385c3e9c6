"""Instruments that sound as long as they are played, drawn anew for each part: winds, bowed strings, organs.

A note is read from one period of harmonics, a dark one and a bright one, blended by how hard it is blown;
after it come the body's resonances, which stay where they are while the note moves. That loud notes are
brighter makes most of a brass tone: J.-C. Risset, Computer Study of Trumpet Tones, JASA 38 (1965).
"""

from dataclasses import dataclass

import numpy as np

from .audio import HIGHEST, SAMPLE_RATE, chance, frames, hertz, log_uniform, played, stereo, times
from .effects import butterworth, pan, peak_filter, tremolo

HARMONICS = 96
PERIOD = 4_096  # values of one period
# The pitches of an organ's drawbars, as multiples of half the written frequency: 16', 5 1/3', 8' and so on.
DRAWBARS = np.array([1, 3, 2, 4, 6, 8, 10, 12, 16])


@dataclass(frozen=True)
class Instrument:
    harmonics: np.ndarray  # the amplitude of each, and its phase
    phases: np.ndarray
    octave: float  # the lowest harmonic, as a multiple of the written frequency
    dark: float  # Hz from which on soft notes, and loud ones, have less
    bright: float
    attack: float  # seconds
    release: float
    swell: float  # by which share of itself a held note grows
    vibrato_cents: float
    vibrato_hertz: float
    scoop: float  # cents by which notes may begin too low
    wander: float  # cents
    breath: float  # the noise of breath or bow, against the note, and where it lies
    hiss: tuple
    click: float  # of a key
    players: int
    spread: float  # cents between them
    body: tuple  # (Hz, dB, q) of each resonance
    rotor: bool  # a loudspeaker that turns


def draw_instrument(rng, kind, players=1):
    """`kind` is wind, bowed or organ."""
    numbers = np.arange(1, HARMONICS + 1)
    dark = log_uniform(rng, 300, 2_000)
    low, lively = log_uniform(rng, 300, 2_500), kind != "organ"
    return Instrument(
        harmonics={"wind": _pipe, "bowed": _bow, "organ": _stops}[kind](rng, numbers),
        phases=rng.uniform(0, 2 * np.pi) + rng.uniform(0, 1) * rng.uniform(0, 2 * np.pi, HARMONICS),
        octave=1.0 if lively else 0.5,
        dark=dark if lively else 9_000.0,
        bright=dark * log_uniform(rng, 1.5, 8) if lively else 9_000.0,
        attack=log_uniform(rng, 0.015, 0.2) if lively else log_uniform(rng, 0.003, 0.03),
        release=log_uniform(rng, 0.03, 0.3),
        swell=rng.uniform(-0.3, 0.6) if lively else 0.0,
        vibrato_cents=rng.uniform(4, 50) if lively and chance(rng, 0.65) else 0.0,
        vibrato_hertz=rng.uniform(4, 7),
        scoop=rng.uniform(0, 150) if lively and chance(rng, 0.5) else 0.0,
        wander=rng.uniform(1, 8) if lively else 0.0,
        breath=log_uniform(rng, 0.003, 0.2) if lively else 0.0,
        hiss=(low, low * log_uniform(rng, 1.5, 8)),
        click=0.0 if lively else log_uniform(rng, 0.01, 0.4),
        players=players,
        spread=rng.uniform(4, 14),
        body=_body(rng, int(rng.integers(2, 6)) if lively else 1),
        rotor=not lively and chance(rng, 0.6),
    )


def _pipe(rng, numbers):
    amplitudes = numbers ** -rng.uniform(0.2, 2)
    if chance(rng, 0.3):  # closed at one end, as a clarinet is
        amplitudes = np.where(numbers % 2, amplitudes, rng.uniform(0.02, 0.4) * amplitudes)
    return amplitudes * np.exp(0.4 * rng.standard_normal(len(numbers)))


def _bow(rng, numbers):
    """Helmholtz's motion: a saw, without the harmonics that have a node under the bow."""
    return np.abs(np.sin(np.pi * numbers * rng.uniform(0.06, 0.2))) / numbers


def _stops(rng, numbers):
    """Drawbars of 3 dB, one sine each; or ranks of pipes, which have harmonics of their own."""
    drawn = np.where(rng.uniform(size=len(DRAWBARS)) < 0.55, 10 ** (-3 * rng.integers(0, 6, len(DRAWBARS)) / 20), 0)
    drawn[2] = max(drawn[2], 0.5)
    richness, amplitudes = rng.uniform(1, 3) if chance(rng, 0.4) else None, np.zeros(len(numbers))
    for multiple, level in zip(DRAWBARS, drawn):
        if richness is None:
            amplitudes[multiple - 1] += level
        else:
            own = numbers[numbers % multiple == 0]
            amplitudes[own - 1] += level * (own / multiple) ** -richness
    return amplitudes


def _body(rng, count):
    return tuple(
        (log_uniform(rng, 200, 5_000), rng.uniform(-6, 12), log_uniform(rng, 0.7, 5)) for _ in range(count)
    )


def _period(instrument, frequency, edge):
    """[PERIOD + 1], RMS 1; the last value is the first again. `edge`: Hz above which treble falls."""
    multiples = frequency * instrument.octave * np.arange(1, HARMONICS + 1)
    levels = instrument.harmonics / (1 + (multiples / edge) ** 3) * (multiples < HIGHEST)
    spectrum = np.zeros(PERIOD // 2 + 1, complex)
    spectrum[1 : HARMONICS + 1] = levels * np.exp(1j * instrument.phases)
    period = np.fft.irfft(spectrum)
    return np.append(period, period[0]) / (period.std() + 1e-12)


def _read(period, cycles):
    place = (cycles % 1) * PERIOD
    below = place.astype(int)
    return period[below] + (place - below) * (period[below + 1] - period[below])


def _slow_noise(count, rate, rng):
    """[count], of RMS 1 or so: `rate` values a second, and lines between them."""
    points = rng.standard_normal(int(count * rate / SAMPLE_RATE) + 2)
    return np.interp(np.arange(count) * rate / SAMPLE_RATE, np.arange(len(points)), points)


def _cycles(instrument, frequency, count, rng):
    """How many periods are over, [count]: scoops, vibrato that comes once a note is held, and wandering."""
    time = times(count)
    cents = instrument.wander * _slow_noise(count, 12, rng)
    cents += instrument.spread * rng.normal() * (instrument.players > 1)
    depth = instrument.vibrato_cents * np.clip((time - 0.15) / 0.3, 0, 1)
    cents += depth * np.sin(2 * np.pi * instrument.vibrato_hertz * rng.uniform(0.93, 1.07) * time + rng.uniform(0, 6))
    if instrument.scoop and chance(rng, 0.5):
        cents -= instrument.scoop * np.exp(-time / rng.uniform(0.02, 0.1))
    return np.cumsum(frequency * instrument.octave * 2 ** (cents / 1200)) / SAMPLE_RATE + rng.uniform()


def _effort(instrument, count, seconds, rng):
    """How hard it is blown, [count], 0 to 1 and a little more."""
    time = times(count)
    grown = 1 + instrument.swell * np.clip(time / max(seconds, 0.3), 0, 1)
    wave = 1 + 0.05 * _slow_noise(count, 8, rng) * (instrument.wander > 0)
    risen = 1 - np.exp(-2.5 * time / instrument.attack)
    return risen * grown * wave * np.exp(-np.maximum(0, time - seconds) / instrument.release)


def play(instrument, key, seconds, strength, rng):
    """A note of `strength` 0 to 1 -> [frames, 2]"""
    frequency, count = float(hertz(key)), frames(seconds + 4 * instrument.release)
    edges = max(instrument.dark, frequency), max(instrument.bright, frequency)
    dark, bright = (_period(instrument, frequency, edge) for edge in edges)
    sound = np.zeros((count, 2), np.float32)
    for _ in range(instrument.players):
        effort = _effort(instrument, count, seconds, rng)
        cycles = _cycles(instrument, frequency, count, rng)
        share = np.clip(strength * effort, 0, 1) if instrument.bright > instrument.dark else np.zeros(count)
        tone = (1 - share) * _read(dark, cycles) + share * _read(bright, cycles)
        place = rng.uniform(-0.8, 0.8) if instrument.players > 1 else 0.0
        sound += pan(stereo(tone * effort), place) / np.sqrt(instrument.players)
    # One breath for all: that of the last.
    return strength * (sound + _noises(instrument, effort, rng))


def _noises(instrument, effort, rng):
    count = len(effort)
    noise = np.zeros(count)
    if instrument.breath:
        noise += instrument.breath * effort * butterworth(rng.standard_normal(count), instrument.hiss, "band")
    if instrument.click:
        noise += instrument.click * rng.standard_normal(count) * np.exp(-times(count) / 0.003)
    return stereo(noise)


def render(notes, count, rng, kind, players=1):
    """[Note] -> [count, 2]"""
    instrument = draw_instrument(rng, kind, players)
    track = played(notes, count, lambda note: play(instrument, note.key, note.seconds, note.velocity / 127, rng))
    for frequency, gain, q in instrument.body:
        track = peak_filter(track, frequency, gain, q)
    return tremolo(track, rng, 0.4) if instrument.rotor else track
