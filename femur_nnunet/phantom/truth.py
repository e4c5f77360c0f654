"""What is true of a synthetic scan: volumes, mineral, thickness and axes beside the image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.phantom.femur_shape import FemurShape
from femur_nnunet.phantom.shapes import FloatArray
from femur_nnunet.phantom.tissue import BoneFill
from femur_nnunet.regions import REGION_MAP_LABELS, Region

TRUTH_SCHEMA = 1
RIGHT_REGION_OFFSET = 10
"""Region maps hold 1-4 (``REGION_MAP_LABELS``) in the left femur, and 11-14 in the right one."""


def region_quantities(fill: BoneFill, regions: NDArray[np.uint8], thickness_mm: FloatArray,
                      surface: NDArray[np.bool_], *, voxel_ml: float,
                      unit_per_k2hpo4: float) -> dict[str, dict[str, float | None]]:
    """Return the true quantities by region.

    Parameters
    ----------
    fill : BoneFill
        Bone in the voxels inside the image.
    regions, thickness_mm, surface : ndarray
        One-dimensional, at the touched voxels: region, cortical thickness, and whether the outer
        surface passes the voxel.
    voxel_ml : float
        Volume of a voxel of the fine grid.
    unit_per_k2hpo4 : float
        Density in the site's unit for 1 mg/cc of K2HPO4 equivalent.

    Returns
    -------
    dict
        For each region ``volume_ml, bmc_mg, vbmd_integral_mg_cc, vbmd_cortical_mg_cc,
        vbmd_trabecular_mg_cc, cortical_volume_ml, cortical_thickness_mm``; ``None`` where the image
        holds nothing of it. Trabecular means everything inside the cortex, marrow included.
    """
    result = {}
    for region in Region:
        chosen = regions > 0 if region is Region.TOTAL else regions == REGION_MAP_LABELS[region]
        volume = float(fill.whole[chosen].sum(dtype=np.float64)) * voxel_ml
        cortex = float(fill.cortex[chosen].sum(dtype=np.float64)) * voxel_ml
        spongy = fill.inside[chosen].astype(np.float64) * fill.spongy_mg_cc[chosen]
        inside = volume - cortex
        spongy_mg = float(spongy.sum()) * voxel_ml * unit_per_k2hpo4
        dense = (fill.cortex * fill.cortical_mg_cc)[chosen]
        cortical_mg = float(dense.sum(dtype=np.float64)) * voxel_ml * unit_per_k2hpo4
        at_surface = chosen & surface
        result[region.value] = {
            "volume_ml": volume,
            "bmc_mg": spongy_mg + cortical_mg,
            "vbmd_integral_mg_cc": _ratio(spongy_mg + cortical_mg, volume),
            "vbmd_cortical_mg_cc": _ratio(cortical_mg, cortex),
            "vbmd_trabecular_mg_cc": _ratio(spongy_mg, inside),
            "cortical_volume_ml": cortex,
            "cortical_thickness_mm": float(thickness_mm[at_surface].mean()) if at_surface.any() else None,
        }
    return result


def axes_truth(shape: FemurShape, rotation: NDArray[np.float64],
               head_centre_mm: NDArray[np.float64]) -> dict[str, Any]:
    """Return head, neck and shaft of one femur in world coordinates (LPS, mm).

    Both axes point downwards along the bone: the neck's from the head to the shaft, the shaft's to the
    knee. ``shaft_point`` lies on the shaft axis at the height of the head centre in the femur frame.
    """
    anatomy = shape.anatomy
    return {
        "head_centre_mm_lps": _rounded(head_centre_mm),
        "head_radius_mm": round(anatomy.head_radius_mm, 4),
        "neck_axis_lps": _rounded(rotation @ shape.neck_axis, 6),
        "shaft_axis_lps": _rounded(rotation @ np.array([0.0, 0.0, -1.0]), 6),
        "shaft_point_mm_lps": _rounded(head_centre_mm + rotation @ shape.shaft_point),
        "neck_shaft_angle_deg": round(anatomy.neck_shaft_angle_deg, 4),
        "anteversion_deg": round(anatomy.anteversion_deg, 4),
        "offset_mm": round(anatomy.offset_mm, 4),
        "joint_gap_mm": round(anatomy.joint_gap_mm, 4),
    }


def _ratio(amount: float, volume: float) -> float | None:
    return amount / volume if volume > 0 else None


def _rounded(vector: NDArray[np.float64], digits: int = 4) -> list[float]:
    return [round(float(value), digits) for value in vector]
