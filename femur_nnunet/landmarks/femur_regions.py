"""Head, neck, trochanteric region and shaft of a femur, cut by planes that its own landmarks give.

Three planes divide the femur, all scaled by the radius R of the sphere of the head (docs/density.md):

- head and neck part at the plane across the neck axis at 0.85 R from the head's centre;
- neck and trochanteric region at the plane across the neck axis that lies 17 mm (for R = 22.5 mm) before the point
  where the neck axis passes the shaft axis most closely;
- the shaft begins at the plane across the shaft axis 72 mm (for R = 22.5 mm) below the head's centre, under the lesser
  trochanter.

A landmark that cannot be had costs the regions that rest on it alone, and says so in their status.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from femur_nnunet.components import keep_largest
from femur_nnunet.errors import FemurError
from femur_nnunet.landmarks.femur_landmarks import FemurLandmarks, SideName, find_landmarks
from femur_nnunet.landmarks.femur_search import (
    AXIS_LENGTH_MM,
    HEAD_INCOMPLETE,
    NARROWEST_AT_THE_END,
    NECK_NOT_SETTLED,
    NO_WHOLE_NECK_SECTION,
    SHAFT_AXIS_ASSUMED,
    SHAFT_STEP_MM,
)
from femur_nnunet.regions import (
    HEAD_ENDS_AT_RADII,
    NECK_ENDS_BEFORE_SHAFT_AXIS_MM,
    REFERENCE_HEAD_RADIUS_MM,
    REGION_MAP_LABELS,
    SHAFT_BEGINS_BELOW_MM,
    Region,
)

# Direction downwards of a left femur's shaft, the mean of 14 femora of real label maps (docs/hip_anatomy.md); taken
# where less than 25 mm of shaft are in view.
MEAN_SHAFT_AXIS = (-0.049, -0.122, -0.991)
# Curvature of the shaft in the neck's plane: anterior bow of radius 943 mm (SD 258), seen from a neck that 14.2 degrees
# of anteversion (SD 9.6) turn out of the side view; sources in docs/hip_anatomy.md.
CURVATURE_MEAN_PER_MM, CURVATURE_SD_PER_MM = 2.6e-4, 1.9e-4
# Standard deviation of a section's centroid from a smooth centreline.
CENTROID_ERROR_MM = 0.1
_BOW_BEGINS_BELOW_MM = 50.0
# A fit on less bone than this is not one of a femur.
LEAST_VOLUME_ML = 5.0


class RegionStatus(str, Enum):
    """How a region was found."""

    OK = "ok"
    SHAFT_ASSUMED = "shaft_assumed"
    """Too little shaft is in view: its mean direction stands in, and the border of neck and trochanter rests on it."""
    HEAD_INCOMPLETE = "head_incomplete"
    """The image cuts the head, or it is not round: sphere and all that is scaled by it are doubtful."""
    NECK_DOUBTFUL = "neck_doubtful"
    """No narrowest section of a neck: what was taken for the head may be none."""
    TROCHANTER_CUT = "trochanter_cut"
    """The image ends at or above the lesser trochanter: the border of the neck is a guess, the rest is cut."""
    NOT_IN_VIEW = "not_in_view"
    """The image ends before the region begins."""
    NO_HEAD = "no_head"
    """No sphere of a femoral head was found: there are no regions."""


@dataclass(frozen=True)
class FemurRegions:
    """Regions of one femur.

    Attributes
    ----------
    label_map : ndarray of uint8
        Shape (z, y, x); ``REGION_MAP_LABELS`` in the mask, 0 outside it and where no region could be had.
    status : dict
        How each region was found, ``total`` included.
    landmarks : FemurLandmarks or None
        What the planes rest on.
    shares : dict of ndarray
        For each region that landmarks could be had for, the share of each voxel of the mask that lies in it, in the
        order of ``np.nonzero(mask)``; the shares of a voxel add up to 1. A voxel that a plane cuts belongs to both
        sides, while ``label_map`` gives it whole to one: with thick slices across the shaft that is some per cent.
    """

    label_map: NDArray[np.uint8]
    status: dict[Region, RegionStatus]
    landmarks: FemurLandmarks | None
    shares: dict[Region, NDArray[np.float32]] = field(default_factory=dict)


def find_regions(mask_zyx: NDArray[np.generic], spacing_mm_zyx: tuple[float, float, float], side: SideName, *,
                 subject: str = "") -> FemurRegions:
    """Divide a femur's mask into regions.

    Parameters
    ----------
    mask_zyx : ndarray
        Shape (z, y, x), axes along LPS; non-zero inside the bone. The axes are fitted to the largest component, its
        holes filled; every voxel of the mask gets a region.
    spacing_mm_zyx : tuple of float
        Voxel spacing.
    side : {"left", "right"}
        Which femur the image shows: ``left`` for a right one that was flipped.
    subject : str
        What errors are about.

    Raises
    ------
    FemurError
        The mask is empty.
    """
    inside = np.asarray(mask_zyx) != 0
    if not inside.any():
        raise FemurError("an empty mask", expected="the mask of one femur", action="check the label", subject=subject)
    # One slice of air below, where there is one, tells a whole bone from one that the image cuts.
    box = tuple(slice(max(0, int(found[0]) - 1), int(found[-1]) + 2) for found in (
        np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)))
    start_mm = np.array([part.start for part in box[::-1]]) * np.asarray(spacing_mm_zyx[::-1])
    bone = sound_bone(inside[box])
    voxel_ml = float(np.prod(spacing_mm_zyx)) / 1000.0
    mirror = 1.0 if side == "left" else -1.0
    try:
        if bone.sum() * voxel_ml < LEAST_VOLUME_ML:
            raise FemurError("too little bone", expected="a femur", action="check the mask", subject=subject)
        marks = find_landmarks(bone, spacing_mm_zyx, side, subject=subject,
                               origin_mm_xyz=(float(start_mm[0]), float(start_mm[1]), float(start_mm[2])),
                               assumed_shaft_axis=np.array(MEAN_SHAFT_AXIS) * [mirror, 1.0, 1.0])
    except FemurError:
        status = dict.fromkeys(Region, RegionStatus.NO_HEAD) | {Region.TOTAL: RegionStatus.OK}
        return FemurRegions(np.zeros(inside.shape, dtype=np.uint8), status, None)
    labels = np.zeros(inside.shape, dtype=np.uint8)
    index = np.nonzero(inside[box])
    points = start_mm + np.column_stack(index[::-1]) * np.asarray(spacing_mm_zyx[::-1])
    planes = planes_of(points.astype(np.float32), marks)
    labels[box][index] = planes.labels()
    return FemurRegions(labels, _status(labels, marks, touches_top=bool(inside[-1].any())), marks,
                        planes.shares(marks, spacing_mm_zyx))


@dataclass(frozen=True)
class PlaneDistances:
    """Signed distances of points from the three planes in mm, each of shape (n,), negative towards the head."""

    head_ends: NDArray[np.float32]
    neck_ends: NDArray[np.float32]
    shaft_begins: NDArray[np.float32]

    def labels(self) -> NDArray[np.uint8]:
        """Return the region (``REGION_MAP_LABELS``) that each point itself lies in, shape (n,)."""
        labels = np.full(self.head_ends.shape, REGION_MAP_LABELS[Region.TROCHANTERIC], dtype=np.uint8)
        labels[self.neck_ends < 0] = REGION_MAP_LABELS[Region.NECK]
        labels[self.head_ends < 0] = REGION_MAP_LABELS[Region.HEAD]
        labels[self.shaft_begins > 0] = REGION_MAP_LABELS[Region.SHAFT]
        return labels

    def shares(self, marks: FemurLandmarks,
               spacing_mm_zyx: tuple[float, float, float]) -> dict[Region, NDArray[np.float32]]:
        """Return the share of each point's voxel in each region; a plane is taken to cut it evenly.

        The share beyond a plane is ``clip(1/2 + d / w, 0, 1)``, with d the distance of the voxel's centre and w the
        voxel's extent along the plane's normal. It is exact for a plane along a face.
        """
        assert marks.shaft_axis is not None
        beyond_head = _share_beyond(self.head_ends, marks.neck_axis, spacing_mm_zyx)
        beyond_neck = np.minimum(_share_beyond(self.neck_ends, marks.neck_axis, spacing_mm_zyx), beyond_head)
        above_shaft = 1 - _share_beyond(self.shaft_begins, marks.shaft_axis, spacing_mm_zyx)
        return {Region.HEAD: above_shaft * (1 - beyond_head), Region.NECK: above_shaft * (beyond_head - beyond_neck),
                Region.TROCHANTERIC: above_shaft * beyond_neck, Region.SHAFT: 1 - above_shaft}


def planes_of(points_mm_xyz: NDArray[np.floating], marks: FemurLandmarks) -> PlaneDistances:
    """Return the distances of points (n, 3), in the frame of the landmarks, from the planes between regions."""
    scale = marks.head_radius_mm / REFERENCE_HEAD_RADIUS_MM
    offsets = points_mm_xyz - marks.head_centre_mm.astype(np.float32)
    along = offsets @ marks.neck_axis.astype(np.float32)
    assert marks.shaft_axis is not None
    below = offsets @ marks.shaft_axis.astype(np.float32)
    return PlaneDistances(np.asarray(along - HEAD_ENDS_AT_RADII * marks.head_radius_mm, dtype=np.float32),
                          np.asarray(along - neck_ends_mm(marks), dtype=np.float32),
                          np.asarray(below - SHAFT_BEGINS_BELOW_MM * scale, dtype=np.float32))


def _share_beyond(distance_mm: NDArray[np.float32], normal_xyz: NDArray[np.float64],
                  spacing_mm_zyx: tuple[float, float, float]) -> NDArray[np.float32]:
    width_mm = float(np.abs(normal_xyz) @ np.asarray(spacing_mm_zyx[::-1]))
    return np.clip(0.5 + distance_mm / np.float32(width_mm), 0.0, 1.0)


def neck_ends_mm(marks: FemurLandmarks) -> float:
    """Return where the neck ends along its axis, from the head's centre.

    The landmarks' shaft axis is a chord of the bowed shaft below the lesser trochanter and lies before the axis on
    which the bow begins there; seen across the neck, which anteversion turns, that makes the neck too short. The
    curvature in the neck's plane is measured; the shorter the shaft in view, the more the population's mean counts.
    """
    assert marks.neck_length_mm is not None
    assert marks.neck_shaft_angle_deg is not None
    assert marks.shaft_point_mm is not None
    scale = marks.head_radius_mm / REFERENCE_HEAD_RADIUS_MM
    length = marks.neck_length_mm
    if SHAFT_AXIS_ASSUMED not in marks.flags:
        shaft_mm = min(marks.shaft_length_mm, AXIS_LENGTH_MM)
        curvature = CURVATURE_MEAN_PER_MM
        if marks.shaft_curvature_per_mm is not None:
            lateral = marks.shaft_point_mm - marks.head_centre_mm
            measured = float(marks.shaft_curvature_per_mm @ lateral / np.linalg.norm(lateral))
            error = 2.0 * CENTROID_ERROR_MM * np.sqrt(180.0 / (shaft_mm / SHAFT_STEP_MM)) / shaft_mm ** 2
            trust = CURVATURE_SD_PER_MM ** 2 / (CURVATURE_SD_PER_MM ** 2 + error ** 2)
            curvature += trust * (measured - curvature)
        length += curvature * _chord_before_axis_mm2(shaft_mm, scale) / np.sin(np.radians(marks.neck_shaft_angle_deg))
    return float(length - NECK_ENDS_BEFORE_SHAFT_AXIS_MM * scale)


def _chord_before_axis_mm2(shaft_mm: float, scale: float) -> float:
    """Return how far the fitted chord lies from the axis at the height where the neck meets it, for curvature 1 / mm.

    A centreline of curvature c, b mm below the lesser trochanter, lies c (b m - b^2 / 2) from the axis; m is the
    middle of the upper 60 mm of shaft, where it is parallel to the axis. The chord is the least-squares line through
    the part in view.
    """
    from_trochanter = (SHAFT_BEGINS_BELOW_MM - _BOW_BEGINS_BELOW_MM) * scale
    parallel, middle = from_trochanter + AXIS_LENGTH_MM / 2, from_trochanter + shaft_mm / 2
    mean = parallel * middle - (middle ** 2 + shaft_mm ** 2 / 12) / 2
    return (-from_trochanter - middle) * (parallel - middle) + mean


def sound_bone(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest component of a mask (z, y, x) with its holes filled."""
    return np.asarray(ndimage.binary_fill_holes(keep_largest(inside, neighbours="faces")))


def _status(labels: NDArray[np.uint8], marks: FemurLandmarks, *, touches_top: bool) -> dict[Region, RegionStatus]:
    """Return what is to be said of each region; of several doubts the gravest."""
    parts = (Region.HEAD, Region.NECK, Region.TROCHANTERIC, Region.SHAFT)
    status = dict.fromkeys(Region, RegionStatus.OK)
    if SHAFT_AXIS_ASSUMED in marks.flags:
        status |= dict.fromkeys(parts[1:], RegionStatus.SHAFT_ASSUMED)
    if "lesser_trochanter_below_mm" in marks.missing:
        status |= dict.fromkeys((Region.NECK, Region.TROCHANTERIC), RegionStatus.TROCHANTER_CUT)
    if {NECK_NOT_SETTLED, NO_WHOLE_NECK_SECTION, NARROWEST_AT_THE_END} & set(marks.flags):
        status |= dict.fromkeys(parts, RegionStatus.NECK_DOUBTFUL)
    if touches_top or HEAD_INCOMPLETE in marks.flags:
        status |= dict.fromkeys(parts, RegionStatus.HEAD_INCOMPLETE)
    for region in parts:
        if not (labels == REGION_MAP_LABELS[region]).any():
            status[region] = RegionStatus.NOT_IN_VIEW
    return status
