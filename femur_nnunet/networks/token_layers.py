"""Layers whose features the adaptation terms and the site probe look at, by name."""

from __future__ import annotations

import torch
from torch.nn import functional

from femur_nnunet.errors import UsageError

BOTTLENECK = "bottleneck"
_CELLS_AN_AXIS = 4


def layer_names(stages: int) -> list[str]:
    """Return the names of a network of ``stages`` encoder stages: ``bottleneck``, ``encoder_K``, ``decoder_K``.

    K = 0 is the finest stage of encoder and decoder; the decoder has one stage less.
    """
    return [BOTTLENECK, *(f"encoder_{number}" for number in range(stages)),
            *(f"decoder_{number}" for number in range(stages - 1))]


def parse_token_layer(name: str, *, stages: int) -> tuple[str, int]:
    """Return part (``bottleneck``, ``encoder``, ``decoder``) and stage of a layer's name.

    Raises
    ------
    UsageError
        The network has no such layer.
    """
    known = layer_names(stages)
    if name not in known:
        raise UsageError(f"the layer {name!r}", expected=f"one of {', '.join(known)}",
                         action="correct the layers in the plan or on the command line")
    part, _, number = name.partition("_")
    return part, int(number or 0)


def cells_of_map(feature_map: torch.Tensor) -> torch.Tensor:
    """Return a map (n, c, z, y, x) averaged over at most 4 cells an axis, as tokens (n, cells, c)."""
    depth, height, width = (min(_CELLS_AN_AXIS, int(edge)) for edge in feature_map.shape[2:])
    return functional.adaptive_avg_pool3d(feature_map, (depth, height, width)).flatten(2).transpose(1, 2)
