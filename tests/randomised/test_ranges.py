from __future__ import annotations

import numpy as np
import pytest

from femur_nnunet.randomised.ranges import Drawer, Range, load_ranges

RANGES = load_ranges()


@pytest.mark.parametrize("name", sorted(RANGES))
def test_every_range_has_a_reason_and_is_drawn_over_its_whole_width(name: str) -> None:
    wanted = RANGES[name]
    rng = np.random.default_rng(3)
    drawn = [wanted.draw(rng) for _ in range(400)]
    assert len(wanted.why) > 10
    assert all(wanted.holds(value) for value in drawn)
    if wanted.kind in ("uniform", "log"):
        assert wanted.low < wanted.high
        # Of 400 even draws one lies in the outer tenth on each side, but for a chance of 1e-18.
        at = np.interp(drawn, [wanted.low, wanted.high], [0, 1]) if wanted.kind == "uniform" else np.interp(
            np.log(drawn), np.log([wanted.low, wanted.high]), [0, 1])
        assert at.min() < 0.1
        assert at.max() > 0.9
    elif wanted.kind == "share":
        assert np.mean(drawn) == pytest.approx(wanted.share, abs=0.1)
    else:
        assert set(drawn) == set(wanted.values)


def test_a_given_value_leaves_all_other_draws_as_they_were() -> None:
    ranges = {name: Range("uniform", "for this test alone", 0.0, 1.0) for name in "abc"}
    free, given = (Drawer(np.random.default_rng(8), ranges, fixed) for fixed in ({}, {"b": 0.25}))
    for drawer in (free, given):
        for name in "abc":
            drawer(name)
    assert given.drawn == {"a": free.drawn["a"], "b": 0.25, "c": free.drawn["c"]}


def test_draws_of_one_range_can_be_told_apart() -> None:
    drawer = Drawer(np.random.default_rng(8), {"turn": Range("uniform", "for this test alone", 0.0, 1.0)})
    drawer("turn", "left_turn")
    drawer("turn", "right_turn")
    assert drawer.drawn["left_turn"] != drawer.drawn["right_turn"]
