from __future__ import annotations

import numpy as np
import pytest

from femur_nnunet.phantom.underlay import FreeUnderlay, Rod, Slab, Table

X = np.arange(-300, 300, 1.0, dtype=np.float32)[None, :]
Y = np.arange(0, 200, 1.0, dtype=np.float32)[:, None]


def at(section: np.ndarray, x: float, y: float) -> float:
    return float(section[int(y), int(x + 300)])


def test_nothing_underneath_covers_nothing() -> None:
    _, share = FreeUnderlay("HA", 50.0).section_hu(X, Y, 1.2, 1.0)
    assert not share.any()


def test_rods_lie_in_their_pad_and_read_their_density() -> None:
    lying = FreeUnderlay("K2HPO4", 50.0, slabs=(Slab((20.0, 70.0), 60.0, 15.0, 8.0),),
                         rods=(Rod((20.0, 70.0), 9.0, 100.0), Rod((60.0, 70.0), 9.0, -50.0)))
    hu, share = lying.section_hu(X, Y, 1.35, 1.0)
    assert at(hu, 20, 70) == pytest.approx(135.0)
    assert at(hu, 60, 70) == pytest.approx(-67.5)
    assert at(hu, 40, 70) == pytest.approx(8.0)
    # The rod beyond the pad's edge stands in it all the same; outside both there is nothing.
    assert at(share, 75, 70) == 1
    assert at(share, 95, 70) == 0


def test_a_table_is_a_shell_around_foam_whose_edges_rise() -> None:
    hu, share = FreeUnderlay("HA", 50.0, Table((0.0, 100.0), 200.0, 30.0, 3.0, 20.0, -100.0, -950.0)).section_hu(
        X, Y, 1.0, 1.0)
    assert at(hu, 0, 101) == pytest.approx(-100.0)
    assert at(hu, 0, 115) == pytest.approx(-950.0)
    assert at(share, 0, 95) == 0
    # Half way to the edge a quarter of the rise, near it almost all.
    assert at(share, 100, 96) == 1
    assert at(share, 195, 82) == 1
    assert at(share, 220, 100) == 0


def test_the_hu_beside_a_border_is_that_of_what_lies_there_not_of_air() -> None:
    hu, share = FreeUnderlay("HA", 50.0, slabs=(Slab((0.0, 60.0), 50.5, 10.5, -100.0),)).section_hu(X, Y, 1.0, 4.0)
    edge = (share > 0.05) & (share < 0.95)
    assert edge.any()
    assert np.allclose(hu[edge], -100.0, atol=1e-3)
