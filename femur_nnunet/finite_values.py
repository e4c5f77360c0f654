"""Mean and spread of the values of a list that are known; a missing one is NaN."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def mean_of(values: Sequence[float]) -> float:
    """Return the mean of the finite values; NaN without any."""
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan


def sd_of(values: Sequence[float]) -> float:
    """Return the sample SD (n - 1) of the finite values; NaN with fewer than two."""
    finite = [value for value in values if math.isfinite(value)]
    return float(np.std(finite, ddof=1)) if len(finite) > 1 else math.nan
