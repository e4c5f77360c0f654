"""What autograd keeps of a network's forward pass, counted without computing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from femur_nnunet.networks.memory_measurement import stored_bytes


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
    with stored_bytes(lambda tensor: tensor.untyped_storage()._cdata in own) as kept:
        output = network(torch.empty(tuple(input_shape), device="meta", dtype=precision))
    sizes = [*kept.values(), output.untyped_storage().nbytes()]
    return StoredActivations(sum(sizes), max(sizes))
