from __future__ import annotations

import numpy as np
import pytest

from femur_nnunet.phantom.foreign_bones import BoneShell, Ribs
from femur_nnunet.phantom.shapes import Coordinates

RIBS = Ribs((5.0, -2.0, 100.0), 150.0, 100.0, pairs=4, step_mm=28.0, drop_mm=40.0, radius_mm=6.0, cortex_hu=800.0,
            inner_hu=120.0)


def grid(low: list[float], high: list[float], step: float) -> Coordinates:
    x, y, z = (np.arange(start + step / 2, end, step, dtype=np.float32) for start, end in zip(low, high, strict=True))
    return Coordinates(x[None, None, :], y[None, :, None], z[:, None, None])


def test_a_shells_volumes_are_those_of_two_ellipsoids() -> None:
    shell = BoneShell((10.0, -5.0, 120.0), (30.0, 30.0, 30.0), 4.0, 900.0, 35.0)
    (outer, cortex_hu), (inner, inner_hu) = shell.parts(grid([-25, -40, 85], [45, 30, 155], 1.0))
    assert (cortex_hu, inner_hu) == (900.0, 35.0)
    assert (outer < 0).sum() == pytest.approx(4 / 3 * np.pi * 30**3, rel=0.01)
    assert (inner < 0).sum() == pytest.approx(4 / 3 * np.pi * 26**3, rel=0.01)


@pytest.mark.parametrize("bone", [BoneShell((10.0, -5.0, 120.0), (30.0, 20.0, 25.0), 4.0, 900.0, 35.0), RIBS])
def test_nothing_lies_outside_the_box(bone: BoneShell | Ribs) -> None:
    low, high = bone.box_mm
    at = grid(list(low - 30), list(high + 30), 3.0)
    inside = bone.parts(at)[0][0] < 0
    for axis, (values, lowest, highest) in enumerate(zip((at.z, at.y, at.x), low[::-1], high[::-1], strict=True)):
        found = values.ravel()[np.nonzero(inside)[axis]]
        assert found.min() > lowest
        assert found.max() < highest


def test_ribs_are_pairs_of_the_asked_radius_and_distance() -> None:
    """In the plane of the flanks a rib is cut across: discs one step apart, on both sides alike."""
    y = np.float32(RIBS.lowest_mm[1])
    x, z = np.arange(-170, 180, 0.5, dtype=np.float32), np.arange(40, 200, 0.5, dtype=np.float32)
    field = RIBS.parts(Coordinates(x[None, None, :], np.full((1, 1, 1), y), z[:, None, None]))[0][0][:, 0]
    left, right = (field[:, x > 5.0] < 0), (field[:, x < 5.0] < 0)
    assert left.sum() == pytest.approx(right.sum(), rel=0.02)
    rows = np.nonzero(left.any(axis=1))[0]
    pieces = np.split(rows, np.nonzero(np.diff(rows) > 1)[0] + 1)
    assert len(pieces) == RIBS.pairs
    middles = [z[piece].mean() for piece in pieces]
    assert np.diff(middles) == pytest.approx([RIBS.step_mm] * 3, abs=0.6)
    # A rod that slopes looks a little longer along z than it is thick.
    assert 11.0 < len(pieces[0]) * 0.5 < 13.5


def test_the_front_end_lies_lower_than_the_back_end() -> None:
    low, high = RIBS.box_mm
    at = grid(list(low), list(high), 2.0)
    inside = np.broadcast_to(RIBS.parts(at)[0][0] < 0, (at.z.size, at.y.size, at.x.size))
    def lowest(rows: np.ndarray) -> float:
        return float(at.z.ravel()[inside[:, rows].any(axis=(1, 2))].min())
    y = at.y.ravel() - RIBS.lowest_mm[1]
    assert lowest(y > 85.0) - lowest(y < -60.0) > 0.7 * RIBS.drop_mm
