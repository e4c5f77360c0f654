"""Statistics of batch normalisation taken anew on another site: AdaBN (Li et al., Pattern Recognition 2018; 80)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from femur_nnunet.errors import UsageError


def has_batch_statistics(network: nn.Module) -> bool:
    """Say whether a network normalises by statistics that it keeps."""
    return bool(_layers_with_statistics(network))


def take_statistics(network: nn.Module, patches: torch.Tensor, batch_size: int) -> None:
    """Replace the network's running means and variances by those of ``patches``; no weight changes.

    Each layer sees the layers before it normalise by the same batch, as in training, and keeps the plain mean over
    batches of their means and variances. So with training's batch size the statistics are what training's own moving
    averages estimate, here of other images: a variance over all images at once would hold the differences between
    batches too, which no step of training ever normalised by. Dropout and stochastic depth stay off.

    Parameters
    ----------
    network : Module
        Left in the mode, training or evaluation, that it came in.
    patches : Tensor
        Shape (n, c, z, y, x), preprocessed; moved to the network's device batch by batch.
    batch_size : int
        Patches a batch; those that fill no last batch are left out.

    Raises
    ------
    UsageError
        The network keeps no statistics, or there are fewer patches than one batch.
    """
    layers = _layers_with_statistics(network)
    if not layers:
        raise UsageError("a network without batch normalisation", expected="layers that keep statistics",
                         action="plan with: femur_plan --set architecture.normalisation=batch")
    batches = [patches[start:start + batch_size] for start in range(0, len(patches) - batch_size + 1, batch_size)]
    if not batches:
        raise UsageError(f"{len(patches)} patches for a batch of {batch_size}", expected="a batch at least",
                         action="raise adaptation.statistics_patches in the plan")
    was_training, momenta = network.training, [layer.momentum for layer in layers]
    device = next(network.parameters()).device
    network.eval()
    for layer in layers:
        layer.reset_running_stats()
        # None is a plain mean over batches in place of a moving one.
        layer.momentum = None
        layer.train()
    try:
        with torch.no_grad():
            for batch in batches:
                network(batch.to(device))
    finally:
        network.train(was_training)
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def _layers_with_statistics(network: nn.Module) -> list[_BatchNorm]:
    return [module for module in network.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
