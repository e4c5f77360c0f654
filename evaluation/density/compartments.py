"""Which voxels of a femur count as cortical and which as trabecular bone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from femur_nnunet.calibration.units import DensityUnit, k2hpo4_per_ha

# Cortical bone begins at 350 mg/cc of K2HPO4. The same attenuation is more mg/cc of HA; the tube voltage of which is
# seldom known for every scan, so the ratio at 120 kVp serves for all (80 to 140 kVp: 407 to 432).
CORTICAL_FROM_MG_CC: dict[DensityUnit, float] = {"K2HPO4": 350.0, "HA": 350.0 / k2hpo4_per_ha(120.0)}
# Above the shaft no cortex is thicker than this; dense trabeculae of the head lie deeper.
DEEPEST_CORTEX_MM = 5.0
# Trabecular bone lies deeper than the cortex and what the scanner's blur makes of it.
TRABECULAR_FROM_MM = 3.0
BLURRED_RIM_MM = 1.5


@dataclass(frozen=True)
class Compartments:
    """Boolean arrays (z, y, x), as the mask; voxels of the blurred rim between them are in neither."""

    cortical: NDArray[np.bool_]
    trabecular: NDArray[np.bool_]


def separate(density_mg_cc: NDArray[np.floating], mask: NDArray[np.bool_], in_shaft: NDArray[np.bool_],
             spacing_mm_zyx: tuple[float, float, float], unit: DensityUnit) -> Compartments:
    """Separate cortical from trabecular bone.

    Parameters
    ----------
    density_mg_cc : ndarray
        Shape (z, y, x).
    mask, in_shaft : ndarray of bool
        Of the same shape: the femur, and which of its voxels belong to the shaft, where cortex may be of any thickness.
    spacing_mm_zyx : tuple of float
        Voxel spacing.
    unit : {"K2HPO4", "HA"}
        What the density is expressed in.
    """
    depth = _depth_mm(mask, spacing_mm_zyx)
    cortical = mask & (density_mg_cc >= CORTICAL_FROM_MG_CC[unit]) & (in_shaft | (depth <= DEEPEST_CORTEX_MM))
    near_cortex = ndimage.distance_transform_edt(~cortical, sampling=spacing_mm_zyx) <= BLURRED_RIM_MM
    return Compartments(cortical, mask & (depth > TRABECULAR_FROM_MM) & ~near_cortex)


def _depth_mm(mask: NDArray[np.bool_], spacing: tuple[float, float, float]) -> NDArray[np.float64]:
    """Return the distance from the bone's surface; where the image ends the bone goes on."""
    padded = np.pad(np.pad(mask, ((1, 1), (0, 0), (0, 0)), mode="edge"), ((0, 0), (1, 1), (1, 1)))
    depth = ndimage.distance_transform_edt(padded, sampling=spacing)[1:-1, 1:-1, 1:-1]
    # Between centres there is half a voxel of the outside.
    return np.asarray(depth - 0.5 * min(spacing))
