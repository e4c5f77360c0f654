"""Hips rendered by the kit, each once a test session."""

from __future__ import annotations

from functools import cache

import numpy as np

from femur_nnunet.phantom.anatomy import SideName, draw_participant
from femur_nnunet.phantom.one_hip import HipScan, render_hip
from femur_nnunet.phantom.pose import draw_pose
from femur_nnunet.phantom.tiers import TierName, load_tiers


@cache
def hip_scan(seed: int, tier: TierName, side: SideName, pixel_mm: float, slice_spacing_mm: float,
             extent_mm: float = 185.0, unit: str = "K2HPO4") -> HipScan:
    """One hip of a drawn person; odd seeds are women. Tests must not change its arrays."""
    tiers = load_tiers(scanner=tier, population=tier, positioning=tier)
    rng = np.random.default_rng(seed)
    person = draw_participant("F" if seed % 2 else "M", tiers.population, rng)
    scan = render_hip(person, draw_pose(tiers.positioning, rng), tiers.scanner, side, pixel_mm=pixel_mm,
                      slice_spacing_mm=slice_spacing_mm, extent_mm=extent_mm, unit=unit, noise_seed=seed)
    for array in (scan.hu, scan.mask, scan.regions):
        array.flags.writeable = False
    return scan
