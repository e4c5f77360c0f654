"""One batch of all ranks under distributed training, with gradient."""

from __future__ import annotations

import torch
from nnunetv2.utilities.ddp_allgather import AllGatherGrad
from torch import distributed


def gather_with_gradient(features: torch.Tensor) -> torch.Tensor:
    """Return the features (n, ...) of all ranks, concatenated along the first axis.

    Every rank must bring the same n. The gradient of each rank's own rows is the sum over ranks of
    the gradients that these computed; where every rank computes a loss on the gathered batch, DDP's
    average over ranks then gives the gradient of the mean of these losses, counted once.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return features
    # NCCL takes whole blocks of memory alone, and cells of a feature map are a transposed view.
    return AllGatherGrad.apply(features.contiguous()).flatten(0, 1)


def gather(values: torch.Tensor) -> torch.Tensor:
    """Return values (n, ...) of all ranks without gradient, concatenated along the first axis."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return values
    parts = [torch.empty_like(values) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, values.contiguous())
    return torch.cat(parts)
