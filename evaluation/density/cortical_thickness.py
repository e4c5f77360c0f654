"""Cortical thickness over the surface of a femur, from HU and mask.

Profiles are sampled along normals of the mask's surface and fitted by :mod:`cortex_profiles`. What cannot be told
from a thin cortex is taken from where it can be told (Treece et al., Med Image Anal 2010 and 2012): the scanner's blur,
from profiles across thick cortex; and the cortex's own HU, region by region, from the profiles of that region in which
the cortex is wider than the blur. The thickness is fitted in HU, so it needs no density calibration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from femur_nnunet.evaluation.density.cortex_profiles import FloatArray, fit_cortex
from femur_nnunet.landmarks.femur_landmarks import bone_volume, surface_points
from femur_nnunet.landmarks.sections import BoneVolume
from femur_nnunet.regions import REGION_MAP_LABELS, Region

# One profile for each cell of this size: about 4,000 on a femur.
CELL_MM = 2.5
OUTSIDE_MM, INSIDE_MM, STEP_MM = 3.0, 8.5, 0.5
FWHM_PER_SD = 2.0 * np.sqrt(2.0 * np.log(2.0))
# The normal is that of a surface smoothed by this much: the voxels' stairs are no anatomy.
NORMAL_SMOOTHING_MM = 1.5
# A cortex is resolved from this many full widths at half maximum of the blur on.
RESOLVED_FWHM = 1.4
LEAST_RESOLVED = 12
# Slices thicker than pixels blur profiles that run across them: beyond this blur a profile says too little.
LARGEST_BLUR_MM = 1.35
DEFAULT_BLUR_MM = 0.6
DEFAULT_CORTEX_HU = 1000.0
LEAST_PROFILES, LEAST_SHARE = 25, 0.5
# What is left of a profile after the fit, as a share of the cortex's step: the model is not what is there.
LARGEST_RESIDUAL_SHARE = 0.2
LARGEST_SHIFT_MM = 2.0


@dataclass(frozen=True)
class CortexMap:
    """Thickness at points of the surface.

    Attributes
    ----------
    points_mm : ndarray
        Shape (n, 3); x, y, z from the centre of the mask's first voxel.
    thickness_mm : ndarray
        Shape (n,); NaN where the profile could not be fitted or is too blurred.
    region : ndarray of uint8
        Shape (n,); region of each point (``REGION_MAP_LABELS``).
    blur_mm : float
        Standard deviation of the point spread in plane.
    """

    points_mm: FloatArray
    thickness_mm: FloatArray
    region: NDArray[np.uint8]
    blur_mm: float

    def mean_mm(self, label: int | None) -> float:
        """Return the mean of a region, NaN where less than half of it could be fitted.

        For ``None`` the mean of all regions by their surface: NaN where one of them has none, so that a region left
        out does not shift it.
        """
        if label is None:
            labels, counts = np.unique(self.region[self.region > 0], return_counts=True)
            means = [self.mean_mm(int(one)) for one in labels]
            return float(np.average(means, weights=counts)) if len(means) else float("nan")
        values = self.thickness_mm[self.region == label]
        known = np.isfinite(values)
        if known.sum() < LEAST_PROFILES or known.mean() < LEAST_SHARE:
            return float("nan")
        return float(values[known].mean())


def map_cortex(hounsfield_zyx: NDArray[np.generic], mask_zyx: NDArray[np.bool_], regions_zyx: NDArray[np.uint8],
               spacing_mm_zyx: tuple[float, float, float]) -> CortexMap:
    """Measure the cortex of one femur.

    Parameters
    ----------
    hounsfield_zyx, mask_zyx, regions_zyx : ndarray
        Shape (z, y, x): image in HU, femur, and its region map.
    spacing_mm_zyx : tuple of float
        Voxel spacing; slices are taken to be as thick as their spacing.
    """
    bone = bone_volume(mask_zyx, spacing_mm_zyx, (0.0, 0.0, 0.0), mirrored=False)
    surface = surface_points(bone)
    if not len(surface):
        return CortexMap(surface, np.empty(0), np.empty(0, dtype=np.uint8), np.nan)
    points = _spread(surface, mask_zyx, spacing_mm_zyx)
    inwards = _inward_normals(mask_zyx, spacing_mm_zyx, points)
    region = _at(regions_zyx, points + 1.5 * inwards, spacing_mm_zyx, order=0).astype(np.uint8)
    x_mm = np.arange(-OUTSIDE_MM, INSIDE_MM + STEP_MM / 2, STEP_MM)
    places = points[:, None, :] + x_mm[None, :, None] * inwards[:, None, :]
    profiles = _at(hounsfield_zyx, places, spacing_mm_zyx, order=1)
    weights = np.ones_like(profiles)
    # Where a profile comes out on the bone's other side its far part belongs to another cortex.
    weights[:, x_mm > 0] *= np.cumprod(bone.at(places[:, x_mm > 0]) > 0.5, axis=1)
    weights[~np.isfinite(profiles)] = 0.0
    profiles = np.where(np.isfinite(profiles), profiles, 0.0)
    long_enough = weights.sum(axis=1) * STEP_MM > OUTSIDE_MM + 3.0

    in_plane = estimate_blur(x_mm, profiles, weights, (np.abs(inwards[:, 2]) < 0.35) & long_enough)
    blur = blur_along(inwards[:, 2], in_plane, spacing_mm_zyx[0])
    usable = long_enough & (blur <= LARGEST_BLUR_MM) & (region > 0)
    thickness = np.full(len(points), np.nan)
    if usable.any():
        cortex_hu = _cortex_by_region(x_mm, profiles, weights, blur, region, usable)
        fit = fit_cortex(x_mm, profiles[usable], weights[usable], blur_mm=blur[usable], cortex_hu=cortex_hu[usable])
        step = np.maximum(fit.cortex_hu - fit.outside_hu, 1.0)
        good = (np.abs(fit.surface_mm) < LARGEST_SHIFT_MM) & (fit.residual_hu < LARGEST_RESIDUAL_SHARE * step)
        thickness[usable] = np.where(good, fit.thickness_mm, np.nan)
    return CortexMap(points, thickness, region, in_plane)


def blur_along(normal_z: FloatArray, in_plane_mm: float, slice_spacing_mm: float) -> FloatArray:
    """Return the standard deviation of the point spread in mm along normals with these z components, shape (n,).

    Across slices it is that of a slice as thick as the spacing (variance 1/12 of its square) and of the linear
    interpolation between slices (1/6); what blurs in plane was measured with the interpolation in it.
    """
    across = slice_spacing_mm ** 2 * (1 / 12 + 1 / 6)
    return np.asarray(np.sqrt(in_plane_mm ** 2 * (1 - normal_z ** 2) + across * normal_z ** 2))


def estimate_blur(x_mm: FloatArray, profiles: FloatArray, weights: FloatArray, chosen: NDArray[np.bool_]) -> float:
    """Return the standard deviation of the in-plane point spread in mm: the median of free fits to thick cortex.

    Places, profiles and weights have the shapes of :func:`~femur_nnunet.evaluation.density.cortex_profiles.fit_cortex`;
    ``chosen``, shape (profiles,), tells which of the profiles to look at.
    """
    candidates = np.flatnonzero(chosen & (profiles.max(axis=1, initial=-np.inf) > 500.0))
    # A few hundred profiles give the median to a hundredth of a millimetre.
    candidates = candidates[:: max(1, len(candidates) // 600)]
    if len(candidates) < LEAST_PROFILES:
        return DEFAULT_BLUR_MM
    some = profiles[candidates]
    fit = fit_cortex(x_mm, some, weights[candidates], blur_mm=np.full(len(some), DEFAULT_BLUR_MM),
                     cortex_hu=some.max(axis=1), free_cortex=True, free_blur=True)
    thick = (fit.thickness_mm > 2.5) & (fit.thickness_mm < 9.0) & (np.abs(fit.surface_mm) < LARGEST_SHIFT_MM) & (
        fit.residual_hu < 0.1 * (fit.cortex_hu - fit.outside_hu))
    if thick.sum() < LEAST_PROFILES:
        return DEFAULT_BLUR_MM
    return float(np.clip(np.median(fit.blur_mm[thick]), 0.3, 1.5))


def _cortex_by_region(x_mm: FloatArray, profiles: FloatArray, weights: FloatArray, blur: FloatArray,
                      region: NDArray[np.uint8], usable: NDArray[np.bool_]) -> FloatArray:
    """Return the HU of the cortex at every point, a value a region: its median where the cortex is resolved.

    A neck without enough resolved profiles is put midway between trochanteric region and shaft. The plate under the
    head's cartilage is too thin to be resolved anywhere: the head takes the neck's value.
    """
    some = profiles[usable]
    fit = fit_cortex(x_mm, some, weights[usable], blur_mm=blur[usable], cortex_hu=np.maximum(some.max(axis=1), 300.0),
                     free_cortex=True)
    step = fit.cortex_hu - fit.outside_hu
    resolved = (fit.thickness_mm > RESOLVED_FWHM * FWHM_PER_SD * blur[usable]) & (fit.thickness_mm < 10.0) & (
        np.abs(fit.surface_mm) < LARGEST_SHIFT_MM) & (fit.residual_hu < LARGEST_RESIDUAL_SHARE * step) & (step > 200.0)
    overall = float(np.median(fit.cortex_hu[resolved])) if resolved.sum() >= LEAST_PROFILES else DEFAULT_CORTEX_HU

    def typical(which: Region, otherwise: float) -> float:
        own = resolved & (region[usable] == REGION_MAP_LABELS[which])
        return float(np.median(fit.cortex_hu[own])) if own.sum() >= LEAST_RESOLVED else otherwise

    of_region = {which: typical(which, overall) for which in (Region.SHAFT, Region.TROCHANTERIC)}
    between = float(np.mean(list(of_region.values())))
    own = typical(Region.NECK, between)
    # Below the trochanter's porous cortex it was the spongy bone under a thin cortex that was fitted.
    of_region[Region.NECK] = own if own >= of_region[Region.TROCHANTERIC] else between
    of_region[Region.HEAD] = of_region[Region.NECK]
    result = np.full(len(profiles), overall)
    for which, cortex_hu in of_region.items():
        result[region == REGION_MAP_LABELS[which]] = cortex_hu
    return result


def _spread(points: FloatArray, mask: NDArray[np.bool_], spacing: tuple[float, float, float]) -> FloatArray:
    """Return one point for each cell of space, none near the planes where the image ends."""
    top = (mask.shape[0] - 1) * spacing[0]
    inner = points[(points[:, 2] > 0.5 * spacing[0] + 1.0) & (points[:, 2] < top - 0.5 * spacing[0])]
    cells = np.floor(inner / CELL_MM).astype(np.int64)
    _, first = np.unique(cells, axis=0, return_index=True)
    return inner[np.sort(first)]


def _inward_normals(mask: NDArray[np.bool_], spacing: tuple[float, float, float], points: FloatArray) -> FloatArray:
    smooth: BoneVolume = bone_volume(mask, spacing, (0.0, 0.0, 0.0), mirrored=False, smoothing_mm=NORMAL_SMOOTHING_MM)
    where = np.moveaxis((points - smooth.origin_mm_xyz) / smooth.spacing_mm_xyz, -1, 0)[::-1]
    slopes = [ndimage.map_coordinates(slope, where, order=1, mode="nearest")
              for slope in np.gradient(smooth.share, *spacing)]
    normals = np.column_stack(slopes[::-1]).astype(np.float64)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)


def _at(volume: NDArray[np.generic], points_mm: FloatArray, spacing: tuple[float, float, float], *,
        order: int) -> FloatArray:
    where = np.moveaxis(points_mm / np.asarray(spacing[::-1]), -1, 0)[::-1]
    values = np.asarray(volume, dtype=np.float32)
    outside = 0.0 if order == 0 else np.nan
    return np.asarray(ndimage.map_coordinates(values, where, order=order, mode="constant", cval=outside),
                      dtype=np.float64)
