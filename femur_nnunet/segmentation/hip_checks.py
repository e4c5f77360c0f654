"""Whether one femur's mask can be trusted: findings on a prediction, its landmarks and its HU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.errors import FemurError
from femur_nnunet.landmarks.femur_landmarks import FemurLandmarks, find_landmarks
from femur_nnunet.model_bundle import Manifest
from femur_nnunet.segmentation.hip_prediction import LEAST_FEMUR_ML, HipPrediction
from femur_nnunet.segmentation.mask_cleaning import largest_share
from femur_nnunet.segmentation.warnings_table import Caution, CautionLimits, Finding
from femur_nnunet.volume_io.metal import Metal

SideName = Literal["left", "right"]
# Landmarks are needed to some millimetres; finer masks only take longer.
_LANDMARK_VOXEL_MM = 1.4
_END_MM = 15.0


@dataclass(frozen=True)
class FemurShape:
    """What the mask of one femur shows.

    Attributes
    ----------
    length_mm : float
        From the mask's highest to its lowest slice.
    shaft_mm : float or None
        Shaft in view below the lesser trochanter; ``None`` without a head.
    head_radius_mm, head_residual_mm, head_cap_share : float or None
        Sphere of the head, the median distance of the head's surface from it, and the share of the directions away from
        the neck in which the surface lies on it.
    shaft_beside_head_mm : float
        How far the lowest part of the mask lies laterally of the highest.
    """

    length_mm: float
    shaft_mm: float | None
    head_radius_mm: float | None
    head_residual_mm: float | None
    head_cap_share: float | None
    shaft_beside_head_mm: float

    def has_head(self, limits: CautionLimits) -> bool:
        """Whether the sphere is one of a femoral head."""
        return (self.head_radius_mm is not None and self.head_residual_mm is not None
                and self.head_cap_share is not None and self.head_cap_share >= limits.head_cap_share
                and limits.head_radius_mm[0] <= self.head_radius_mm <= limits.head_radius_mm[1]
                and self.head_residual_mm <= limits.head_residual_mm)


def shape_of(prediction: HipPrediction) -> FemurShape | None:
    """Measure a mask; ``None`` for an empty one."""
    mask = prediction.mask
    levels = np.flatnonzero(mask.any(axis=(1, 2)))
    if not levels.size:
        return None
    x_mm, y_mm, z_mm = prediction.record.lps_grid.spacing_mm_ijk
    ends = max(1, round(_END_MM / z_mm))
    low, high = (float(np.nonzero(mask[part])[2].mean()) * x_mm for part in (
        slice(levels[0], levels[0] + ends), slice(levels[-1] + 1 - ends, levels[-1] + 1)))
    landmarks = _landmarks(mask, (z_mm, y_mm, x_mm))
    return FemurShape(
        length_mm=float(levels[-1] + 1 - levels[0]) * z_mm,
        shaft_mm=None if landmarks is None else float(landmarks.shaft_length_mm),
        head_radius_mm=None if landmarks is None else float(landmarks.head_radius_mm),
        head_residual_mm=None if landmarks is None else float(landmarks.head_residual_mm),
        head_cap_share=None if landmarks is None else float(landmarks.head_cap_share),
        shaft_beside_head_mm=low - high)


def is_a_femur(prediction: HipPrediction, shape: FemurShape | None, limits: CautionLimits) -> bool:
    """Whether a mask has a head and a volume that a femur has, for where no hip was seen by its bones."""
    return (shape is not None and shape.has_head(limits) and shape.shaft_beside_head_mm > -limits.side_offset_mm
            and LEAST_FEMUR_ML <= prediction.volume_ml <= limits.femur_volume_ml_high)


def check_hip(prediction: HipPrediction, shape: FemurShape, hounsfield: NDArray[Any], side: SideName, *,
              manifest: Manifest, limits: CautionLimits, metal: Metal) -> list[Finding]:
    """Return what one femur is warned about.

    Parameters
    ----------
    prediction : HipPrediction
        A mask that is not empty.
    shape : FemurShape
        Of the mask.
    hounsfield : ndarray
        Shape (z, y, x), HU on the prediction's box.
    side : {"left", "right"}
        Which femur.
    manifest : Manifest
        Of the model: what it was trained on.
    limits : CautionLimits
        From where on to warn.
    metal : Metal
        In the scan.
    """
    found = [*_cuts(prediction), *_shaft(shape, limits), *_volume_and_shape(prediction, shape, limits),
             *_metal(side, metal), *_hounsfield(hounsfield[prediction.mask], manifest, limits),
             *_agreement(prediction, limits)]
    if prediction.looked_at == "whole half":
        found.append((Caution.WHOLE_HALF, "the whole half was searched"))
    return [Finding(caution, text, side) for caution, text in found]


_Told = list[tuple[Caution, str]]


def _cuts(prediction: HipPrediction) -> _Told:
    """Tell where the mask meets the scan's own borders; the lower one cuts every shaft."""
    record, mask = prediction.record, prediction.mask
    size_x, size_y, size_z = record.lps_grid.size_ijk
    first, last = (0, -1) if not record.left_right_flipped else (-1, 0)
    found: _Told = []
    if record.crop_stop_xyz[2] == size_z and mask[-1].any():
        found.append((Caution.CUT_ABOVE, "it reaches the image's highest slice"))
    borders = [("right", record.crop_start_xyz[0] == 0, mask[:, :, first]),
               ("left", record.crop_stop_xyz[0] == size_x, mask[:, :, last]),
               ("front", record.crop_start_xyz[1] == 0, mask[:, 0]),
               ("back", record.crop_stop_xyz[1] == size_y, mask[:, -1])]
    touched = [name for name, is_border, plane in borders if is_border and plane.any()]
    if touched:
        found.append((Caution.CUT_AT_SIDE, f"it reaches the image's border at the patient's {' and '.join(touched)}"))
    return found


def _shaft(shape: FemurShape, limits: CautionLimits) -> _Told:
    if shape.shaft_mm is None or shape.shaft_mm >= limits.shaft_mm:
        return []
    return [(Caution.LITTLE_SHAFT, f"{shape.shaft_mm:.0f} mm of shaft in view below the lesser trochanter, expected "
             f"{limits.shaft_mm:g} or more")]


def _volume_and_shape(prediction: HipPrediction, shape: FemurShape, limits: CautionLimits) -> _Told:
    found: _Told = []
    low, high = limits.femur_volume_ml_low, limits.femur_volume_ml_high
    if not low <= prediction.volume_ml <= high:
        found.append((Caution.VOLUME, f"{prediction.volume_ml:.0f} ml, expected {low:g} to {high:g}"))
    share = largest_share(prediction.raw_mask)
    if share < limits.largest_share:
        found.append((Caution.SHAPE, f"the largest part of the networks' mask holds {100 * share:.0f} % of it, "
                      f"expected {100 * limits.largest_share:.0f} % or more"))
    if not shape.has_head(limits):
        what = ("no sphere fits" if shape.head_radius_mm is None else
                f"a sphere of radius {shape.head_radius_mm:.0f} mm fits to {shape.head_residual_mm:.1f} mm over "
                f"{100 * (shape.head_cap_share or 0.0):.0f} % of a cap")
        found.append((Caution.NO_HEAD, f"{what}, expected {limits.head_radius_mm[0]:g} to "
                      f"{limits.head_radius_mm[1]:g} mm, {limits.head_residual_mm:g} mm or less, "
                      f"{100 * limits.head_cap_share:.0f} % or more"))
    if shape.shaft_beside_head_mm < -limits.side_offset_mm:
        found.append((Caution.SIDE, f"the shaft lies {-shape.shaft_beside_head_mm:.0f} mm medially of the head"))
    return found


def _metal(side: SideName, metal: Metal) -> _Told:
    volume = metal.left_ml if side == "left" else metal.right_ml
    return [(Caution.METAL, f"{volume:.1f} ml of metal on this side")] if volume > 0 else []


def _hounsfield(inside: NDArray[Any], manifest: Manifest, limits: CautionLimits) -> _Told:
    expected = manifest.training.foreground_hu.get("median")
    if expected is None:
        return []
    median = float(np.median(inside))
    if abs(median - expected) <= limits.foreground_hu_shift:
        return []
    return [(Caution.HOUNSFIELD, f"median {median:.0f} HU, expected {expected:.0f} within "
             f"{limits.foreground_hu_shift:g} as in training")]


def _agreement(prediction: HipPrediction, limits: CautionLimits) -> _Told:
    if prediction.agreement is None or prediction.agreement >= limits.fold_agreement_dice:
        return []
    return [(Caution.AGREEMENT, f"the masks of {prediction.agreement_of} agree to a Dice of {prediction.agreement:.2f}"
             f", expected {limits.fold_agreement_dice:g} or more")]


def _landmarks(mask: NDArray[np.bool_], spacing_mm_zyx: tuple[float, float, float]) -> FemurLandmarks | None:
    steps = [max(1, round(_LANDMARK_VOXEL_MM / spacing)) for spacing in spacing_mm_zyx]
    z_mm, y_mm, x_mm = (spacing * step for spacing, step in zip(spacing_mm_zyx, steps, strict=True))
    try:
        # What is predicted looks like a left hip, on either side.
        return find_landmarks(mask[::steps[0], ::steps[1], ::steps[2]], (z_mm, y_mm, x_mm), "left")
    except FemurError:
        return None
