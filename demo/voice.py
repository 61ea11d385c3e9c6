"""A singer: the pulses of the vocal folds and a little breath, through the resonances of a mouth
that moves from vowel to vowel, with consonants between them.

The voiced part is added up from its harmonics, each as loud as the folds and the mouth make it at
that moment (the cascade of resonators of D. Klatt's synthesizer); so nothing aliases, and the
mouth may move as it likes.
"""

from dataclasses import dataclass

import numpy as np

from sound import RATE, fade, frames, hertz, high, low

STEP = 64  # frames between two positions of the mouth

# Resonances in Hz, of a tenor.
VOWELS = {
    "a": (740, 1160, 2550, 3350, 4200),
    "e": (460, 1800, 2550, 3400, 4250),
    "i": (300, 2150, 2750, 3450, 4300),
    "o": (470, 820, 2500, 3300, 4200),
    "u": (330, 680, 2350, 3250, 4150),
    # Closed lips and a tongue against the teeth, through the nose.
    "m": (250, 1000, 2050, 3100, 4050),
    "n": (260, 1450, 2250, 3150, 4050),
    "l": (330, 1080, 2550, 3300, 4200),
    "w": (300, 620, 2100, 3200, 4200),
}
WIDTHS = (75, 95, 130, 190, 260)
UPPER = (5200, 6200, 7300, 8600, 10200)  # the same for every vowel

# Consonants that hiss: band in Hz, seconds, level, and how long the lips stay closed before.
NOISES = {
    "s": ((5200, 11000), 0.11, 0.60, 0.00),
    "f": ((3500, 10000), 0.08, 0.20, 0.00),
    "h": ((900, 5000), 0.07, 0.16, 0.00),
    "t": ((3500, 9500), 0.035, 0.60, 0.045),
    "k": ((1500, 4500), 0.040, 0.50, 0.045),
    "d": ((2800, 7000), 0.020, 0.30, 0.030),
    "b": ((400, 2500), 0.015, 0.25, 0.035),
}
HUMS = set("mnlw")


@dataclass
class Syllable:
    start: float  # seconds
    length: float
    note: str
    consonant: str  # of NOISES or HUMS, or ''
    vowel: str  # one of VOWELS, or two of them to move from one to the other


def sing(syllables, seconds, rng):
    """Syllables in order -> mono, about as loud as a voice stands in a song."""
    points = frames(seconds) // STEP + 1
    clock = np.arange(points) * STEP / RATE
    pitch, level, breath, mouth = plan(syllables, clock, rng)
    voiced = harmonics(pitch, level, mouth, frames(seconds))
    air = aspiration(level, breath, mouth, frames(seconds), rng)
    sound = voiced + air
    for syllable in syllables:
        hiss(sound, syllable, rng)
    return sound


def plan(syllables, clock, rng):
    """What the singer does at each position of the clock: pitch in Hz, level of the voice, of the
    breath, and resonances (points, 5)."""
    pitch = np.full(len(clock), np.nan)
    level = np.zeros(len(clock))
    mouth = np.full((len(clock), 5), np.nan)
    for syllable in syllables:
        start, end = syllable.start, syllable.start + syllable.length
        closed = NOISES[syllable.consonant][3] if syllable.consonant in NOISES else 0.0
        onset = start + closed + (0.05 if syllable.consonant in ("s", "f", "h") else 0.0)
        here = (clock >= start) & (clock < end)
        pitch[here] = np.log2(hertz(syllable.note))
        opened = np.clip((clock[here] - onset) / 0.045, 0, 1)
        # A long note swells, and every note is let go gently.
        swell = 0.85 + 0.15 * np.clip((clock[here] - start) / 0.5, 0, 1)
        close = np.clip((end - clock[here]) / (0.12 if syllable.length > 0.5 else 0.05), 0, 1)
        level[here] = np.sin(opened * np.pi / 2) * swell * np.sin(close * np.pi / 2)
        first, last = np.array(VOWELS[syllable.vowel[0]]), np.array(VOWELS[syllable.vowel[-1]])
        turn = np.clip((clock[here] - start) / syllable.length * 2.2 - 0.9, 0, 1)[:, None]
        mouth[here] = first * (1 - turn) + last * turn
        if syllable.consonant in HUMS:
            hum = here & (clock < start + 0.085)
            mouth[hum] = VOWELS[syllable.consonant]
            level[hum] *= 0.5
    pitch = glide(hold(pitch), 0.045) + 0.9 / 12 * vibrato(syllables, clock)
    pitch += 0.09 / 12 * wander(len(clock), 4.0, rng) + 0.04 / 12 * wander(len(clock), 25.0, rng)
    mouth = np.stack([glide(hold(column), 0.028) for column in mouth.T], axis=1)
    level = glide(level, 0.012) * (1 + 0.05 * wander(len(clock), 6.0, rng))
    breath = 0.06 + 0.05 * np.clip(np.diff(level, prepend=0) * 60, 0, 1)
    return 2**pitch, level, breath, mouth


def hold(values):
    """Gaps take the value before them, the first one what comes after it."""
    known = np.flatnonzero(~np.isnan(values))
    last = np.searchsorted(known, np.arange(len(values)), side="right") - 1
    return values[known[np.maximum(last, 0)]]


def glide(values, seconds):
    """Smooths a curve over the clock: nothing in a throat jumps."""
    half = max(1, int(seconds * RATE / STEP))
    window = np.hanning(2 * half + 3)[1:-1]
    padded = np.pad(values, half, mode="edge")
    return np.convolve(padded, window / window.sum(), mode="valid")


def vibrato(syllables, clock):
    """A wave of 5.6 Hz that sets in late in long notes; 1 is its full depth."""
    depth = np.zeros(len(clock))
    for syllable in syllables:
        if syllable.length > 0.45:
            age = clock - syllable.start
            depth[(age >= 0) & (age < syllable.length)] = 1
            depth[(age >= 0) & (age < 0.22)] = 0
    return glide(depth, 0.15) * 0.65 * np.sin(2 * np.pi * 5.6 * clock)


def wander(points, rate, rng):
    """A random curve that turns about so many times a second, of deviation 1."""
    curve = glide(rng.standard_normal(points), 0.5 / rate)
    return curve / curve.std()


def response(frequency, mouth):
    """How the mouth passes a frequency: complex, for equally long arrays over the clock."""
    result = np.ones(len(frequency), complex)
    for column, width in zip(mouth.T, WIDTHS):
        result *= resonance(frequency, column, width)
    for centre in UPPER:
        result *= resonance(frequency, centre, 0.07 * centre)
    return result


def resonance(frequency, centre, width):
    return centre**2 / (centre**2 - frequency**2 + 1j * frequency * width)


def harmonics(pitch, level, mouth, length):
    """The voiced sound, harmonic by harmonic."""
    at = np.arange(length) / STEP
    clock = np.arange(len(pitch))
    phase = 2 * np.pi * np.cumsum(np.interp(at, clock, pitch)) / RATE
    sound = np.zeros(length)
    for harmonic in range(1, int(15000 / pitch.min())):
        frequency = harmonic * pitch
        # The folds lose 10 dB an octave when they press, the lips win 6 back, and a voice that
        # carries has little of its fundamental; near 16 kHz all ends.
        source = 0.5 if harmonic == 1 else harmonic**-0.65
        source *= np.clip((16000 - frequency) / 3000, 0, 1)
        filtered = level * source * response(frequency, mouth)
        if not np.any(np.abs(filtered) > 1e-6):
            continue
        wave = np.interp(at, clock, filtered.real) * np.sin(harmonic * phase)
        sound += wave + np.interp(at, clock, filtered.imag) * np.cos(harmonic * phase)
    return 0.25 * sound


def aspiration(level, breath, mouth, length, rng):
    """Breath that the open folds let through: noise, shaped by the mouth in short pieces."""
    size, hop = 1024, 256
    noise = rng.standard_normal(length + size)
    window = np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2
    frequency = np.fft.rfftfreq(size, 1 / RATE)
    sound = np.zeros(length + size)
    for start in range(0, length, hop):
        point = min(len(level) - 1, (start + size // 2) // STEP)
        if level[point] < 1e-3:
            continue
        gain = np.ones(len(frequency), complex)
        for centre, width in zip(mouth[point], WIDTHS):
            gain *= resonance(frequency, centre, 2 * width)
        # The throat is left out of a whisper, and treble comes with it.
        gain = np.minimum(np.abs(gain), 6) * (0.15 + np.minimum(frequency, 9000) / 5000)
        piece = np.fft.irfft(np.fft.rfft(noise[start : start + size] * window) * gain)
        sound[start : start + size] += piece * level[point] * breath[point]
    return 0.25 * sound[:length]


def hiss(sound, syllable, rng):
    """Puts the noise of the syllable's consonant, if it has one, before its vowel."""
    if syllable.consonant not in NOISES:
        return
    (bottom, top), seconds, loud, closed = NOISES[syllable.consonant]
    noise = low(high(rng.standard_normal(frames(seconds + 0.02)), bottom, 3), top, 3)
    noise = fade(noise / noise.std(), 0.004 if closed else 0.03, 0.6 * seconds)
    start = frames(syllable.start + closed)
    end = min(len(sound), start + len(noise))
    sound[start:end] += 0.16 * loud * noise[: end - start]


def double(sound, rng, delay):
    """The same singer once more: so many seconds later and never quite at the same pitch."""
    n, cents = len(sound), 9
    drift = glide(rng.standard_normal(n // STEP + 1), 0.4)
    drift = np.interp(np.arange(n) / STEP, np.arange(len(drift)), drift / np.abs(drift).max())
    shift = delay + 0.5 * cents / 1200 * np.cumsum(drift) / RATE
    return np.interp(np.arange(n) / RATE - shift, np.arange(n) / RATE, sound, left=0)
