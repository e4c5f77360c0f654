"""Finding hips without a network: whether there is one on each side, and what of it is in view.

On a coarse copy bone is what exceeds 150 HU, with holes filled slice by slice. At the level of the joint, head and
acetabulum together hold a disc of at least 17 mm radius some centimetres beside the midline; below the trochanters
the shaft is a round, dense section of its own. Vertebrae lie on the midline, ribs and iliac wings are thin, arms and
calibration rods are too small, a skull crosses the midline.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from femur_nnunet.volume_io.volume import Volume

BONE_HU = 150.0
_PIXEL_MM, _SLICE_MM = 2.0, 3.0
# Distance from the midline: hip joints of adults lie 75 to 105 mm beside it, shafts up to 150 mm; the midline itself
# is known to 2 cm.
JOINT_FROM_MIDLINE_MM, SHAFT_FROM_MIDLINE_MM = (45.0, 145.0), (70.0, 185.0)
# A femoral head has 20 to 29 mm radius; an iliac wing or sacrum holds no disc above 15 mm.
LEAST_JOINT_RADIUS_MM, LEAST_JOINT_AREA_MM2 = 17.0, 1500.0
# Adult shafts are 26 to 42 mm wide with the point spread; arms and rods hold discs of 11 mm and less.
SHAFT_RADIUS_MM, SHAFT_AREA_MM2 = (11.8, 24.0), (450.0, 2100.0)
_SHAFT_ASPECT, _SHAFT_FILL = (0.7, 1.4), 0.62
# Densest twentieth of the section: cortical bone, not contrast medium.
LEAST_JOINT_CORTEX_HU, LEAST_SHAFT_CORTEX_HU = 260.0, 450.0
LEAST_LENGTH_MM = 10.0


@dataclass(frozen=True)
class HipInView:
    """One hip as far as it is seen; levels in mm above the image's lowest slice.

    Attributes
    ----------
    joint_level_mm : float or None
        Level where head and acetabulum are widest, within about 15 mm of the head's centre.
    joint_x_mm, joint_y_mm, shaft_x_mm, shaft_y_mm : float or None
        Place in mm from the first column and row.
    shaft_length_mm : float
        Length over which a shaft of its own is seen.
    touches_side : bool
        Whether the joint runs into the left or right border of the image.
    """

    joint_level_mm: float | None
    joint_x_mm: float | None
    joint_y_mm: float | None
    shaft_x_mm: float | None
    shaft_y_mm: float | None
    shaft_length_mm: float
    touches_side: bool

    @property
    def found(self) -> bool:
        """Whether a joint or a shaft is in view."""
        return self.joint_level_mm is not None or self.shaft_length_mm > 0


@dataclass(frozen=True)
class HipsInView:
    """Both halves of an image; with a narrow field of view everything is in ``left`` and ``one_hip`` is true."""

    left: HipInView
    right: HipInView | None
    height_mm: float

    @property
    def one_hip(self) -> bool:
        """Whether the field of view is too narrow for two hips."""
        return self.right is None

    def of(self, side: str) -> HipInView:
        """Return the hip of a side; the only one where the field of view is narrow."""
        return self.right if side == "right" and self.right is not None else self.left


def find_hips(volume_lps: Volume, midline_x: float | None) -> HipsInView:
    """Search both hips.

    Parameters
    ----------
    volume_lps : Volume
        CT in HU, oriented to LPS.
    midline_x : float or None
        Column of the body's midline; ``None`` for a field of view that is too narrow for two hips.
    """
    coarse, spacing_zyx = coarse_copy(volume_lps, _PIXEL_MM, _SLICE_MM)
    smooth = ndimage.gaussian_filter(coarse, 0.7)
    spacing_x = volume_lps.grid.spacing_mm_ijk[0]
    middle_mm = None if midline_x is None else midline_x * spacing_x
    sections = [section for level in range(smooth.shape[0])
                for section in _sections(smooth[level], level * spacing_zyx[0], spacing_zyx)]
    height = (volume_lps.array.shape[0] - 1) * volume_lps.grid.spacing_mm_ijk[2]
    if middle_mm is None:
        return HipsInView(_hip(sections, None, spacing_zyx[0]), None, height)
    left = [section for section in sections if section.x_mm >= middle_mm]
    right = [section for section in sections if section.x_mm < middle_mm]
    return HipsInView(_hip(left, middle_mm, spacing_zyx[0]), _hip(right, middle_mm, spacing_zyx[0]), height)


def coarse_copy(volume_lps: Volume, pixel_mm: float,
                slice_mm: float) -> tuple[NDArray[np.float32], tuple[float, float, float]]:
    """Return every n-th slice with in-plane means, and its spacing (z, y, x) in mm."""
    spacing_x, spacing_y, spacing_z = volume_lps.grid.spacing_mm_ijk
    step_z, step_y, step_x = (max(1, round(wanted / own)) for wanted, own in
                              ((slice_mm, spacing_z), (pixel_mm, spacing_y), (pixel_mm, spacing_x)))
    rows = volume_lps.array.shape[1] // step_y * step_y
    columns = volume_lps.array.shape[2] // step_x * step_x
    planes = [plane[:rows, :columns].reshape(rows // step_y, step_y, columns // step_x, step_x)
              .mean(axis=(1, 3), dtype=np.float32) for plane in volume_lps.array[::step_z]]
    return np.stack(planes), (spacing_z * step_z, spacing_y * step_y, spacing_x * step_x)


@dataclass(frozen=True)
class _Section:
    """One connected piece of bone in one slice."""

    level_mm: float
    x_mm: float
    y_mm: float
    area_mm2: float
    radius_mm: float
    fill: float
    aspect: float
    cortex_hu: float
    touches_side: bool


def _sections(plane: NDArray[np.float32], level_mm: float, spacing_zyx: tuple[float, float, float]) -> list[_Section]:
    _, pixel_y, pixel_x = spacing_zyx
    bone = ndimage.binary_fill_holes(plane > BONE_HU)
    parts, _ = ndimage.label(bone)
    depth = ndimage.distance_transform_edt(bone, sampling=(pixel_y, pixel_x))
    found = []
    for number, box in enumerate(ndimage.find_objects(parts), start=1):
        inside = parts[box] == number
        area = float(inside.sum()) * pixel_y * pixel_x
        if area < SHAFT_AREA_MM2[0]:
            continue
        y, x = np.nonzero(inside)
        height, width = inside.shape[0] * pixel_y, inside.shape[1] * pixel_x
        deepest = np.unravel_index(int(np.argmax(np.where(inside, depth[box], 0))), inside.shape)
        # A joint's place is where the largest disc fits; the rest may be ilium or pubis.
        found.append(_Section(
            level_mm, float(box[1].start + deepest[1]) * pixel_x, float(box[0].start + deepest[0]) * pixel_y, area,
            float(depth[box][deepest]), area / (height * width), height / width,
            float(np.percentile(plane[box][y, x], 95)), box[1].start == 0 or box[1].stop == plane.shape[1]))
    return found


def _hip(sections: list[_Section], middle_mm: float | None, slice_mm: float) -> HipInView:
    def beside(section: _Section, limits: tuple[float, float]) -> bool:
        return middle_mm is None or limits[0] <= abs(section.x_mm - middle_mm) <= limits[1]

    joints = [section for section in sections if section.radius_mm >= LEAST_JOINT_RADIUS_MM
              and section.area_mm2 >= LEAST_JOINT_AREA_MM2 and section.cortex_hu >= LEAST_JOINT_CORTEX_HU
              and beside(section, JOINT_FROM_MIDLINE_MM) and not _is_shaft(section)]
    shafts = [section for section in sections if _is_shaft(section) and beside(section, SHAFT_FROM_MIDLINE_MM)]
    joint_levels = {section.level_mm for section in joints}
    shaft_levels = {section.level_mm for section in shafts}
    widest = max(joints, key=lambda section: section.radius_mm) if len(joint_levels) * slice_mm >= LEAST_LENGTH_MM \
        else None
    shaft_length = len(shaft_levels) * slice_mm
    seen = shaft_length >= LEAST_LENGTH_MM
    return HipInView(
        widest.level_mm if widest else None, widest.x_mm if widest else None, widest.y_mm if widest else None,
        float(np.median([section.x_mm for section in shafts])) if seen else None,
        float(np.median([section.y_mm for section in shafts])) if seen else None, shaft_length if seen else 0.0,
        any(section.touches_side for section in joints) if widest else False)


def _is_shaft(section: _Section) -> bool:
    return (SHAFT_AREA_MM2[0] <= section.area_mm2 <= SHAFT_AREA_MM2[1]
            and SHAFT_RADIUS_MM[0] <= section.radius_mm <= SHAFT_RADIUS_MM[1]
            and _SHAFT_ASPECT[0] <= section.aspect <= _SHAFT_ASPECT[1] and section.fill >= _SHAFT_FILL
            and section.cortex_hu >= LEAST_SHAFT_CORTEX_HU)
