"""A keyed hash of a scan's voxels, to spot the same pixels twice without revealing them."""

from __future__ import annotations

import hashlib
import hmac

import numpy as np

from femur_nnunet.volume_io.orientation import best_axis_mapping
from femur_nnunet.volume_io.volume import Volume


def voxel_hmac(key: bytes, volume: Volume) -> str:
    """Return HMAC-SHA256 over the voxels and the size and spacing of their grid, as 64 hexadecimal digits.

    The volume is hashed in LPS order with one number format, so that a scan gives the same value whether it
    came as DICOM or as NIfTI with other axes. Origin and direction are left out: a second export often
    changes them, and equal voxels shall be found all the same.

    Parameters
    ----------
    key : bytes
        The secret of the dataset.
    volume : Volume
        Any volume.
    """
    mapping = best_axis_mapping(volume.grid.direction_matrix)
    grid = mapping.apply_to_grid(volume.grid)
    digest = hmac.new(key, digestmod=hashlib.sha256)
    # Four decimals are below any scanner's spacing and above the rounding of 32-bit headers.
    digest.update(repr((grid.size_ijk, [round(value, 4) for value in grid.spacing_mm_ijk])).encode("ascii"))
    for plane in mapping.apply(volume.array):
        digest.update(np.ascontiguousarray(plane, dtype="<f4").data)
    return digest.hexdigest()
