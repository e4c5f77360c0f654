"""The largest connected part of a mask."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_NEIGHBOURS = {"all": np.ones((3, 3, 3), dtype=bool), "faces": ndimage.generate_binary_structure(3, 1)}


def keep_largest(mask: NDArray[np.bool_], *, neighbours: Literal["all", "faces"] = "all") -> NDArray[np.bool_]:
    """Return the largest connected part; of several as large the first.

    Parameters
    ----------
    mask : ndarray of bool
        Shape (z, y, x).
    neighbours : {"all", "faces"}
        Whether voxels that share an edge or a corner are connected, or those alone that share a face.
    """
    parts, count = ndimage.label(mask, structure=_NEIGHBOURS[neighbours])
    if count <= 1:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray(parts == int(np.argmax(sizes)))
