"""Everything soft: trunk and thighs, skin, fat, muscle with fatty seams, pelvic organs, vessels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from femur_nnunet.phantom.anatomy import BodyAnatomy
from femur_nnunet.phantom.shapes import (
    Coordinates,
    FloatArray,
    capsule,
    coverage,
    ellipsoid,
    smooth_intersection,
    smooth_union,
)

AIR_HU, GAS_HU, SKIN_HU, BLADDER_HU, ORGAN_HU, BLOOD_HU = -1000.0, -900.0, 20.0, 6.0, 32.0, 44.0
CENTRE_BEHIND_HEADS_MM = 5.0
PERINEUM_BELOW_MM = 92.0


@dataclass(frozen=True)
class SeamField:
    """A smooth random field whose zero surfaces are the fatty seams between muscles.

    It lies on a lattice along the axes of the scan, moved with the body but not turned with it: the few
    degrees do not matter for a random field, and interpolation by axes is many times faster.

    Attributes
    ----------
    planes : ndarray
        Shape (lattice z, y, x): already interpolated to the scan's rows and columns.
    corner_mm, step_mm : float
        Position of the first plane along z in the body, and the distance of planes.
    """

    planes: FloatArray
    corner_mm: float
    step_mm: float

    @classmethod
    def draw(cls, rng: np.random.Generator, y_mm: NDArray[np.float64],
             x_mm: NDArray[np.float64]) -> SeamField:
        """Draw a field and interpolate it to these rows and columns (body frame, mm)."""
        steps, corners = (22.0, 11.0, 11.0), (-260.0, -180.0, -260.0)
        shape = tuple(int(-2 * low / width) + 4 for low, width in zip(corners, steps, strict=True))
        smooth = ndimage.gaussian_filter(rng.standard_normal(shape), 1.5, mode="wrap")
        lattice = (smooth / smooth.std()).astype(np.float32)
        lattice = _interpolate(lattice, 2, (x_mm - corners[2]) / steps[2])
        return cls(_interpolate(lattice, 1, (y_mm - corners[1]) / steps[1]), corners[0], steps[0])

    def at(self, z_mm: NDArray[np.float64], rows: slice, columns: slice) -> FloatArray:
        """Return the field at these heights (body frame, mm) in a part of the rows and columns."""
        return _interpolate(self.planes[:, rows, columns], 0, (z_mm - self.corner_mm) / self.step_mm)


def _interpolate(values: FloatArray, axis: int, where: NDArray[np.float64]) -> FloatArray:
    """Interpolate linearly along one axis at fractional indices; the ends are held."""
    last = values.shape[axis] - 1
    clipped = np.clip(where, 0, last)
    low = np.minimum(clipped.astype(np.intp), last - 1)
    share = (clipped - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
    return np.take(values, low, axis=axis) * (1 - share) + np.take(values, low + 1, axis=axis) * share


def body_field(at: Coordinates, body: BodyAnatomy, head_distance_mm: float) -> FloatArray:
    """Return the field of the skin's outer surface in the pelvis frame: a trunk on two thighs."""
    behind = at.y - np.float32(CENTRE_BEHIND_HEADS_MM)
    v = behind / np.float32(body.half_depth_mm)
    # A lying body is widest behind the middle and narrows towards the belly; the superellipse gives it
    # flanks and a back that are flatter than an ellipse's.
    narrowing = 1 + np.float32(0.30) * np.clip(-v - np.float32(0.1), 0, 1) ** 2
    u = np.abs(at.x) / np.float32(body.half_width_mm) * narrowing
    norm = (u ** 2.4 + np.abs(v) ** 2.4) ** np.float32(1 / 2.4)
    trunk = (norm - 1) * np.float32(0.5 * (body.half_width_mm + body.half_depth_mm)) * np.float32(0.8)
    trunk = smooth_intersection(trunk, np.float32(-PERINEUM_BELOW_MM) - at.z, 40.0)
    across = body.thigh_radius_mm
    centre = max(head_distance_mm / 2 + 10.0, across + 2.0)
    thighs = np.sqrt((np.abs(at.x) - np.float32(centre)) ** 2
                     + (behind * np.float32(0.93)) ** 2) - np.float32(across)
    thighs = smooth_intersection(thighs, at.z + np.float32(20.0), 40.0)
    return smooth_union(trunk, thighs, 30.0)


def soft_tissue_hu(at: Coordinates, field: FloatArray, body: BodyAnatomy, *, head_distance_mm: float,
                   seams: tuple[FloatArray, FloatArray], fat_hu: float, voxel_mm: float) -> FloatArray:
    """Return the HU of air, skin, fat, muscle and pelvic organs at every point.

    Parameters
    ----------
    at : Coordinates
        Points in the body frame.
    field : ndarray
        :func:`body_field` at these points.
    seams : tuple of ndarray
        Two :class:`SeamField` at these points.
    fat_hu : float
        Fat at the scan's tube voltage.
    voxel_mm : float
        Width over which borders are blended (partial volume).
    """
    hu = np.full(field.shape, AIR_HU, dtype=np.float32)
    _blend(hu, coverage(field, voxel_mm), SKIN_HU)
    _blend(hu, coverage(field + np.float32(body.skin_mm), voxel_mm), fat_hu)
    # More fat at the back and the flanks than in front of the thighs.
    layer = np.float32(body.fat_mm) * (
        np.float32(0.85) + np.float32(0.35) * np.clip(at.y / np.float32(body.half_depth_mm), -1, 1))
    muscle = coverage(field + layer + np.float32(body.skin_mm), 2.0 * voxel_mm)
    first, second = seams
    width = np.float32(0.06 + 0.14 * body.fat_infiltration)
    seam = np.minimum(np.abs(first), np.abs(second) + np.float32(0.05)) / width
    # Seams fade where the fields are steep, and none is pure fat: it is thinner than a voxel there.
    muscle *= np.clip(np.float32(0.15) + np.float32(0.85) * seam, 0, 1)
    _blend(hu, muscle, body.muscle_hu)
    hu += muscle * (first * np.float32(3.0))
    half = head_distance_mm / 2
    near_y = np.abs(at.y[0, :, 0] - np.float32(8)) < 100
    near_x = np.abs(at.x[0, 0, :]) < half + 30
    if near_y.any() and near_x.any():
        rows, columns = _span(near_y), _span(near_x)
        part = Coordinates(at.x[:, rows, columns], at.y[:, rows, columns], at.z[:, rows, columns])
        _add_organs(hu[:, rows, columns], part, body, half, fat_hu, voxel_mm)
    return hu


def _span(chosen: NDArray[np.bool_]) -> slice:
    indices = np.flatnonzero(chosen)
    return slice(int(indices[0]), int(indices[-1]) + 1)


def _add_organs(hu: FloatArray, at: Coordinates, body: BodyAnatomy, half_mm: float, fat_hu: float,
                voxel_mm: float) -> None:
    """Blend in the fat of the pelvic cavity, bladder, bowel, rectum with or without gas, and vessels.

    ``half_mm`` is half the distance of the head centres.
    """
    cavity = ellipsoid(at, (0, 8, 38), (half_mm - 42, 66, 64))
    _blend(hu, coverage(cavity, 3 * voxel_mm), fat_hu)
    radius = body.bladder_radius_mm
    bladder = ellipsoid(at, (0, -24, 12), (radius, radius * 0.8, radius * 0.8))
    _blend(hu, coverage(bladder - np.float32(3), voxel_mm), ORGAN_HU)
    _blend(hu, coverage(bladder, voxel_mm), BLADDER_HU)
    bowel = np.minimum(ellipsoid(at, (-24, -8, 66), (24, 30, 20)), ellipsoid(at, (24, -18, 72), (22, 28, 22)))
    _blend(hu, coverage(bowel, voxel_mm), ORGAN_HU)
    rectum = capsule(at, (3, 62, -45), (-4, 66, 80), 15, 17)
    _blend(hu, coverage(rectum, voxel_mm), ORGAN_HU)
    if body.rectal_gas:
        gas = ellipsoid(at, (-1, 61, 20), (8, 7, 26))
        _blend(hu, coverage(gas, voxel_mm), GAS_HU)
    # Femoral vessels lie in a bed of fat in front of the hip on each side.
    mirrored = Coordinates(np.abs(at.x), at.y, at.z)
    bed = capsule(mirrored, (half_mm - 12, -46, 80), (half_mm - 2, -52, -150), 9, 9)
    _blend(hu, np.float32(0.8) * coverage(bed, 8 * voxel_mm), fat_hu)
    for shift in (-6.5, 6.5):
        vessel = capsule(mirrored, (half_mm - 12 + shift, -46, 80), (half_mm - 2 + shift, -52, -150),
                         5.0, 4.5)
        _blend(hu, coverage(vessel, voxel_mm), BLOOD_HU)


def _blend(hu: FloatArray, share: FloatArray, value: float) -> None:
    hu += share * (np.float32(value) - hu)
