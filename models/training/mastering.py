"""The mastering chain of a mix, done to its stems: their sum is the mastered mix.

That holds since every step is either the same linear filter for all stems, or a gain that was taken
from the mix and is multiplied into every stem.
"""

import numpy as np
from scipy.ndimage import minimum_filter1d, uniform_filter1d

from .audio import chance, decibels, frames
from .effects import butterworth, compression, random_eq

CEILING = 0.97
LOOK_AHEAD = frames(0.02)


def limiter(mix, ceiling=CEILING, reach=LOOK_AHEAD):
    """The gain that keeps |mix| under the ceiling, [frames]; it is smooth over 2 x `reach` frames.

    The least gain that is needed within reach, then its mean over the same reach: each of the values
    in that mean is at most what the frame in the middle needs.
    """
    needed = np.minimum(1, ceiling / np.maximum(np.abs(mix).max(1), 1e-9))
    span = 2 * reach + 1
    return uniform_filter1d(minimum_filter1d(needed, span), span).astype(np.float32)


def _shared_filter(stems, rng):
    """The same bells, and sometimes the dull top of a lossy file, for all stems."""
    seed = int(rng.integers(2**31))
    stems = np.stack([random_eq(stem, np.random.default_rng(seed), 3.0, 2) for stem in stems])
    if chance(rng, 0.3):
        edge = rng.uniform(13_000, 19_500)
        stems = np.stack([butterworth(stem, edge, "low", 6) for stem in stems])
    return stems


def _scaled(stems, gain):
    return stems * gain[None, :, None]


def master(stems, rng):
    """[stems, frames, 2] -> the same; what it sums to stays under full scale, and each stem too."""
    if chance(rng, 0.7):
        stems = _shared_filter(stems, rng)
    if chance(rng, 0.5):
        glue = compression(
            stems.sum(0), rng.uniform(-10, -3), rng.uniform(1.5, 3), rng.uniform(0.005, 0.03), rng.uniform(0.1, 0.3)
        )
        stems = _scaled(stems, glue)
    # Loud masters are pushed into the limiter, quiet ones stay under it.
    stems = stems * decibels(rng.uniform(-8, 5)) / np.float32(np.abs(stems.sum(0)).max() + 1e-9)
    stems = _scaled(stems, limiter(stems.sum(0)))
    # Stems that cancel each other can be louder than their sum.
    return stems * np.float32(min(1, CEILING / (np.abs(stems).max() + 1e-9)))
