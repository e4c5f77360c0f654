"""What a model's bundle may ask for on a predicted mask: its largest component, and its cavities filled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from femur_nnunet.components import keep_largest


def clean_mask(mask: NDArray[np.bool_], *, largest_component: bool, fill_holes: bool) -> NDArray[np.bool_]:
    """Return the mask after the steps that are asked for, in this order.

    Parameters
    ----------
    mask : ndarray of bool
        Shape (z, y, x).
    largest_component : bool
        Keep the largest part, voxels that share a face, an edge or a corner being connected.
    fill_holes : bool
        Fill cavities that the outside does not reach through faces.
    """
    box = tuple(ndimage.find_objects(mask.view(np.uint8))[0]) if mask.any() else None
    if box is None or not (largest_component or fill_holes):
        return mask
    cleaned = np.zeros_like(mask)
    inside = keep_largest(mask[box]) if largest_component else mask[box]
    cleaned[box] = ndimage.binary_fill_holes(inside) if fill_holes else inside
    return cleaned


def largest_share(mask: NDArray[np.bool_]) -> float:
    """Return the share of the mask (z, y, x) that its largest part holds; 1 for an empty one."""
    total = int(np.count_nonzero(mask))
    return float(np.count_nonzero(keep_largest(mask)) / total) if total else 1.0
