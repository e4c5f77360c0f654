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
