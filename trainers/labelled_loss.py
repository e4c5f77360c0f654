"""Segmentation loss on the labelled patches of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import distributed

from femur_nnunet.adaptation.gathering import gather
from femur_nnunet.errors import UsageError


def patches_to_decode(labelled: torch.Tensor) -> torch.Tensor:
    """Return the indices of the patches that go through the decoder.

    Parameters
    ----------
    labelled : Tensor
        Shape (n,), bool.

    Returns
    -------
    Tensor
        The labelled patches; the first patch where none is labelled, since under DDP every rank must
        bring a gradient for every parameter, if only zero.
    """
    return torch.nonzero(labelled).flatten() if labelled.any() else torch.zeros(1, dtype=torch.long,
                                                                                device=labelled.device)


def loss_of_labelled(loss: Callable[[Any, Any], torch.Tensor], outputs: Any, target: Any,
                     labelled: torch.Tensor) -> torch.Tensor:
    """Return the segmentation loss of the labelled patches alone.

    Parameters
    ----------
    loss : callable
        nnU-Net's loss, the mean over the patches that it is given.
    outputs : Tensor or list of Tensor
        Logits of the patches of :func:`patches_to_decode`, a list of levels under deep supervision.
    target : Tensor or list of Tensor
        Label maps of all n patches; those of unlabelled patches are never looked at.
    labelled : Tensor
        Shape (n,), bool, on the CPU: the step need not wait for a GPU to know it.

    Returns
    -------
    Tensor
        A scalar. Under DDP it is scaled so that the average over ranks is the mean over all labelled
        patches of the global batch; a rank without any returns a zero that still has a gradient, so
        that it does not stall the others.
    """
    levels = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    # Every level stands in the graph on every rank, also one whose weight in the loss is zero.
    connected = sum(level.float().mean() for level in levels) * 0.0
    device = levels[0].device
    # Before any rank may return: a collective that one rank leaves out would meet another of the rest.
    share = labelled_share(labelled.sum().to(device))
    if not labelled.any():
        return connected
    if isinstance(target, (list, tuple)):
        value = loss(outputs, [level.to(device, non_blocking=True)[labelled] for level in target])
    else:
        value = loss(outputs, target.to(device, non_blocking=True)[labelled])
    return value * share + connected


def labelled_share(count: torch.Tensor) -> torch.Tensor | float:
    """Return ranks * labelled patches here / labelled patches everywhere; 1 without DDP.

    ``count`` is a scalar, and so is what comes back.

    DDP averages gradients over ranks; with this factor the average of the ranks' mean losses is the
    mean over all labelled patches.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return 1.0
    counts = gather(count[None])
    return count * len(counts) / counts.sum().clamp_min(1)


def rows_of(outputs: Any, rows: torch.Tensor) -> Any:
    """Return some patches of a network's outputs, a tensor or a list of levels; ``rows`` are indices, shape (k,)."""
    return [level[rows] for level in outputs] if isinstance(outputs, (list, tuple)) else outputs[rows]


def share_of_rank(patches: int) -> int:
    """Return how many of a step's patches each rank takes.

    Raises
    ------
    UsageError
        The ranks cannot share them evenly.
    """
    ranks = distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
    if patches % ranks:
        raise UsageError(f"{patches} patches a step on {ranks} GPUs", expected="a number that the GPUs share evenly",
                         action="change sampling.labelled_patches in the plan")
    return patches // ranks
