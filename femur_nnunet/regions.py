"""Names of the regions of the proximal femur: one enum for the synthetic kit, evaluation and FE export."""

from __future__ import annotations

from enum import Enum


class Region(str, Enum):
    """Regions in which volume and density are reported."""

    TOTAL = "total"
    HEAD = "head"
    NECK = "neck"
    TROCHANTERIC = "trochanteric"
    SHAFT = "shaft"


REGION_MAP_LABELS: dict[Region, int] = {Region.HEAD: 1, Region.NECK: 2, Region.TROCHANTERIC: 3, Region.SHAFT: 4}
"""Values of a region map; 0 is background and ``total`` is every value above it."""

REFERENCE_HEAD_RADIUS_MM = 22.5
"""Lengths below hold for this radius of the head and scale with it."""
HEAD_ENDS_AT_RADII = 0.85
"""Share of the head's radius along the neck axis where the head ends and the neck begins."""
NECK_ENDS_BEFORE_SHAFT_AXIS_MM = 17.0
"""Distance along the neck axis between the end of the neck and the shaft axis."""
SHAFT_BEGINS_BELOW_MM = 72.0
"""Distance along the shaft axis between the head's centre and the shaft's beginning, under the lesser trochanter."""
