"""What studios do to a sound. Each takes [frames, 2] and gives as many frames back."""

from functools import lru_cache

import numpy as np
from scipy import signal

from .audio import SAMPLE_RATE, chance, decibels, frames, log_uniform, times

BLOCK = 128  # frames between two points of a compressor's gain


def peak_filter(sound, frequency, gain_db, q=0.8):
    """A bell at `frequency` Hz. R. Bristow-Johnson, Audio EQ Cookbook: peaking EQ."""
    amplitude, omega = 10 ** (gain_db / 40), 2 * np.pi * frequency / SAMPLE_RATE
    alpha, cosine = np.sin(omega) / (2 * q), np.cos(omega)
    b = np.array([1 + alpha * amplitude, -2 * cosine, 1 - alpha * amplitude])
    a = np.array([1 + alpha / amplitude, -2 * cosine, 1 - alpha / amplitude])
    return signal.lfilter(b / a[0], a / a[0], sound, axis=0).astype(np.float32)


def butterworth(sound, frequency, kind, order=2):
    """`kind` is low, high or band; a band takes two frequencies, all in Hz."""
    edges = np.clip(frequency, 20, 21_500)
    sections = signal.butter(order, edges, kind, fs=SAMPLE_RATE, output="sos")
    return signal.sosfilt(sections, sound, axis=0).astype(np.float32)


def random_eq(sound, rng, gain_db=5.0, bells=2):
    for _ in range(bells):
        frequency = log_uniform(rng, 80, 12_000)
        sound = peak_filter(sound, frequency, rng.uniform(-gain_db, gain_db), rng.uniform(0.4, 1.6))
    return sound


def compression(sound, threshold_db, ratio, attack, release):
    """The gain of a compressor, [frames]: both channels linked, RMS over blocks of 3 ms.

    The threshold is against the level that is passed 5 % of the time, so that quiet sounds are
    treated as loud ones are. Attack and release are time constants in seconds.
    D. Giannoulis et al., Digital Dynamic Range Compressor Design, JAES 60 (2012): feed-forward.
    """
    count = len(sound) // BLOCK
    if count < 2:
        return np.ones(len(sound), np.float32)
    energy = (sound[: count * BLOCK].reshape(count, -1) ** 2).mean(1) + 1e-9
    level = 10 * np.log10(energy / (np.percentile(energy, 95) + 1e-9))
    wanted = -np.maximum(0, level - threshold_db) * (1 - 1 / ratio)
    rise, fall = (np.exp(-BLOCK / SAMPLE_RATE / seconds) for seconds in (release, attack))
    gain, now = np.empty(count), 0.0
    for block, target in enumerate(wanted):
        keep = fall if target < now else rise
        now = keep * now + (1 - keep) * target
        gain[block] = now
    middles = (np.arange(count) + 0.5) * BLOCK
    return np.interp(np.arange(len(sound)), middles, 10 ** (gain / 20)).astype(np.float32)


def compress(sound, rng, threshold_db, ratio):
    gain = compression(sound, threshold_db, ratio, rng.uniform(0.002, 0.03), rng.uniform(0.05, 0.25))
    return sound * gain[:, None]


def drive(sound, gain_db, bias=0.0):
    """A soft clipper; the peak stays where it was. With a bias one side clips sooner: even harmonics."""
    peak = np.abs(sound).max() + 1e-6
    clipped = np.tanh(decibels(gain_db) * sound / peak + bias) - np.tanh(bias)
    return (clipped / (np.abs(clipped).max() + 1e-6) * peak).astype(np.float32)


@lru_cache(maxsize=64)
def impulse_response(decay, variant):
    """A room made of noise, [frames, 2] of energy 1 for each channel: early reflections, then a tail.

    `decay` is the seconds to fall by 60 dB at the low end; treble dies sooner, as it does in air
    and curtains. J. A. Moorer, About This Reverberation Business, CMJ 3 (1979).
    """
    rng = np.random.default_rng([round(decay * 1000), variant])
    count = frames(min(decay, 2.2))
    time = times(count)[:, None]
    response = np.zeros((count, 2))
    for low, high, share in ((60, 900, 1.0), (900, 4_000, 0.85), (4_000, 12_000, 0.5)):
        sections = signal.butter(1, [low, high], "band", fs=SAMPLE_RATE, output="sos")
        noise = signal.sosfilt(sections, rng.standard_normal((count, 2)), axis=0)
        response += noise * np.exp(-6.9 * time / (decay * share))
    response[: frames(rng.uniform(0, 0.03))] = 0
    for _ in range(8):
        response[frames(rng.uniform(0.003, 0.06)), rng.integers(2)] += 3 * rng.normal()
    return (response / np.sqrt((response**2).sum() / 2)).astype(np.float32)


def reverb(sound, rng, wet_db, decay=None):
    decay = round(decay or rng.uniform(0.2, 2.6), 1)
    response = impulse_response(decay, int(rng.integers(4)))
    wet = signal.oaconvolve(sound, response, axes=0)[: len(sound)]
    return sound + decibels(wet_db) * wet.astype(np.float32)


def overheads(sound, rng):
    """Two microphones above a drum kit, which hear its treble each in its own way."""
    high = butterworth(sound, log_uniform(rng, 400, 4_000), "high")
    return sound + reverb(high, rng, rng.uniform(-10, 4), 0.1) - high


def echo(sound, rng, beat):
    """Three repeats, a part of the beat (seconds) apart, darker and changing sides."""
    shift = frames(beat * rng.choice([0.5, 0.75, 1.0]))
    repeat = butterworth(sound, rng.uniform(2_500, 7_000), "low")
    feedback, result = rng.uniform(0.2, 0.45), sound.copy()
    for number in range(1, 4):
        if number * shift < len(sound):
            side = repeat if number % 2 else repeat[:, ::-1]
            result[number * shift :] += side[: -number * shift] * np.float32(feedback**number)
    return result


def chorus(sound, rng):
    index, result = np.arange(len(sound)), sound.copy()
    for channel in range(2):
        phase = 2 * np.pi * rng.uniform(0.2, 1.1) * index / SAMPLE_RATE + rng.uniform(0, 6)
        shift = SAMPLE_RATE * (0.012 + 0.004 * np.sin(phase))
        result[:, channel] += 0.7 * np.interp(index - shift, index, sound[:, channel])
    return result


def tremolo(sound, rng, depth):
    """The level goes up and down by the share `depth`; at times from one side to the other."""
    phase = 2 * np.pi * rng.uniform(2, 8) * times(len(sound))[:, None] + rng.choice([0, 0, np.pi]) * np.array([0, 1])
    return (sound * (1 - depth * (0.5 + 0.5 * np.sin(phase)))).astype(np.float32)


def pan(sound, position):
    """Constant power; -1 is left, 1 is right, and the middle keeps its level."""
    angle = (position + 1) * np.pi / 4
    return sound * (np.sqrt(2) * np.array([np.cos(angle), np.sin(angle)])).astype(np.float32)


def width(sound, amount):
    """0 makes it mono, 1 leaves it, more makes it wider."""
    middle = sound.mean(1, keepdims=True)
    return middle + np.float32(amount) * (sound - middle)


def double(sound, rng):
    """The same part as if it had been played twice: once on each side, one of them late."""
    mono, late = sound.mean(1), frames(rng.uniform(0.008, 0.03))
    return np.stack([mono, np.concatenate([np.zeros(late, np.float32), mono[:-late]])], axis=1)


def maybe(rng, probability, effect, sound, *args):
    """`effect(sound, *args)`, or the sound as it is."""
    return effect(sound, *args) if chance(rng, probability) else sound
