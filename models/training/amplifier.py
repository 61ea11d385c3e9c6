"""An electric guitar's amplifier and loudspeaker, drawn anew for each part.

Filters, one or two stages that clip, filters: D. T. Yeh et al., Simplified, Physically-Informed Models of
Distortion and Overdrive Guitar Effects Pedals (DAFx 2007). A cabinet is a band with resonances and dips.
"""

import numpy as np

from . import effects
from .audio import chance, frames, log_uniform
from .effects import butterworth, peak_filter


def _clip(sound, gain_db, rng):
    # Bass before a stage that clips makes mud: most amplifiers take some away.
    sound = butterworth(sound, log_uniform(rng, 60, 700), "high", 1)
    sound = peak_filter(sound, log_uniform(rng, 500, 3_000), rng.uniform(-3, 9), 0.7)
    stages = 2 if chance(rng, 0.5) else 1
    for _ in range(stages):
        sound = effects.drive(sound, gain_db / stages, rng.uniform(-0.4, 0.4))
    return butterworth(sound, 20, "high")


def _cabinet(sound, rng):
    sound = butterworth(sound, rng.uniform(70, 140), "high")
    sound = peak_filter(sound, rng.uniform(80, 180), rng.uniform(0, 7), rng.uniform(0.8, 2))
    sound = peak_filter(sound, rng.uniform(1_500, 4_500), rng.uniform(0, 10), rng.uniform(0.6, 2))
    for _ in range(int(rng.integers(1, 5))):
        sound = peak_filter(sound, log_uniform(rng, 250, 5_000), rng.uniform(-9, 6), log_uniform(rng, 1, 5))
    sound = butterworth(sound, rng.uniform(3_000, 7_500), "low", int(rng.choice([2, 4])))
    if chance(rng, 0.4):  # the floor before the cabinet
        late, level = frames(rng.uniform(0.0003, 0.003)), np.float32(rng.uniform(0.2, 0.6))
        sound = np.concatenate([sound[:late], sound[late:] + level * sound[:-late]])
    return sound


def amplify(sound, rng, distorted):
    """[frames, 2] -> the same. `distorted`: rather more than half of the time, or always."""
    if distorted or chance(rng, 0.5):
        sound = _clip(sound, rng.uniform(6, 44), rng)
    sound = _cabinet(sound, rng)
    return effects.maybe(rng, 0.35, effects.double, sound, rng)
