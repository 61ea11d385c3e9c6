"""A seed becomes a song: tempo, key, chords, and the notes of each part. No sound yet.

Times are seconds from the song's begin, pitches are MIDI keys.
"""

from dataclasses import dataclass, replace

import numpy as np

from . import basslines
from .audio import chance, log_uniform

MAJOR, MINOR, DORIAN, MIXOLYDIAN = (
    (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 3, 5, 7, 9, 10), (0, 2, 4, 5, 7, 9, 10),
)
SCALES = (MAJOR, MAJOR, MINOR, MINOR, DORIAN, MIXOLYDIAN)

# Chord progressions as degrees of the scale, counted from 0.
PROGRESSIONS = (
    (0, 4, 5, 3), (5, 3, 0, 4), (0, 5, 3, 4), (0, 3, 4, 3), (1, 4, 0, 0), (0, 6, 5, 6), (0, 5, 2, 6), (0, 3, 0, 4),
    (0, 0, 3, 4), (3, 4, 2, 5), (0, 2, 3, 4), (0, 0, 0, 0), (5, 4, 3, 4), (0, 3, 5, 4), (0, 0, 5, 5), (0, 6, 3, 0),
)
# How a melody divides its time, in eighths.
CELLS = ((2, 2), (1, 1, 2), (2, 1, 1), (4,), (3, 1), (1, 1, 1, 1), (1.5, 1.5, 1), (1, 2, 1), (3, 3, 2), (6, 2), (8,))
STEPS = (-3, -2, -1, -1, 0, 1, 1, 2, 3)  # of a melody, in degrees

# Sixteenths of a bar, as kick, snare and hat; x is a stroke, o a soft one.
PATTERNS = (
    ("x.....x.x.......", "....x.......x...", "x.o.x.o.x.o.x.o."),
    ("x...x...x...x...", "....x.......x...", "..x...x...x...x."),
    ("x..x..x...x.x...", "....x.......x..o", "xoxoxoxoxoxoxoxo"),
    ("x.x.....x.x...o.", "....x..o.o..x...", "x.x.x.x.x.x.x.x."),
    ("x.........x.....", "........x.......", "x.x.xxx.x.x.xxxx"),
    ("x.x...xx..xx....", "....x..o.o.ox..o", "x.x.x.x.x.x.x.x."),
    ("x.......x.......", "....x.......x...", "x...x...x...x..."),
    ("x..o..x....ox...", "....x.......x...", "x.ox.ox.x.ox.ox."),
    ("x...x...x...x...", "....x.......x...", "x.xxx.xxx.xxx.xx"),
    ("x......x.x......", "....x.......x...", "x.o.x.o.x.o.x.o."),
    ("x...............", "........x.......", "x.x.x.x.x.x.x.x."),
    ("xx.xxx.xxx.xxx.x", "....x.......x...", "x...x...x...x..."),
    ("x..x..x.x..x..x.", "..x.......x...o.", "xoxoxoxoxoxoxoxo"),
    ("x.....x.......x.", "...x..x....x..x.", "x.x.x.x.x.x.x.x."),
)
STRENGTH = {"x": 1.0, "o": 0.55, ".": 0.0}


@dataclass(frozen=True)
class Note:
    start: float
    seconds: float
    key: int
    velocity: float  # 1 to 127


@dataclass(frozen=True)
class Hit:
    """A stroke of the drum kit."""

    start: float
    role: str
    strength: float  # 0 to 1


class Song:
    """What all parts share, drawn from `rng`; then each part draws from it too."""

    def __init__(self, rng, seconds):
        self.rng = rng
        self.beats_per_minute = log_uniform(rng, 66, 172)
        self.beat = 60 / self.beats_per_minute
        self.bar = 4 * self.beat
        self.bars = int(np.ceil(seconds / self.bar))
        self.tonic = int(rng.integers(12))
        self.scale = SCALES[rng.integers(len(SCALES))]
        self.sevenths = chance(rng, 0.35)
        self.swing = rng.uniform(0.15, 0.6) if chance(rng, 0.25) else 0.0
        progression = PROGRESSIONS[rng.integers(len(PROGRESSIONS))]
        hold = int(rng.choice([1, 1, 1, 2]))
        self.degrees = [
            int(rng.integers(7)) if chance(rng, 0.04) else progression[bar // hold % 4] for bar in range(self.bars)
        ]

    def pitch(self, degree, octave):
        return 12 * (octave + degree // 7) + self.tonic + self.scale[degree % 7]

    def chord(self, bar, octave):
        """Close voicing: no key more than a sixth above the octave's C, so that chords move little."""
        thirds = (0, 2, 4, 6) if self.sevenths else (0, 2, 4)
        floor = 12 * (octave + 1)
        keys = [self.pitch(self.degrees[bar] + third, octave) for third in thirds]
        return sorted(floor + (key - floor) % 12 if key - floor > 9 else key for key in keys)

    def bass(self):
        style = basslines.STYLES[self.rng.integers(len(basslines.STYLES))](self)
        notes = []
        for bar in range(self.bars):
            root = 28 + (self.pitch(self.degrees[bar], 3) - 28) % 12
            for start, seconds, key in style(bar, root):
                at = bar * self.bar + start * self.beat
                notes.append(Note(at, seconds * self.beat, key, self.rng.uniform(80, 120)))
        return notes

    def chords(self):
        """Chords in a rhythm of sixteenths that stays through the song."""
        rng, density = self.rng, self.rng.choice([0.15, 0.3, 0.5])
        onsets = basslines.rhythm(rng, 16, density)
        strum, octave, gate = rng.uniform(0, 0.02), int(rng.integers(3, 6)), rng.uniform(0.3, 1)
        notes = []
        for bar in range(self.bars):
            for onset, end in zip(onsets, onsets[1:]):
                if chance(rng, 0.06):
                    continue
                start, seconds = bar * self.bar + onset * self.beat / 4, (end - onset) * self.beat / 4 * gate
                for number, key in enumerate(self.chord(bar, octave)):
                    notes.append(Note(start + number * strum, seconds, key, rng.uniform(60, 110)))
        return notes

    def pads(self):
        octave = int(self.rng.integers(4, 6))
        return [
            Note(bar * self.bar, self.bar, key, self.rng.uniform(60, 100))
            for bar in range(self.bars)
            for key in self.chord(bar, octave)
        ]

    def arpeggio(self):
        rng, octave, division = self.rng, int(self.rng.integers(4, 6)), int(self.rng.choice([2, 3, 4, 4]))
        order, notes = rng.permutation(8), []
        for bar in range(self.bars):
            keys = self.chord(bar, octave)
            keys = keys + [key + 12 for key in keys]
            for step in range(4 * division):
                if chance(rng, 0.92):
                    start = bar * self.bar + step * self.beat / division
                    key = keys[order[step % 8] % len(keys)]
                    notes.append(Note(start, self.beat / division * rng.uniform(0.6, 1.1), key, rng.uniform(60, 115)))
        return notes

    def power_chords(self):
        rng, notes = self.rng, []
        onsets = basslines.rhythm(rng, 8, 0.7)
        for bar in range(self.bars):
            root = 40 + (self.pitch(self.degrees[bar], 3) - 40) % 12
            for onset in onsets[:-1]:
                start = bar * self.bar + onset * self.beat / 2
                notes += [Note(start, self.beat / 2 * 0.95, root + step, rng.uniform(95, 120)) for step in (0, 7, 12)]
        return notes

    def lead(self):
        low = int(self.rng.integers(58, 72))
        return [note for phrase in self.melody(low, 90, self.rng.uniform(), 0.3) for note in phrase]

    def melody(self, low, high, density, rest):
        """Phrases, each a list of notes, between two keys. `rest`: the share of bars in silence."""
        rng = self.rng
        motif = [CELLS[rng.integers(len(CELLS))] for _ in range(3)]
        slow = 1 if density > 0.4 else 2
        line, phrases, bar, span = Line(self, low, high), [], 0, int(rng.choice([1, 2, 2]))
        while bar < self.bars:
            if chance(rng, rest):
                bar += 1
                continue
            start = bar * self.bar + self.beat * rng.choice([0, 0, 0.5, 1])
            phrase = self._phrase(line, motif, start, min(bar + span, self.bars) * self.bar, slow)
            if phrase:
                phrases.append(phrase)
            bar += span
        return phrases

    def _phrase(self, line, motif, start, end, slow):
        notes = []
        while start < end - 0.4 * self.beat:
            for eighths in motif[self.rng.integers(len(motif))]:
                seconds = min(eighths * self.beat / 2 * slow, end - start)
                if seconds < 0.09:
                    return notes
                notes.append(Note(start, 0.97 * seconds, line.next(start), self.rng.uniform(75, 120)))
                start += seconds
        return notes

    def rap(self, key):
        """One pitch in quick rhythm: speech in time."""
        rng, phrases = self.rng, []
        quick = 2 if self.beats_per_minute > 120 else 1
        for bar in range(self.bars):
            if chance(rng, 0.15):
                continue
            start, phrase = bar * self.bar, []
            while start < (bar + 1) * self.bar - 0.1:
                seconds = self.beat * rng.choice([0.25, 0.5, 0.5]) * quick
                phrase.append(Note(start, 0.98 * seconds, key, rng.uniform(70, 120)))
                start += seconds
            phrases.append(phrase)
        return phrases

    def harmony(self, phrase, degrees):
        """The same phrase, so many degrees of the scale above, or below."""
        allowed = {(self.tonic + step) % 12 for step in self.scale}
        return [replace(note, key=degrees_from(note.key, degrees, allowed)) for note in phrase]

    def drums(self):
        """Hits in the order of time: a pattern, its small changes, fills, cymbals."""
        rng = self.rng
        backbeat = str(rng.choice(["snare", "snare", "snare", "clap", "rim"]))
        keeping = str(rng.choice(["hat", "hat", "hat", "ride", "open", "crash"], p=[0.2, 0.2, 0.2, 0.15, 0.15, 0.1]))
        roles = ("kick", backbeat, keeping)
        pattern = [[STRENGTH[step] for step in part] for part in PATTERNS[rng.integers(len(PATTERNS))]]
        ghosts, first = rng.uniform(0, 0.06), int(rng.integers(3)) * 2 if chance(rng, 0.25) else 0
        percussion = np.where(rng.uniform(size=16) < 0.3, rng.uniform(0.3, 0.9, 16), 0) * chance(rng, 0.3)
        hits = []
        for bar in range(min(first, self.bars - 1), self.bars):
            for step in range(16):
                start = self._sixteenth(bar, step)
                for role, part, change in zip(roles, pattern, (0.03, 0.01, 0.025)):
                    strength = part[step] if chance(rng, 0.96) else 0.0
                    if strength or chance(rng, change):
                        opened = role == "hat" and step in (6, 14) and chance(rng, 0.12)
                        hits.append(Hit(start, "open" if opened else role, (strength or 0.4) * rng.uniform(0.8, 1.05)))
                if chance(rng, ghosts):
                    hits.append(Hit(start, "snare", rng.uniform(0.15, 0.35)))
                if percussion[step]:
                    hits.append(Hit(start, "perc", percussion[step]))
            hits += self._fill(bar)
        return sorted(hits, key=lambda hit: hit.start)

    def _sixteenth(self, bar, step):
        late = self.swing * self.beat / 4 if step % 2 else 0
        return max(0.0, bar * self.bar + step * self.beat / 4 + late + self.rng.normal() * 0.003)

    def _fill(self, bar):
        rng, hits = self.rng, []
        if bar % 4 == 3 and chance(rng, 0.5):
            for step in range(int(rng.choice([8, 12])), 16):
                if chance(rng, 0.75):
                    role = str(rng.choice(["tom", "tom", "snare"]))
                    hits.append(Hit(self._sixteenth(bar, step), role, rng.uniform(0.5, 1)))
        if bar % 4 == 0 and chance(rng, 0.5):
            hits.append(Hit(bar * self.bar, "crash", rng.uniform(0.5, 1)))
        return hits


class Line:
    """A melody's way through the scale: steps and small leaps, chord tones on the beat."""

    def __init__(self, song, low, high):
        self.song, self.low, self.high = song, low, high
        self.base = low + (song.tonic - low) % 12
        self.degree = int(song.rng.integers(7))

    def next(self, start):
        song = self.song
        self.degree += int(song.rng.choice(STEPS))
        if start / song.beat % 1 < 0.01:
            root = song.degrees[min(int(start / song.bar), song.bars - 1)]
            tones = [root + third + 7 * octave for third in (0, 2, 4) for octave in (-1, 0, 1, 2)]
            self.degree = min(tones, key=lambda tone: abs(tone - self.degree))
        self.degree = int(np.clip(self.degree, -2, 14))
        if self._key() > self.high:
            self.degree -= 7
        if self._key() < self.low - 2:
            self.degree += 7
        return self._key()

    def _key(self):
        return self.base + 12 * (self.degree // 7) + self.song.scale[self.degree % 7]


def degrees_from(key, degrees, allowed):
    """The key so many degrees above, or below. `allowed`: what the scale has of the keys 0 to 11."""
    side = 1 if degrees > 0 else -1
    steps = [key + side * step for step in range(1, 13) if (key + side * step) % 12 in allowed]
    return steps[abs(degrees) - 1]
