"""All features of one region of one scan, each with a status where it has no value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.evaluation.texture import (
    glcm,
    glrlm,
    glszm,
    intensity_histogram,
    intensity_statistics,
    morphology,
)
from femur_nnunet.evaluation.texture.directions import LevelField
from femur_nnunet.evaluation.texture.discretisation import levels_of_fixed_number, levels_of_fixed_width
from femur_nnunet.evaluation.texture.feature import Feature, FeatureValues
from femur_nnunet.evaluation.texture.options import TextureOptions
from femur_nnunet.evaluation.texture.resampling import bounds_of, interpolate, isotropic_box

FEATURES: tuple[Feature, ...] = (*intensity_statistics.FEATURES, *intensity_histogram.FEATURES, *morphology.FEATURES,
                                 *glcm.FEATURES, *glrlm.FEATURES, *glszm.FEATURES)
_INSIDE = 0.5 - 1e-9
"""Share of a new voxel that belongs to the mask; the rest is rounding, which must not tell left from right."""


class TextureStatus(str, Enum):
    """Why a value of radiomics.csv is there or not."""

    OK = "ok"
    UNDEFINED = "undefined"
    MISSED = "missed"
    NO_REFERENCE = "no_reference"
    LOST_IN_RESAMPLING = "lost_in_resampling"
    IMAGE_MISSING = "image_missing"
    IMAGE_UNREADABLE = "image_unreadable"
    IMAGE_GEOMETRY_MISMATCH = "image_geometry_mismatch"
    IMAGE_HAS_NAN = "image_has_nan"
    OUT_OF_RANGE = "out_of_range"


@dataclass(frozen=True)
class FeatureValue:
    """A feature with its value; NaN where the status says why there is none."""

    feature: Feature
    value: float
    status: TextureStatus


def without_value(status: TextureStatus) -> list[FeatureValue]:
    """Return every feature without a value, for the reason given."""
    return [FeatureValue(feature, math.nan, status) for feature in FEATURES]


def measure_radiomics(mask_zyx: NDArray[np.bool_], image_hu_zyx: NDArray[np.number] | None,
                      spacing_mm_zyx: tuple[float, float, float], options: TextureOptions | None = None, *,
                      image_problem: TextureStatus = TextureStatus.IMAGE_MISSING) -> list[FeatureValue]:
    """Return every feature of a mask in a scan.

    Parameters
    ----------
    mask_zyx : ndarray of bool, shape (z, y, x)
        The region, at least one voxel.
    image_hu_zyx : ndarray, shape (z, y, x), or None
        HU on the same grid. Without it there are only the features of the shape.
    spacing_mm_zyx : tuple of float
        Distance of voxel centres.
    options : TextureOptions, optional
        How texture is measured.
    image_problem : TextureStatus
        Status of the other features where there is no image.
    """
    options = options or TextureOptions()
    mask, image, spacing = _on_texture_grid(mask_zyx, image_hu_zyx, spacing_mm_zyx, options.spacing_mm)
    if not mask.any():
        return without_value(TextureStatus.LOST_IN_RESAMPLING)
    values = {morphology.FAMILY: morphology.shape_features(mask, spacing)}
    lacking = image_problem
    if image is not None:
        lacking = _add_intensity_families(values, mask, image, spacing, options)
    return [_valued(feature, values, lacking) for feature in FEATURES]


def _on_texture_grid(mask: NDArray[np.bool_], image: NDArray[np.number] | None,
                     spacing_mm_zyx: tuple[float, float, float], new_spacing_mm: float | None,
                     ) -> tuple[NDArray[np.bool_], NDArray[np.float64] | None, tuple[float, float, float]]:
    """Return mask and image in the box of the mask, interpolated where asked for; HU are rounded then, as IBSI does."""
    bounds = bounds_of(mask)
    if new_spacing_mm is None:
        z, y, x = (slice(first, last + 1) for first, last in bounds)
        return mask[z, y, x], None if image is None else image[z, y, x].astype(np.float64), spacing_mm_zyx
    axes = isotropic_box(mask.shape, spacing_mm_zyx, new_spacing_mm, bounds)
    # Two roundings, so that a half that is one only up to the last bits goes the same way in a mirrored scan.
    resampled = None if image is None else np.rint(np.round(interpolate(image, axes), 6))
    return interpolate(mask, axes) >= _INSIDE, resampled, (new_spacing_mm, new_spacing_mm, new_spacing_mm)


def _add_intensity_families(values: dict[str, FeatureValues], mask: NDArray[np.bool_], image: NDArray[np.float64],
                            spacing_mm_zyx: tuple[float, float, float], options: TextureOptions) -> TextureStatus:
    """Add the families that need intensities; return the status of those that could not be computed."""
    if not np.isfinite(image[mask]).all():
        return TextureStatus.IMAGE_HAS_NAN
    counted = mask & (image >= options.lowest_hu) & (image <= options.highest_hu)
    if not counted.any():
        return TextureStatus.OUT_OF_RANGE
    hu = image[counted]
    levels = np.zeros(mask.shape, dtype=np.int16)
    levels[counted] = (levels_of_fixed_number(hu, options.bin_number) if options.bin_number
                       else levels_of_fixed_width(hu, options.bin_width_hu, options.lowest_hu))
    field = LevelField.of(levels)
    shape = values[morphology.FAMILY]
    shape.update(morphology.intensity_shape_features(mask, counted, image, spacing_mm_zyx, shape["volume_mesh"]))
    values.update({
        intensity_statistics.FAMILY: intensity_statistics.intensity_statistics(hu),
        intensity_histogram.FAMILY: intensity_histogram.intensity_histogram(levels[counted]),
        glcm.FAMILY: glcm.glcm(field, options.aggregation), glrlm.FAMILY: glrlm.glrlm(field, options.aggregation),
        glszm.FAMILY: glszm.glszm(levels)})
    return TextureStatus.OK


def _valued(feature: Feature, values: dict[str, FeatureValues], lacking: TextureStatus) -> FeatureValue:
    value = values.get(feature.family, {}).get(feature.name)
    if value is None:
        return FeatureValue(feature, math.nan, lacking)
    if not math.isfinite(value):
        return FeatureValue(feature, math.nan, TextureStatus.UNDEFINED)
    return FeatureValue(feature, value, TextureStatus.OK)
