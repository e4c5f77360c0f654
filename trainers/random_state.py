"""Seeding of all generators that training uses, and their states for an exact resume."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def seed_everything(*stream: int) -> None:
    """Seed Python's, numpy's and torch's generators from the numbers that name a stream (seed, rank, ...).

    nnU-Net's loaders draw from the global generators.
    """
    first, second, third = (int(state) for state in np.random.SeedSequence(list(stream)).generate_state(3))
    random.seed(first)
    np.random.seed(second)  # noqa: NPY002
    torch.manual_seed(third)


def random_states() -> dict[str, Any]:
    """Return the states of all generators of this process, on a GPU of its own device alone."""
    return {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state(),  # noqa: NPY002
            "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None}


def restore_random_states(states: dict[str, Any]) -> None:
    """Set the generators back to states from :func:`random_states`."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])  # noqa: NPY002
    torch.set_rng_state(states["torch"].cpu())
    if states["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"].cpu())
