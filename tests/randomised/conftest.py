from __future__ import annotations

import numpy as np
import pytest
from kit_prepared_map import kit_prepared_map

from femur_nnunet.phantom.anatomy import draw_participant
from femur_nnunet.phantom.map_preparation import PreparedMap
from femur_nnunet.phantom.tiers import load_tiers


@pytest.fixture(scope="session")
def kit_map() -> PreparedMap:
    return kit_prepared_map(draw_participant("M", load_tiers().population, np.random.default_rng(140)))
