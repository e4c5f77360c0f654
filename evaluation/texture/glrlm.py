"""Grey level run length matrix, GLRLM (IBSI manual, section 3.7, TP0I): runs along 13 directions in 3D."""

from __future__ import annotations

import numpy as np

from femur_nnunet.evaluation.texture.directions import Aggregation, LevelField
from femur_nnunet.evaluation.texture.emphasis import emphasis_features
from femur_nnunet.evaluation.texture.feature import FeatureValues, catalogue

FAMILY = "glrlm"
_CODES = {
    "short_runs_emphasis": "22OV", "long_runs_emphasis": "W4KF", "low_grey_level_run_emphasis": "V3SW",
    "high_grey_level_run_emphasis": "G3QZ", "short_run_low_grey_level_emphasis": "HTZT",
    "short_run_high_grey_level_emphasis": "GD3A", "long_run_low_grey_level_emphasis": "IVPO",
    "long_run_high_grey_level_emphasis": "3KUM", "grey_level_non_uniformity": "R5YN",
    "normalised_grey_level_non_uniformity": "OVBL", "run_length_non_uniformity": "W92Y",
    "normalised_run_length_non_uniformity": "IC23", "run_percentage": "9ZK5", "grey_level_variance": "8CE5",
    "run_length_variance": "SXLW", "run_entropy": "HJ9O"}
FEATURES = catalogue(FAMILY, _CODES)


def glrlm(field: LevelField, aggregation: Aggregation = Aggregation.MERGED) -> FeatureValues:
    """Return the 16 features of a region."""
    runs = list(field.runs())
    if aggregation is Aggregation.MERGED:
        levels, lengths = (np.concatenate(parts) for parts in zip(*runs, strict=True))
        values = emphasis_features(levels, lengths, len(runs) * field.voxels.size)
    else:
        by_direction = [emphasis_features(levels, lengths, field.voxels.size) for levels, lengths in runs]
        values = [float(mean) for mean in np.mean(by_direction, axis=0)]
    return dict(zip(_CODES, values, strict=True))
