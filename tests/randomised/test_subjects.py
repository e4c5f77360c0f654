from __future__ import annotations

import pytest

from femur_nnunet.errors import UsageError
from femur_nnunet.randomised.subjects import Subjects, cross_validation_group, draw_held_out

NAMES = [f"s{number:02d}" for number in range(22)]


def test_all_that_are_not_held_out_train() -> None:
    chosen = Subjects.choose(NAMES, held_out=("s03", "s01"))
    assert chosen.held_out == ("s01", "s03")
    assert chosen.train == tuple(name for name in NAMES if name not in ("s01", "s03"))


def test_nobody_is_on_both_lists() -> None:
    with pytest.raises(UsageError, match="s01"):
        Subjects.choose(NAMES, wanted=("s01", "s02"), held_out=("s01",))


def test_unknown_subjects_are_named() -> None:
    with pytest.raises(UsageError, match="nobody"):
        Subjects.choose(NAMES, held_out=("nobody",))


def test_held_out_subjects_are_drawn_by_the_seed_whatever_the_order_of_names() -> None:
    drawn = draw_held_out(NAMES, 4, 1)
    assert drawn == draw_held_out(NAMES[::-1], 4, 1)
    assert len(set(drawn)) == 4
    assert drawn != draw_held_out(NAMES, 4, 2)
    with pytest.raises(UsageError, match="22 of 22"):
        draw_held_out(NAMES, 22, 1)


def test_over_all_groups_each_subject_is_held_out_once() -> None:
    groups = [cross_validation_group(NAMES, number, 5, 1) for number in range(1, 6)]
    assert sorted(name for group in groups for name in group) == NAMES
    assert {len(group) for group in groups} == {4, 5}
    with pytest.raises(UsageError, match="group 6 of 5"):
        cross_validation_group(NAMES, 6, 5, 1)
