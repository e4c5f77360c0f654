"""Activation checkpointing: keep what goes into a segment and compute its inside anew on the way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint


def run_segment(segment: Callable[..., Any], *inputs: torch.Tensor, checkpointing: bool) -> Any:
    """Return ``segment(*inputs)``, its inside not stored with ``checkpointing``.

    Random states are kept, so that stochastic depth drops the same samples in both passes. Batch normalisation would
    count its batch in both, so a plan cannot ask for both (plan_settings).
    """
    if checkpointing and torch.is_grad_enabled():
        return checkpoint(segment, *inputs, use_reentrant=False)
    return segment(*inputs)
