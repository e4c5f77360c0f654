"""What autograd keeps of a network's forward pass, counted without computing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class StoredActivations:
    """Bytes that are kept for the way back: of all feature maps together, and of the largest one."""

    total: int
    largest: int


def stored_activations(network: nn.Module, input_shape: Sequence[int], *, half: bool = False) -> StoredActivations:
    """Count the tensors that autograd keeps in one forward pass, those of weights left out.

    Parameters
    ----------
    network : Module
        On the device ``meta``, where tensors have shapes and no memory; left in float16 if ``half``.
    input_shape : sequence of int
        Shape (n, c, z, y, x) of a batch.
    half : bool
        In half precision throughout, which is a little less than autocast keeps.
    """
    precision = torch.float16 if half else torch.float32
    network.to(precision)
    own = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    # The tensors stay referenced, so that no address is used twice.
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()._cdata
        if storage not in own:
            kept.setdefault(storage, tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = network(torch.empty(tuple(input_shape), device="meta", dtype=precision))
    sizes = [tensor.untyped_storage().nbytes() for tensor in (*kept.values(), output)]
    return StoredActivations(sum(sizes), max(sizes))
