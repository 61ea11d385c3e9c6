"""Singers: the utterances of a voice, stretched to the notes of a melody and put together by WORLD.

Some voices are those of speech synthesizers, the others are drawn.
"""

import numpy as np
from scipy import signal

from . import effects, formants
from .audio import SAMPLE_RATE, add_at, chance, frames, hertz, log_uniform, midi_key, stereo
from .effects import butterworth, pan
from .voices import BANDS, FRAME_MS, FRAME_SECONDS, mel

BINS = 1025  # of WORLD's spectra at 44.1 kHz
DRAWN = 0.6  # of all singers
BEFORE, AFTER = 0.12, 0.15  # seconds that a phrase's sound may begin before its notes, and end after


def _steps(seconds):
    return int(seconds / FRAME_SECONDS)


class Singer:
    """A voice with a throat of its own length, its own vibrato, breath and brightness."""

    def __init__(self, rng, name, utterances):
        self.rng, self.name, self.utterances = rng, name, utterances
        pitches = np.concatenate([each.pitch[each.pitch > 0] for each in utterances])
        self.throat = log_uniform(rng, 0.84, 1.22)  # formants are raised by this factor
        self.lowest = float(midi_key(np.median(pitches) * np.sqrt(self.throat))) - rng.uniform(0, 3)
        self.breath, self.tilt, self.hiss = rng.uniform(0, 0.35), rng.uniform(-0.75, 0.45), rng.uniform(-0.6, 0.9)
        self.vibrato_hertz, self.vibrato_after = rng.uniform(4.5, 6.5), rng.uniform(0.1, 0.4)
        self.vibrato_cents = rng.uniform(8, 70) if chance(rng, 0.6) else 0.0
        self.melisma = rng.uniform(0, 0.25)
        self.falls = rng.uniform(0, 0.3)  # notes that are let go downwards
        self.roughness = rng.uniform(0.2, 0.9) if chance(rng, 0.25) else 0.0
        self.larynx = rng.uniform(0, 0.15)  # octaves by which formants rise with an octave of pitch

    def sing(self, phrase, spoken=False, cents=0.0, octaves=0):
        """A phrase -> (seconds at which it begins, [frames] mono), or None if too little sounds."""
        import pyworld

        begin = phrase[0].start - BEFORE
        count = _steps(phrase[-1].start + phrase[-1].seconds + AFTER - begin)
        utterance = self.utterances[self.rng.integers(len(self.utterances))]
        source, keys = self._path(utterance, phrase, begin, count)
        sounding = source >= 0
        if sounding.sum() < 10:
            return None
        nearest = np.maximum(source, 0).astype(int)
        voiced = sounding & (utterance.pitch[nearest] > 0)
        if spoken:
            pitch = self._spoken(utterance.pitch[nearest], voiced)
        else:
            pitch = self._sung(phrase, begin, keys, sounding) + 12 * octaves
        wobble = signal.lfilter([0.05], [1, -0.95], self.rng.standard_normal(count)) * self.rng.uniform(0.05, 0.3)
        frequency = np.where(voiced, hertz(pitch + cents / 100 + wobble), 0.0)
        loudness = self._loudness(phrase, begin, sounding)
        throat = self.throat * 2 ** (self.larynx * (np.median(pitch[sounding]) - self.lowest) / 12)
        power, aperiodicity = self._spectra(utterance, np.maximum(source, 0), loudness, sounding, throat)
        sound = pyworld.synthesize(frequency, power, aperiodicity, SAMPLE_RATE, FRAME_MS)
        return begin, (sound * self._growl(frequency, len(sound))).astype(np.float32)

    def _growl(self, frequency, count):
        """The gain of vocal folds of which every other pulse is weaker, now and then: [count]"""
        if not self.roughness:
            return 1.0
        steps, known = np.arange(count) / (SAMPLE_RATE * FRAME_SECONDS), np.arange(len(frequency))
        cycles = np.cumsum(np.interp(steps, known, frequency)) / SAMPLE_RATE
        now_and_then = 10 * signal.lfilter([0.02], [1, -0.98], self.rng.standard_normal(len(frequency)))
        depth = self.roughness * np.interp(steps, known, np.clip(now_and_then, 0, 1))
        return 1 - depth * (0.5 + 0.5 * np.cos(np.pi * cycles))

    def _path(self, utterance, phrase, begin, count):
        """For each step of the phrase the frame of the utterance that is heard then (-1: none), and the key.

        A syllable keeps the speed of its consonants; its vowel is held by going to and fro around
        the loudest frame.
        """
        source, keys = np.full(count, -1.0), np.zeros(count)
        syllables = utterance.syllables
        number, current = int(self.rng.integers(len(syllables))), None
        for note in phrase:
            fresh = current is None or not chance(self.rng, self.melisma)
            if fresh:
                current = syllables[number % len(syllables)]
                number += 1
            start = _steps(note.start - begin)
            # Consonants come before the beat, vowels on it.
            early = min(int(current[1] - current[0]) // 2, start, 16) if fresh else 0
            end = min(count, start + _steps(note.seconds))
            if end - start + early < 3:
                continue
            path = self._syllable(current, end - start + early, fresh)
            source[start - early : end] = np.clip(path, 0, len(utterance.pitch) - 1)
            keys[start - early : end] = note.key
        return source, keys

    def _syllable(self, syllable, length, fresh):
        begin, peak, end = syllable
        onset = min(int(peak - begin), int(0.45 * length)) if fresh else 0
        coda = min(int(end - peak), int(0.35 * length))
        hold = length - onset - coda
        held = peak + 4 * np.abs((0.13 * np.arange(hold) + 1) % 4 - 2) - 4
        held += 0.025 * np.cumsum(self.rng.standard_normal(hold))
        return np.concatenate([np.linspace(begin, peak, onset, endpoint=False), held, np.linspace(peak, end - 1, coda)])

    def _sung(self, phrase, begin, keys, sounding):
        """The keys as a curve: glides between notes, scoops into them, and vibrato once they are held."""
        count, rng = len(keys), self.rng
        known = np.flatnonzero(sounding)
        curve = np.interp(np.arange(count), known, keys[known])
        glide = int(rng.uniform(4, 16))
        padded = np.concatenate([np.full(glide, curve[0]), curve])
        curve = signal.lfilter(np.full(glide, 1 / glide), [1], padded)[glide:]
        depth = np.zeros(count)
        for note in phrase:
            start, end = _steps(note.start - begin), min(count, _steps(note.start + note.seconds - begin))
            held = np.arange(max(0, end - start)) * FRAME_SECONDS
            depth[start:end] = np.clip((held - self.vibrato_after) / 0.3, 0, 1)
            if chance(rng, 0.3):
                scoop = min(len(held), int(rng.uniform(8, 24)))
                curve[start : start + scoop] -= rng.uniform(0.3, 2) * np.linspace(1, 0, scoop)
            if chance(rng, self.falls):
                fall = min(len(held), int(rng.uniform(12, 60)))
                curve[end - fall : end] -= rng.uniform(1, 6) * np.linspace(0, 1, fall) ** 2
        phase = 2 * np.pi * self.vibrato_hertz * np.arange(count) * FRAME_SECONDS + rng.uniform(0, 6)
        return curve + depth * self.vibrato_cents / 100 * np.sin(phase)

    def _spoken(self, pitch, voiced):
        """The utterance's own melody, moved to where this singer speaks."""
        known = np.flatnonzero(voiced)
        if len(known) < 4:
            return np.full(len(pitch), self.lowest)
        curve = np.interp(np.arange(len(pitch)), known, midi_key(pitch[known]))
        return curve - np.median(curve) + self.lowest + self.rng.uniform(-2, 4)

    def _loudness(self, phrase, begin, sounding):
        level = np.zeros(len(sounding))
        for note in phrase:
            start, end = _steps(note.start - begin), _steps(note.start + note.seconds - begin)
            level[max(0, start - 16) : end] = note.velocity / 100
        return signal.lfilter([0.12], [1, -0.88], np.where(sounding, level, 0))

    def _spectra(self, utterance, source, loudness, sounding, throat):
        """(power, aperiodicity), each [steps, BINS]: the throat moves the formants along the mel scale."""
        lower = source.astype(int)
        upper, weight = np.minimum(lower + 1, len(utterance.pitch) - 1), (source - lower)[:, None]
        warped = np.linspace(0, SAMPLE_RATE / 2, BINS) / throat
        band = np.clip(mel(warped) / mel(SAMPLE_RATE / 2) * (BANDS - 1), 0, BANDS - 1.001)
        below, share = band.astype(int), band - band.astype(int)

        def at_bins(values):
            between = values[lower] * (1 - weight) + values[upper] * weight
            return between[:, below] * (1 - share) + between[:, below + 1] * share

        height = np.linspace(0, 1, BINS)
        bright = 3 * self.tilt * height + self.hiss * (height > 0.34)
        power = np.exp(at_bins(utterance.envelope) + bright) * loudness[:, None] ** 2 + 1e-14
        power[~sounding] = 1e-14
        aperiodicity = np.clip(at_bins(utterance.aperiodicity) + self.breath * np.sqrt(height), 0.001, 0.999)
        return np.ascontiguousarray(power), np.ascontiguousarray(aperiodicity)


def _draw_singer(rng, bank):
    if chance(rng, DRAWN):
        return Singer(rng, "drawn", formants.speak(rng))
    names = sorted(bank)
    shares = np.array([bank[name][0] for name in names], float)
    name = str(rng.choice(names, p=shares / shares.sum()))
    return Singer(rng, name, bank[name][1])


def _breath_before(track, phrase, loud, rng):
    count = frames(rng.uniform(0.15, 0.4))
    noise = butterworth(rng.standard_normal(count), [rng.uniform(700, 1_800), rng.uniform(5_000, 11_000)], "band")
    breath = stereo(noise * np.hanning(count) * loud * rng.uniform(0.01, 0.07))
    add_at(track, breath, frames(phrase[0].start - 0.02) - count)


def _layers(rng, lead, bank, choir):
    """Who sings each phrase, as (singer, cents, octaves, place, level): alone, doubled, or a choir."""
    layers = [(lead, 0.0, 0, _place(rng), 1.0)]
    if choir:
        for _ in range(int(rng.integers(2, 4))):
            other = _draw_singer(rng, bank)
            octaves = int(np.clip(round((other.lowest - lead.lowest) / 12), -1, 1))
            layers.append((other, 12 * rng.normal(), octaves, rng.uniform(-1, 1), 0.8))
    elif chance(rng, 0.4):
        for side in (-1, 1):
            layers.append((lead, 10 * rng.normal(), 0, side * rng.uniform(0.3, 0.9), rng.uniform(0.2, 1)))
        if chance(rng, 0.35):  # two takes, and nothing in the middle
            layers = layers[1:]
    return layers


def _place(rng):
    """Most lead voices are in the middle."""
    return rng.uniform(-0.15, 0.15) if chance(rng, 0.65) else rng.uniform(-0.6, 0.6)


def _harmony(rng, lead, bank):
    """Who sings the second voice: the same singer or another one, on a side."""
    singer = lead if chance(rng, 0.6) else _draw_singer(rng, bank)
    return [(singer, 8 * rng.normal(), 0, rng.uniform(-0.8, 0.8), rng.uniform(0.4, 1))]


def _raised(low, rng):
    """Who speaks low sings high, most of the time: a tenor of rock an octave above his speech and more."""
    return min(low + int(rng.integers(3, 16)), 66) if low < 60 and chance(rng, 0.7) else low


def render(song, count, rng, bank):
    """({name: (weight, utterances)}) -> ([count, 2], names of the voices)"""
    lead = _draw_singer(rng, bank)
    style = str(rng.choice(["sing", "rap", "choir"], p=[0.7, 0.15, 0.15]))
    low = int(np.clip(lead.lowest, 38, 64))
    if style == "rap":
        phrases = song.rap(low)
    else:
        low = _raised(low, rng)
        phrases = song.melody(low, low + int(rng.integers(9, 17)), rng.uniform(), rng.uniform(0.05, 0.4))
    singers = [lead, _draw_singer(rng, bank)] if chance(rng, 0.3) else [lead]
    turns = [(singer, _layers(rng, singer, bank, style == "choir")) for singer in singers]
    harmony = _harmony(rng, lead, bank) if style == "sing" and chance(rng, 0.4) else []
    interval = int(rng.choice([2, 2, -2, -3]))
    track = np.zeros((count, 2), np.float32)
    for number, phrase in enumerate(phrases):
        lead, layers = turns[number % len(turns)]
        loud = _sing_layers(track, phrase, layers, style == "rap", rng)
        if harmony and chance(rng, 0.6):
            _sing_layers(track, song.harmony(phrase, interval), harmony, False, rng)
        if loud and chance(rng, 0.4):
            _breath_before(track, phrase, loud, rng)
    heard = [layer for _, layers in turns for layer in layers] + harmony
    return track, sorted({singer.name for singer, *_ in heard})


def _sing_layers(track, phrase, layers, spoken, rng):
    """Adds a phrase to the track; gives its peak."""
    peak = 0.0
    for singer, cents, octaves, place, level in layers:
        sung = singer.sing(phrase, spoken, cents, octaves)
        if sung:
            start, sound = sung
            peak = max(peak, float(np.abs(sound).max()))
            add_at(track, pan(stereo(sound), place) * np.float32(level), frames(start + 0.008 * rng.normal()))
    return peak


def produce(sound, song, rng):
    """What a voice goes through in a studio. Speech synthesizers are dull: the top is raised most times."""
    sound = butterworth(sound, rng.uniform(60, 160), "high")
    sound = effects.random_eq(sound, rng)
    sound = effects.peak_filter(sound, rng.uniform(2_500, 7_000), rng.uniform(-1, 6), 0.6)
    sound = effects.peak_filter(sound, rng.uniform(7_500, 13_000), rng.uniform(0, 14), 0.45)
    # Who shouts has most between 1 and 4 kHz.
    sound = effects.maybe(rng, 0.3, effects.peak_filter, sound, log_uniform(rng, 1_200, 4_000), rng.uniform(2, 11), 0.7)
    sound = effects.compress(sound, rng, rng.uniform(-24, -10), rng.uniform(2, 8))
    sound = effects.maybe(rng, 0.4, effects.drive, sound, rng.uniform(-6, 18))
    sound = effects.maybe(rng, 0.15, effects.chorus, sound, rng)
    sound = effects.maybe(rng, 0.3, effects.echo, sound, rng, song.beat)
    sound = effects.maybe(rng, 0.85, effects.reverb, sound, rng, rng.uniform(-26, -7))
    if chance(rng, 0.04):  # as if through a telephone
        sound = butterworth(butterworth(sound, 400, "high"), 3_200, "low")
    return sound
