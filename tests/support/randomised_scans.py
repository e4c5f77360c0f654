"""A rendering that leaves out what hides its bones, coarse and short enough for a test."""

from __future__ import annotations

from typing import Any

from femur_nnunet.phantom.map_preparation import PreparedMap
from femur_nnunet.randomised.rendering import Rendering, render_randomised

COARSE_MM = 4.0
# A whole pelvis without what hides its bones, short enough for a test.
PLAIN: dict[str, Any] = {"field": "pelvis", "noise_hu": 3.0, "metal": False, "top_above_heads_mm": 40.0,
                         "bottom_below_heads_mm": 110.0, "resampled_copy": False, "slice_spacing_mm": 3.0,
                         "field_of_view_factor": 1.4, "cortical_density_factor": 1.0, "cortex_factor": 1.2}


def rendered(kit_map: PreparedMap, number: int = 1, **fixed: Any) -> Rendering:
    return render_randomised(kit_map, seed=140, number=number, finest_mm=COARSE_MM, fixed={**PLAIN, **fixed})
