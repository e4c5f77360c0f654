"""Segmentation loss on the labelled patches of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import distributed

from femur_nnunet.adaptation.gathering import gather


def loss_of_labelled(loss: Callable[[Any, Any], torch.Tensor], outputs: Any, target: Any,
                     labelled: torch.Tensor) -> torch.Tensor:
    """Return the loss of the labelled patches alone.

    Parameters
    ----------
    loss : callable
        nnU-Net's loss, the mean over the patches that it is given.
    outputs, target : Tensor or list of Tensor
        Logits and label maps of all patches, a list of levels under deep supervision.
    labelled : Tensor
        Shape (n,), bool.

    Returns
    -------
    Tensor
        A scalar. Under DDP it is scaled so that the average over ranks is the mean over all labelled
        patches of the global batch; a rank without any returns a zero that still has a gradient, so
        that it does not stall the others.
    """
    levels_out = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    levels_target = target if isinstance(target, (list, tuple)) else [target]
    device = levels_out[0].device
    # Every output stands in the graph on every rank, else DDP waits for its gradient.
    connected = sum(level.float().mean() for level in levels_out) * 0.0
    if not labelled.any():
        return connected
    chosen_out = [level[labelled] for level in levels_out]
    chosen_target = [level.to(device, non_blocking=True)[labelled] for level in levels_target]
    value = loss(chosen_out, chosen_target) if isinstance(outputs, (list, tuple)) else loss(chosen_out[0],
                                                                                            chosen_target[0])
    if distributed.is_available() and distributed.is_initialized():
        counts = gather(labelled.sum()[None])
        value = value * (labelled.sum() * len(counts) / counts.sum())
    return value + connected
