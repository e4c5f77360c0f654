"""Whether voxels and spacing can be those of a CT of the hip at all."""

from __future__ import annotations

import numpy as np

from femur_nnunet.errors import FemurError
from femur_nnunet.volume_io.volume import Volume

# Every field of view on a hip holds fat or air, and cortical bone.
FAT_HU = -100
BONE_HU = 100
# Scanners store 16 bits; metal on an extended scale stays within them.
LOWEST_HU, HIGHEST_HU = -32768, 65535
SMALLEST_SPACING_MM, LARGEST_SPACING_MM = 0.05, 10.0


def refuse_what_is_no_hip_ct(volume: Volume, *, subject: str = "") -> None:
    """Refuse label maps, other modalities, raw scanner numbers, blank images and absurd spacings.

    Files without DICOM headers do not name their modality, and a label map or an MR image as NIfTI reads like a CT.

    Parameters
    ----------
    volume : Volume
        As read, in any orientation.
    subject : str, optional
        What errors are about.

    Raises
    ------
    FemurError
        No voxel at or below -100 HU (fat, air), none at or above 100 HU (bone), one beyond 16 bits, or a voxel
        spacing outside 0.05 to 10 mm.
    """
    spacing = volume.grid.spacing_mm_ijk
    if min(spacing) < SMALLEST_SPACING_MM or max(spacing) > LARGEST_SPACING_MM:
        raise FemurError(f"a voxel spacing of {' x '.join(f'{value:g}' for value in spacing)} mm",
                         expected=f"{SMALLEST_SPACING_MM:g} to {LARGEST_SPACING_MM:g} mm along each axis",
                         action="correct the header, whose unit must be millimetres", subject=subject)
    low, high = float(np.min(volume.array)), float(np.max(volume.array))
    if not (LOWEST_HU <= low <= FAT_HU and BONE_HU <= high <= HIGHEST_HU):
        raise FemurError(f"values from {low:g} to {high:g}",
                         expected=f"a CT in HU: fat or air at {FAT_HU} or below, bone at {BONE_HU} or above, "
                         f"nothing beyond {HIGHEST_HU}",
                         action="give the CT itself with its rescale applied, not a label map, another modality or "
                         "raw scanner numbers", subject=subject)
