from __future__ import annotations

import numpy as np
import pytest

from femur_nnunet.dataset_conversion.conversion_options import parse_mask_labels
from femur_nnunet.dataset_conversion.mask_values import interpret_mask, side_by_position
from femur_nnunet.errors import FemurError


def mask(*values: int) -> np.ndarray:
    return np.asarray(values, dtype=np.uint8).reshape(1, 1, -1)


def interpreted(values: np.ndarray, side: str, labels: str | None = None) -> list[int]:
    meaning = None if labels is None else parse_mask_labels(labels)
    return interpret_mask(values, side, meaning).ravel().tolist()  # type: ignore[arg-type]


def test_without_a_mapping_1_is_left_and_2_is_right_in_a_scan_of_both_sides() -> None:
    assert interpreted(mask(0, 1, 2), "both") == [0, 1, 2]


def test_a_binary_mask_of_both_sides_leaves_the_side_to_the_position() -> None:
    assert interpreted(mask(0, 1), "both") == [0, 3]


@pytest.mark.parametrize(("side", "value"), [("left", 1), ("right", 2)])
def test_a_binary_mask_of_one_side_is_that_side(side: str, value: int) -> None:
    assert interpreted(mask(0, 1), side) == [0, value]


def test_a_mapping_gives_foreign_values_their_meaning() -> None:
    assert interpreted(mask(0, 1, 2, 3), "both", "right=1,left=2,background=3") == [0, 2, 1, 0]
    assert interpreted(mask(0, 7), "both", "femur=7") == [0, 3]


def test_a_row_of_one_side_keeps_its_own_femur_alone() -> None:
    assert interpreted(mask(0, 1, 2), "left", "right=1,left=2") == [0, 0, 1]


@pytest.mark.parametrize(("side", "values", "labels", "found", "expected"), [
    ("left", (0, 1, 2), None, "the value 2 in", "0 and 1"),
    ("both", (0, 1, 2, 5, 9), None, "the values 5, 9 in", "1 for the left and 2 for the right"),
    ("both", (0, 1, 4), "left=1,right=2", "the value 4 in", r"values of --mask-labels \(1, 2\)"),
])
def test_values_without_a_meaning_are_listed(side: str, values: tuple[int, ...], labels: str | None, found: str,
                                             expected: str) -> None:
    with pytest.raises(FemurError, match=f"{found} the mask; expected .*{expected}.*--mask-labels"):
        interpreted(mask(*values), side, labels)


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(FemurError, match="found an empty mask"):
        interpreted(mask(0, 0), "both")
    with pytest.raises(FemurError, match="found no left femur in the mask"):
        interpreted(mask(0, 1), "left", "right=1,left=2")


def test_each_part_gets_the_side_of_its_centre_and_stays_whole() -> None:
    unsided = np.zeros((1, 3, 10), dtype=np.uint8)
    unsided[0, 0, 1:4] = 3
    unsided[0, 2, 4:9] = 3  # begins on the right of column 5, but most of it lies on the left
    expected = np.zeros_like(unsided)
    expected[0, 0, 1:4] = 2
    expected[0, 2, 4:9] = 1
    np.testing.assert_array_equal(side_by_position(unsided, 5), expected)
