from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from qct_sites import LEFT_X, ORIGIN_MM, RIGHT_X, SPACING_MM_XYZ, hip_scan

from femur_nnunet.dataset_conversion.hip_cases import HALF_DRAWN, NOT_DRAWN, cut_into_cases
from femur_nnunet.dataset_conversion.mask_values import UNSIDED_LABEL
from femur_nnunet.errors import FemurError
from femur_nnunet.volume_io import Grid, Volume


def scan() -> tuple[Volume, NDArray[np.uint8]]:
    array, mask = hip_scan(1)
    return Volume(array, Grid(array.shape[::-1], SPACING_MM_XYZ, ORIGIN_MM)), mask


def flipped_scan() -> tuple[Volume, NDArray[np.uint8]]:
    """Return the same patient stored with x to the right and y to the front, as most NIfTI files are."""
    array, mask = hip_scan(1)
    far = tuple(o + s * (n - 1) for o, s, n in zip(ORIGIN_MM, SPACING_MM_XYZ, array.shape[::-1], strict=True))
    grid = Grid(array.shape[::-1], SPACING_MM_XYZ, (far[0], far[1], ORIGIN_MM[2]), (-1, 0, 0, 0, -1, 0, 0, 0, 1))
    return Volume(np.ascontiguousarray(array[:, ::-1, ::-1]), grid), np.ascontiguousarray(mask[:, ::-1, ::-1])


@pytest.mark.parametrize("make", [scan, flipped_scan])
def test_two_hips_become_two_cases_whose_labels_go_back_bit_by_bit(make: object) -> None:
    volume, mask = make()  # type: ignore[operator]
    cases, dropped = cut_into_cases(volume, "both", mask)
    assert [case.side for case in cases] == ["left", "right"]
    assert not dropped
    restored = sum(code * case.geometry.backward(case.label) for case, code in zip(cases, (1, 2), strict=True))
    np.testing.assert_array_equal(restored, mask)


def test_a_right_hip_is_flipped_to_look_like_a_left_one() -> None:
    volume, mask = scan()
    left, right = cut_into_cases(volume, "both", mask)[0]
    assert (left.geometry.left_right_flipped, right.geometry.left_right_flipped) == (False, True)
    cut_x = right.geometry.crop_stop_xyz[0]
    columns = [float(np.nonzero(case.label)[2].mean()) for case in (left, right)]
    # In a left hip the femur's distance to the cut is its column; so it is in the mirrored right hip.
    assert columns == pytest.approx([LEFT_X - cut_x, cut_x - 1 - RIGHT_X])


def test_a_binary_mask_is_parted_by_position() -> None:
    volume, mask = scan()
    cases, _ = cut_into_cases(volume, "both", np.where(mask > 0, UNSIDED_LABEL, 0).astype(np.uint8))
    assert [int(case.label.sum()) for case in cases] == [int((mask == 1).sum()), int((mask == 2).sum())]


def test_a_hip_that_was_not_drawn_is_dropped_or_kept_unlabelled() -> None:
    volume, mask = scan()
    mask[mask == 2] = 0
    cases, dropped = cut_into_cases(volume, "both", mask)
    assert [(case.side, case.label is not None) for case in cases] == [("left", True)]
    assert dropped == {"right": NOT_DRAWN}
    cases, dropped = cut_into_cases(volume, "both", mask, keep_unlabelled_hip=True)
    assert [(case.side, case.label is not None) for case in cases] == [("left", True), ("right", False)]
    assert not dropped


def test_without_a_mask_both_hips_are_unlabelled() -> None:
    cases, _ = cut_into_cases(scan()[0], "both", None)
    assert [(case.side, case.label) for case in cases] == [("left", None), ("right", None)]


def test_swapped_label_values_are_refused() -> None:
    volume, mask = scan()
    with pytest.raises(FemurError, match="row 2: found the left and right femur of the mask on the other side"):
        cut_into_cases(volume, "both", np.array([0, 2, 1], np.uint8)[mask], subject="row 2")


def test_a_whole_scan_keeps_both_labels_and_is_not_flipped() -> None:
    volume, mask = flipped_scan()
    (case,), _ = cut_into_cases(volume, "both", mask, keep_bilateral=True)
    assert case.side == "both"
    assert not case.geometry.left_right_flipped
    assert case.label.shape == volume.array.shape
    np.testing.assert_array_equal(case.geometry.backward(case.label), mask)


@pytest.mark.parametrize("side", ["both", "left"])
def test_a_whole_scan_with_one_femur_drawn_is_never_labelled(side: str) -> None:
    volume, mask = scan()
    mask[mask == 2] = 0
    cases, dropped = cut_into_cases(volume, side, mask, keep_bilateral=True)  # type: ignore[arg-type]
    assert not cases
    assert dropped == {side: HALF_DRAWN}
    (case,), _ = cut_into_cases(volume, side, mask, keep_bilateral=True,  # type: ignore[arg-type]
                                keep_unlabelled_hip=True)
    assert case.label is None
