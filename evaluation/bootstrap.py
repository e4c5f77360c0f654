"""Bootstrap intervals and permutation tests over participants, the same for the same seed."""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
DEFAULT_RESAMPLES = 2000
PERMUTATIONS = 9999
EXACT_UP_TO = 10_000
"""A permutation test that has no more arrangements than this goes through all of them."""

FloatArray = NDArray[np.float64]


def seeded(seed: int, *names: str) -> np.random.Generator:
    """Return a generator that depends on the seed and on what it is for, not on what was drawn before."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode("utf-8")) for name in names)])


def bootstrap_interval(statistic: Callable[[NDArray[np.intp]], FloatArray], size: int, resamples: int,
                       rng: np.random.Generator) -> tuple[float, float]:
    """Return the 95 % percentile interval of a statistic (Efron 1979).

    Parameters
    ----------
    statistic : callable
        Takes indices of shape ``(resamples, size)`` and returns one value for each row; NaN values
        are left out.
    size : int
        Number of participants. Fewer than two have no interval: NaN.
    resamples : int
        Number of resamples.
    rng : Generator
        Source of chance.
    """
    if size < 2 or resamples < 1:
        return math.nan, math.nan
    values = statistic(rng.integers(0, size, size=(resamples, size)))
    return percentile_interval(values)


def resample_counts(size: int, resamples: int, rng: np.random.Generator) -> FloatArray:
    """Return how often each of ``size`` participants is drawn in each resample, shape ``(resamples, size)``."""
    if not size:
        return np.empty((resamples, 0))
    return rng.multinomial(size, np.full(size, 1 / size), size=resamples).astype(np.float64)


def percentile_interval(values: FloatArray) -> tuple[float, float]:
    """Return the central 95 % of bootstrap values of any shape; NaN values are left out."""
    values = values[np.isfinite(values)]
    if not values.size:
        return math.nan, math.nan
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)


def mean_interval(values: FloatArray, resamples: int, rng: np.random.Generator) -> tuple[float, float]:
    """Return the interval of the mean of values of shape (participants,)."""
    return bootstrap_interval(lambda picked: values[picked].mean(axis=1), values.size, resamples, rng)


def difference_interval(first: FloatArray, second: FloatArray, resamples: int,
                        rng: np.random.Generator) -> tuple[float, float]:
    """Return the interval of ``mean(second) - mean(first)``, the two groups resampled apart.

    Each holds one value a participant.
    """
    if min(first.size, second.size) < 2 or resamples < 1:
        return math.nan, math.nan
    means = [group[rng.integers(0, group.size, size=(resamples, group.size))].mean(axis=1)
             for group in (first, second)]
    return percentile_interval(means[1] - means[0])


def unpaired_permutation_p(first: FloatArray, second: FloatArray, rng: np.random.Generator) -> float:
    """Return the two-sided p-value of a difference of means between two independent groups.

    Each holds one value a participant. The group labels are permuted; p is the part of arrangements whose
    absolute difference of means is at least the one seen. All arrangements are gone through where there
    are at most 10,000, otherwise 9,999 random ones and the one seen (Phipson & Smyth 2010). NaN where a
    group is empty or both hold one value.
    """
    if min(first.size, second.size) == 0 or first.size + second.size < 3:
        return math.nan
    pooled = np.concatenate([first, second])
    count, size = pooled.size, first.size
    seen = abs(float(_split_difference(pooled.sum(), first.sum(), size, count)))
    if math.comb(count, size) <= EXACT_UP_TO:
        chosen = np.asarray(list(itertools.combinations(range(count), size)), dtype=np.intp)
        return _share_at_least(_split_difference(pooled.sum(), pooled[chosen].sum(axis=1), size, count), seen, 0)
    shuffled = rng.permuted(np.broadcast_to(pooled, (PERMUTATIONS, count)), axis=1)
    return _share_at_least(_split_difference(pooled.sum(), shuffled[:, :size].sum(axis=1), size, count), seen, 1)


def paired_permutation_p(differences: FloatArray, rng: np.random.Generator) -> float:
    """Return the two-sided p-value of a mean of paired differences, by permuting their signs.

    One value a participant. Exact up to 13 of them, 9,999 random sign patterns and the one seen above that. NaN for
    fewer than two.
    """
    count = differences.size
    if count < 2:
        return math.nan
    seen = abs(differences.mean())
    if 2**count <= EXACT_UP_TO:
        signs = 1.0 - 2.0 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
        return _share_at_least((signs * differences).mean(axis=1), seen, 0)
    signs = rng.choice((-1.0, 1.0), size=(PERMUTATIONS, count))
    return _share_at_least((signs * differences).mean(axis=1), seen, 1)


def cliffs_delta(first: FloatArray, second: FloatArray) -> float:
    """Return Cliff's delta: P(second > first) - P(second < first) over all pairs (Cliff 1993).

    Each group holds one value a participant.
    """
    if min(first.size, second.size) == 0:
        return math.nan
    ordered = np.sort(first)
    below = np.searchsorted(ordered, second, side="left")
    not_above = np.searchsorted(ordered, second, side="right")
    return float((below.sum() - (first.size - not_above).sum()) / (first.size * second.size))


def holm(p_values: FloatArray) -> FloatArray:
    """Return p-values of shape (tests,) adjusted after Holm 1979, in their order; NaN stays NaN and takes no part."""
    adjusted = np.full(p_values.shape, math.nan)
    known = np.flatnonzero(np.isfinite(p_values))
    largest = 0.0
    for rank, index in enumerate(known[np.argsort(p_values[known], kind="stable")]):
        largest = max(largest, min(1.0, (known.size - rank) * float(p_values[index])))
        adjusted[index] = largest
    return adjusted


def _split_difference(total: float, of_first: FloatArray, size: int, count: int) -> FloatArray:
    return (total - of_first) / (count - size) - of_first / size


def _share_at_least(values: FloatArray, seen: float, counted_already: int) -> float:
    # Sums in another order differ in their last digits; without a margin ties would be lost.
    margin = 1e-9 * max(1.0, seen)
    return float((np.count_nonzero(np.abs(values) >= seen - margin) + counted_already)
                 / (values.size + counted_already))
