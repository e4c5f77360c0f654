"""Frozen features of scans: a layer's map, averaged over patches that lie alike in every scan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from femur_nnunet.errors import UsageError
from femur_nnunet.networks.token_layers import BOTTLENECK, parse_token_layer

# Patches about the middle first: every case is one hip in one orientation, so the femur lies at like relative places.
RELATIVE_CENTRES = ((0.5, 0.5, 0.5), (0.35, 0.5, 0.5), (0.65, 0.5, 0.5), (0.5, 0.35, 0.5), (0.5, 0.65, 0.5),
                    (0.5, 0.5, 0.35), (0.5, 0.5, 0.65))


def patches_of(image: NDArray[np.floating], patch_size: Sequence[int], count: int) -> NDArray[np.float32]:
    """Return ``count`` patches (count, c, z, y, x) of an image (c, z, y, x), centred at :data:`RELATIVE_CENTRES`.

    A patch is moved into the image; an image that is smaller than the patch is padded with 0 on both sides, as in
    training and by nnU-Net's predictor: the features are those that the network works with there.
    """
    missing = [max(0, edge - have) for edge, have in zip(patch_size, image.shape[1:], strict=True)]
    if any(missing):
        image = np.pad(image, [(0, 0), *((gap // 2, gap - gap // 2) for gap in missing)])
    patches = []
    for centre in RELATIVE_CENTRES[:count]:
        window = [slice(None)]
        for edge, have, relative in zip(patch_size, image.shape[1:], centre, strict=True):
            start = min(max(round(relative * have - edge / 2), 0), have - edge)
            window.append(slice(start, start + edge))
        patches.append(image[tuple(window)])
    return np.stack(patches).astype(np.float32)


def layer_module(network: Any, name: str) -> nn.Module:
    """Return the module whose output a layer's name means, of a TransUNet or another network of nnU-Net's form.

    In a network without a transformer ``bottleneck`` is the last encoder stage.

    Raises
    ------
    UsageError
        The network has no such layer, or is of another form.
    """
    if not hasattr(getattr(network, "encoder", None), "stages") or not hasattr(network, "decoder"):
        raise UsageError(f"a network {type(network).__name__}", expected="one with encoder stages and a decoder",
                         action="probe a TransUNet or a U-Net of nnU-Net")
    stages = len(network.encoder.stages)
    part, number = parse_token_layer(name, stages=stages)
    chosen: nn.Module
    if part == BOTTLENECK:
        chosen = network.bottleneck if hasattr(network, BOTTLENECK) else network.encoder.stages[-1]
    elif part == "encoder":
        chosen = network.encoder.stages[number]
    else:
        chosen = network.decoder.stages[stages - 2 - number]
    return chosen


@contextmanager
def pooled_outputs(network: Any, layers: Sequence[str]) -> Iterator[dict[str, torch.Tensor]]:
    """Collect, while the network runs, the mean over all places of each layer's output, (n, features)."""
    found: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            # The transformer hands out its map and its tokens (n, t, width); all else hands out a map.
            found[name] = output[1].mean(1) if isinstance(output, tuple) else output.flatten(2).mean(2)
        return hook

    handles = [layer_module(network, name).register_forward_hook(keep(name)) for name in layers]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def scan_features(network: Any, image: NDArray[np.floating], *, patch_size: Sequence[int], patches: int,
                  layers: Sequence[str], device: torch.device) -> dict[str, NDArray[np.float64]]:
    """Return the features (width,) of each layer for a preprocessed scan (c, z, y, x), averaged over its patches.

    The network is used as it is: frozen, in evaluation mode, patch by patch.
    """
    network.eval()
    sums: dict[str, Any] = dict.fromkeys(layers, 0.0)
    batch = torch.from_numpy(patches_of(image, patch_size, patches)).to(device)
    with torch.no_grad(), pooled_outputs(network, layers) as found:
        for patch in batch:
            network(patch[None])
            for name in layers:
                # Double precision on the CPU: Apple's GPUs do not have it.
                sums[name] = sums[name] + found[name][0].cpu().double().numpy()
    return {name: value / patches for name, value in sums.items()}
