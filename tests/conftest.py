"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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
