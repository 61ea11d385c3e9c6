"""What a bass does with a bar. Each style is given a song, and gives a function: of a bar and its root,
the notes as (start, length, key), in beats."""

from .audio import chance


def rhythm(rng, steps, density):
    """Onsets, the first at 0, and the end: `steps`."""
    return [0] + [step for step in range(1, steps) if chance(rng, density)] + [steps]


def _eighths(song):
    return lambda bar, root: [(step / 2, 0.45, root) for step in range(8)]


def _quarters(song):
    return lambda bar, root: [(step, 0.9, root) for step in range(4)]


def _long(song):
    return lambda bar, root: [(0, 3.9, root)]


def _fifths(song):
    return lambda bar, root: [(0, 1.8, root), (2, 1.35, root + 7), (3.5, 0.45, root)]


def _octaves(song):
    return lambda bar, root: [(step / 2, 0.4, root + 12 * (step % 2)) for step in range(8)]


def _walking(song):
    def notes(bar, root):
        away = [song.pitch(song.degrees[bar] + int(song.rng.integers(-3, 6)), 3) for _ in range(3)]
        return [(beat, 0.95, key) for beat, key in enumerate([root] + [28 + (key - 28) % 19 for key in away])]

    return notes


def _syncopated(song):
    onsets = rhythm(song.rng, 16, 0.35)

    def notes(bar, root):
        rng = song.rng
        return [
            (onset / 4, (end - onset) / 4 * rng.uniform(0.5, 0.98), root + int(rng.choice([0, 0, 0, 0, 7, 10, 12])))
            for onset, end in zip(onsets, onsets[1:])
        ]

    return notes


STYLES = (_eighths, _quarters, _long, _fifths, _octaves, _walking, _syncopated)
