"""Where the third-party scans lie, and how a test says that they are absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_BESIDE_THE_REPOSITORY = Path(__file__).resolve().parents[3] / "shared" / "real"


def real_data(*parts: str) -> Path:
    """Return a path in the folder of real scans (FEMUR_REAL_DATA names another one), or skip the test."""
    path = Path(os.environ.get("FEMUR_REAL_DATA", _BESIDE_THE_REPOSITORY)).joinpath(*parts)
    if not path.exists():
        pytest.skip("the folder of real scans is absent (set FEMUR_REAL_DATA)")
    return path
