"""Running one function over many cases, here or on whatever joblib is told to use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import joblib

Job = TypeVar("Job")
Result = TypeVar("Result")


def run_jobs(function: Callable[[Job], Result], jobs: Sequence[Job], workers: int) -> Iterator[Result]:
    """Yield the function's results in the order of the jobs; one worker runs them in this process."""
    if workers == 1 or len(jobs) <= 1:
        return map(function, jobs)
    # No backend is named here: joblib.parallel_config sends the same jobs to a cluster (docs/howto_dask.md).
    parallel = joblib.Parallel(n_jobs=min(workers, len(jobs)), return_as="generator")
    results: Iterator[Result] = parallel(joblib.delayed(function)(job) for job in jobs)
    return results
