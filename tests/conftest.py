"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from femur_nnunet.phantom.render import RenderedScan

# Read once, when nnunetv2 is imported: more workers than cores only cost start-up time.
os.environ.setdefault("nnUNet_def_n_proc", "1")


@pytest.fixture(scope="session")
def planned_toy_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root folder with the toy dataset converted, planned and preprocessed; tests must not change it."""
    from toy_dataset import write_toy_dataset

    from femur_nnunet.env_command import nnunet_environment
    from femur_nnunet.planners.plan import make_plan
    from femur_nnunet.planners.plan_options import PlanOptions

    root = tmp_path_factory.mktemp("toy")
    write_toy_dataset(root / "nnUNet_raw")
    before = dict(os.environ)
    os.environ.update(nnunet_environment(root))
    try:
        make_plan(PlanOptions(501, preset="cpu", epochs=2, jobs=1, quiet=True))
    finally:
        os.environ.clear()
        os.environ.update(before)
    return root


@pytest.fixture(scope="session")
def hips_scan() -> RenderedScan:
    """A rendered scan of both hips, 3 mm."""
    import numpy as np

    from femur_nnunet.phantom.anatomy import draw_participant
    from femur_nnunet.phantom.pose import draw_pose
    from femur_nnunet.phantom.render import render_scan
    from femur_nnunet.phantom.scan_grid import SCAN_SIZES
    from femur_nnunet.phantom.tiers import load_tiers

    tiers, rng = load_tiers(), np.random.default_rng(108)
    participant = draw_participant("F", tiers.population, rng)
    return render_scan(participant, draw_pose(tiers.positioning, rng), tiers.scanner, size=SCAN_SIZES["tiny"],
                       noise_seed=109)
