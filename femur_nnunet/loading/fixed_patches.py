"""The same few patches in every epoch, centred on the femur, for scores that can be compared over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd
from numpy.typing import NDArray

from femur_nnunet.errors import FemurError


def fixed_patches(dataset: Any, cases: Sequence[str], count: int,
                  patch_size: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return patches of preprocessed cases, each centred on a voxel that nnU-Net would centre a femur patch on.

    Which patches does not depend on the training's seed, and no global generator is drawn from.

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

    Returns
    -------
    tuple of Tensor
        Images (count, c, z, y, x), float32, and the share of femur in each label map (count,), which
        means nothing for unlabelled cases.

    Raises
    ------
    FemurError
        None of the cases shows a femur.
    """
    generator = np.random.default_rng(0)
    order = [cases[number] for number in generator.permutation(len(cases))]
    images, shares = [], []
    for number in range(count):
        image, label_map, _, properties = dataset.load_case(order[number % len(order)])
        voxels = femur_voxels(properties)
        if not len(voxels):
            continue
        centre = voxels[generator.integers(len(voxels))]
        box = [[int(middle) - edge // 2, int(middle) - edge // 2 + edge]
               for middle, edge in zip(centre, patch_size, strict=True)]
        images.append(torch.from_numpy(crop_and_pad_nd(image, box, 0)).float())
        shares.append(float((crop_and_pad_nd(label_map, box, -1) > 0).mean()))
    if not images:
        raise FemurError("no femur in any of the cases asked for", expected="labels with voxels of value 1",
                         action="check the masks, convert and plan again")
    return torch.stack(images), torch.tensor(shares)


def femur_voxels(properties: Mapping[str, Any]) -> NDArray[np.integer[Any]]:
    """Return the voxels (n, 3), (z, y, x), of a case's properties that nnU-Net would centre a femur patch on."""
    found = [np.asarray(voxels)[:, 1:] for voxels in properties["class_locations"].values() if len(voxels)]
    return np.concatenate(found) if found else np.zeros((0, 3), dtype=int)
