from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from femur_nnunet.errors import UsageError
from femur_nnunet.phantom.map_library import share_out

GROUPS = ("tulane/train", "tulane/test", "rochester/train", "rochester/test")
counts = st.tuples(*[st.integers(0, 400)] * 4).filter(any).map(lambda values: dict(zip(GROUPS, values, strict=True)))


@given(counts, st.integers(4, 40), st.integers(0, 200))
def test_every_map_goes_to_exactly_one_group_and_every_group_gets_one(groups: dict[str, int], maps: int,
                                                                      seed: int) -> None:
    names = [f"m{number:02d}" for number in range(maps)]
    split = share_out(names, groups, seed)
    assert sorted(name for members in split.values() for name in members) == names
    assert set(split) == {group for group, count in groups.items() if count}
    assert all(split.values())
    assert split == share_out(names[::-1], groups, seed)


def test_larger_groups_get_more_maps() -> None:
    split = share_out([str(number) for number in range(22)], dict(zip(GROUPS, (864, 96, 288, 72), strict=True)), 1)
    # One each, and 18 more in proportion to 1320 participants: 11.8, 1.3, 3.9 and 1.0.
    assert [len(split[group]) for group in GROUPS] == [13, 2, 5, 2]


def test_another_seed_gives_another_split() -> None:
    names, groups = [str(number) for number in range(22)], {"tulane/train": 10, "tulane/test": 10}
    assert share_out(names, groups, 100) != share_out(names, groups, 101)


def test_too_few_maps_are_refused() -> None:
    with pytest.raises(UsageError, match=r"1 label map\(s\) for 2 groups"):
        share_out(["a"], {"tulane/train": 3, "tulane/test": 1}, 1)
