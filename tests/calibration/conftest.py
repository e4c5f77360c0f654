from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from femur_nnunet.phantom.anatomy import draw_participant
from femur_nnunet.phantom.calibration import DensityUnit
from femur_nnunet.phantom.pose import draw_pose
from femur_nnunet.phantom.render import RenderedScan, render_scan
from femur_nnunet.phantom.scan_grid import ScanSize
from femur_nnunet.phantom.tiers import load_tiers

# As "tiny", but 90 mm long: rods look the same in every slice.
SHORT = ScanSize(132, 96, 3.0, 3.0, 90.0)


@pytest.fixture(scope="session")
def rendered() -> Callable[[str, DensityUnit], RenderedScan]:
    """Return a function that renders a short scan of a scanner tier and a rods' unit, once a session."""
    @cache
    def render(tier: str, unit: DensityUnit) -> RenderedScan:
        tiers, rng = load_tiers(scanner=tier), np.random.default_rng(103)
        participant = draw_participant("F", tiers.population, rng)
        return render_scan(participant, draw_pose(tiers.positioning, rng), tiers.scanner, unit=unit, size=SHORT,
                           noise_seed=104)
    return render
