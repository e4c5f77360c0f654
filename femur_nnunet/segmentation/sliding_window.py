"""A network over an image, patch by patch, as nnU-Net does it: tile step, Gaussian weights, padding, mirroring."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from femur_nnunet.segmentation.patch_lattice import PatchLattice

STOCK_STEP = 0.5
# nnU-Net weighs a patch's middle most, with a Gaussian of an eighth of its edge.
_SIGMA_SCALE, _LARGEST_WEIGHT = 1 / 8, 10.0


def predict_logits(network: nn.Module, image: NDArray[np.float32], patch_size: Sequence[int], *,
                   step: float = STOCK_STEP, mirror_axes: Sequence[int] = (), device: torch.device | str = "cpu",
                   lattice: PatchLattice | None = None,
                   on_patch: Callable[[], Any] | None = None) -> NDArray[np.float32]:
    """Return the logits of every voxel.

    Sums are kept in 32 bits, where nnU-Net's predictor keeps 16: the two differ by what that rounds off.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode, on ``device``; takes (n, 1, z, y, x) and gives (n, classes, z, y, x).
    image : ndarray
        Shape (z, y, x), preprocessed.
    patch_size : sequence of int
        Of the plan; a smaller image is padded with 0 on both sides, as in training.
    step : float
        Distance of patches as a share of their edge, at most.
    mirror_axes : sequence of int
        Axes of the image over whose mirrorings the logits are averaged.
    device : torch.device or str
        Where the network runs.
    lattice : PatchLattice, optional
        Where the patches lie, instead of where nnU-Net would lay them in this image alone.
    on_patch : callable, optional
        Called after each patch.

    Returns
    -------
    ndarray
        Shape (classes, z, y, x).
    """
    from nnunetv2.inference.sliding_window_prediction import compute_gaussian

    device = torch.device(device)
    patch = tuple(int(edge) for edge in patch_size)
    missing = [max(0, edge - have) for edge, have in zip(patch, image.shape, strict=True)]
    before = [gap // 2 for gap in missing]
    padded = np.pad(image, [(start, gap - start) for start, gap in zip(before, missing, strict=True)])
    weights = compute_gaussian(patch, sigma_scale=_SIGMA_SCALE, value_scaling_factor=_LARGEST_WEIGHT,
                               dtype=torch.float32, device=torch.device("cpu"))
    lattice = lattice or PatchLattice.of_image(padded.shape, patch, step)
    data = torch.from_numpy(np.ascontiguousarray(padded))
    total: torch.Tensor | None = None
    count = torch.zeros(padded.shape)
    with torch.inference_mode(), torch.autocast(device.type, enabled=device.type == "cuda"):
        for window in lattice.windows():
            logits = _mirrored_mean(network, data[window][None, None].to(device), mirror_axes)[0].float().cpu()
            if total is None:
                total = torch.zeros((logits.shape[0], *padded.shape))
            total[:, window[0], window[1], window[2]] += logits * weights
            count[window] += weights
            if on_patch is not None:
                on_patch()
        assert total is not None  # there is at least one patch
        total /= count
    inner = tuple(slice(start, start + size) for start, size in zip(before, image.shape, strict=True))
    return np.asarray(total.numpy()[:, inner[0], inner[1], inner[2]])


def _mirrored_mean(network: nn.Module, batch: torch.Tensor, mirror_axes: Sequence[int]) -> torch.Tensor:
    logits: torch.Tensor = network(batch)
    axes = [axis + 2 for axis in mirror_axes]
    flips = [chosen for size in range(1, len(axes) + 1) for chosen in itertools.combinations(axes, size)]
    for chosen in flips:
        logits = logits + torch.flip(network(torch.flip(batch, chosen)), chosen)
    return logits / (len(flips) + 1)
