"""Patches as training draws them, but seeded by themselves and not augmented, for statistics of what a network sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd

from femur_nnunet.loading.fixed_patches import femur_voxels


def drawn_patches(dataset: Any, cases: Sequence[str], count: int, patch_size: Sequence[int], *,
                  foreground_fraction: float, seed: int) -> torch.Tensor:
    """Return patches of preprocessed cases, placed by the rule of nnU-Net's training loader.

    With the probability ``foreground_fraction`` a patch is centred on a voxel of the femur, else it lies anywhere in
    the image, each place as likely as any other. Cases come in turn, so that each has the same share. No global
    generator is drawn from.

    Parameters
    ----------
    dataset : nnUNetDatasetBlosc2
        Serves the cases, with ``class_locations`` in their properties.
    cases : sequence of str
        Where patches are taken from, in turn.
    count : int
        Number of patches.
    patch_size : sequence of int
        (z, y, x) in voxels.
    foreground_fraction : float
        Probability that a patch is centred on the femur; a case that shows none has no such patch.
    seed : int
        Decides over the order of the cases and the places.

    Returns
    -------
    Tensor
        Images (count, c, z, y, x), float32.
    """
    generator = np.random.default_rng(seed)
    order = [cases[number] for number in generator.permutation(len(cases))]
    images = []
    for number in range(count):
        image, _, _, properties = dataset.load_case(order[number % len(order)])
        voxels = femur_voxels(properties)
        centred = generator.random() < foreground_fraction and len(voxels) > 0
        centre = voxels[generator.integers(len(voxels))] if centred else None
        box = []
        for axis, edge in enumerate(patch_size):
            # Where the image is smaller than the patch, it is padded on both sides.
            excess = max(0, edge - image.shape[axis + 1])
            lowest, highest = -((excess + 1) // 2), image.shape[axis + 1] - edge + (excess + 1) // 2
            # nnU-Net keeps a centred patch within the lower bound alone.
            start = (int(generator.integers(lowest, highest + 1)) if centre is None
                     else max(lowest, int(centre[axis]) - edge // 2))
            box.append([start, start + edge])
        images.append(torch.from_numpy(crop_and_pad_nd(image, box, 0)).float())
    return torch.stack(images)
