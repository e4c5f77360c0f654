from __future__ import annotations

import numpy as np
import pytest

from femur_nnunet.phantom.anatomy import draw_participant
from femur_nnunet.phantom.pose import draw_pose
from femur_nnunet.phantom.render import RenderedScan, render_scan
from femur_nnunet.phantom.scan_grid import SCAN_SIZES
from femur_nnunet.phantom.tiers import load_tiers


@pytest.fixture(scope="session")
def hips_scan() -> RenderedScan:
    """A rendered scan of both hips, 3 mm."""
    tiers, rng = load_tiers(), np.random.default_rng(108)
    participant = draw_participant("F", tiers.population, rng)
    return render_scan(participant, draw_pose(tiers.positioning, rng), tiers.scanner, size=SCAN_SIZES["tiny"],
                       noise_seed=109)
