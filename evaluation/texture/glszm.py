"""Grey level size zone matrix, GLSZM (IBSI manual, section 3.8, 9SAK): zones of 26 neighbours in 3D (KOBO)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label

from femur_nnunet.evaluation.texture.emphasis import emphasis_features
from femur_nnunet.evaluation.texture.feature import FeatureValues, catalogue

FAMILY = "glszm"
_CODES = {
    "small_zone_emphasis": "5QRC", "large_zone_emphasis": "48P8", "low_grey_level_zone_emphasis": "XMSY",
    "high_grey_level_zone_emphasis": "5GN9", "small_zone_low_grey_level_emphasis": "5RAI",
    "small_zone_high_grey_level_emphasis": "HW1V", "large_zone_low_grey_level_emphasis": "YH51",
    "large_zone_high_grey_level_emphasis": "J17V", "grey_level_non_uniformity": "JNSA",
    "normalised_grey_level_non_uniformity": "Y1RO", "zone_size_non_uniformity": "4JP3",
    "normalised_zone_size_non_uniformity": "VB3A", "zone_percentage": "P30P", "grey_level_variance": "BYLV",
    "zone_size_variance": "3NSA", "zone_size_entropy": "GU8N"}
FEATURES = catalogue(FAMILY, _CODES)


def glszm(levels_zyx: NDArray[np.integer]) -> FeatureValues:
    """Return the 16 features of a region.

    Parameters
    ----------
    levels_zyx : ndarray of integer, shape (z, y, x)
        Grey levels, 0 outside the region; at least one voxel inside.
    """
    # label() links neighbours of equal value, which is what a zone is.
    zones = label(levels_zyx, background=0, connectivity=3)
    inside = zones > 0
    sizes = np.bincount(zones[inside])[1:]
    level_of_zone = np.zeros(sizes.size + 1, dtype=np.int64)
    level_of_zone[zones[inside]] = levels_zyx[inside]
    values = emphasis_features(level_of_zone[1:], sizes, int(sizes.sum()))
    return dict(zip(_CODES, values, strict=True))
