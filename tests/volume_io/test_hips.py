"""Hips are cut near the body's midline and never through a femur."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from real_data import real_data

from femur_nnunet.errors import FemurError
from femur_nnunet.volume_io.hips import flip_left_right, split_hips
from femur_nnunet.volume_io.image_files import read_image_file
from femur_nnunet.volume_io.masks import read_mask
from femur_nnunet.volume_io.orientation import orient_to_lps
from femur_nnunet.volume_io.reading import read_volume
from femur_nnunet.volume_io.volume import Grid, Volume

# A pelvis 360 mm wide on a grid of 4 x 4 x 5 mm, its midline between columns 49 and 50.
SIZE_X = 100
RIGHT_FEMUR, LEFT_FEMUR = slice(20, 32), slice(68, 80)


def pelvis(*, keep: slice = slice(None)) -> Volume:
    array = np.full((10, 60, SIZE_X), -1000, dtype=np.int16)
    array[:, 10:50, 5:95] = 40
    array[:, 25:35, RIGHT_FEMUR] = 400
    array[:, 25:35, LEFT_FEMUR] = 400
    array[:, 25:35, 47:53] = 300  # the sacrum
    array = np.ascontiguousarray(array[:, :, keep])
    return Volume(array, Grid((array.shape[2], 60, 10), (4.0, 4.0, 5.0), (0, 0, 0)))


def femora(*, left: int = 1, right: int = 2) -> np.ndarray:
    mask = np.zeros((10, 60, SIZE_X), dtype=np.uint8)
    mask[:, 25:35, RIGHT_FEMUR] = right
    mask[:, 25:35, LEFT_FEMUR] = left
    return mask


def test_both_hips_together_cover_the_scan_and_left_is_at_the_higher_columns() -> None:
    left, right = split_hips(pelvis(), "both", femora())

    assert (left.side, right.side) == ("left", "right")
    assert (right.start_x, left.stop_x) == (0, SIZE_X)
    assert right.stop_x == left.start_x
    assert left.start_x == pytest.approx(50, abs=1)
    assert (left.mask_voxels, right.mask_voxels) == (10 * 10 * 12, 10 * 10 * 12)
    assert not left.femur_touches_cut
    assert not right.femur_touches_cut


def test_without_a_mask_the_cut_is_where_it_is_with_one() -> None:
    drawn, _ = split_hips(pelvis(), "both", femora())
    left, _ = split_hips(pelvis(), "both")

    # A cut that avoided the sacrum would give unlabelled cases more or less of it than labelled ones.
    assert left.start_x == drawn.start_x
    assert left.mask_voxels is None


def test_without_bone_near_the_midline_the_cut_is_at_the_midline() -> None:
    volume = pelvis()
    volume.array[:, 25:35, 47:53] = 40

    assert split_hips(volume, "both")[0].start_x == 50


def test_the_cut_gives_way_to_a_femur_that_reaches_across_the_midline() -> None:
    mask = femora()
    mask[0, 30, 40:54] = 2  # the right femur reaches to column 53, 14 mm past the midline

    left, right = split_hips(pelvis(), "both", mask)

    assert left.start_x == 54
    assert right.femur_touches_cut
    assert not left.femur_touches_cut


def test_a_femur_across_every_candidate_column_is_refused() -> None:
    mask = femora()
    mask[0, 30, 32:68] = 2

    with pytest.raises(FemurError, match=r"row 2: found a femur mask that crosses all \d+ columns within 25 mm"):
        split_hips(pelvis(), "both", mask, subject="row 2")


def test_swapped_labels_are_refused() -> None:
    with pytest.raises(FemurError, match="left and right femur of the mask on the other side"):
        split_hips(pelvis(), "both", femora(left=2, right=1))


def test_a_single_label_on_the_wrong_half_is_refused() -> None:
    with pytest.raises(FemurError, match="right femur of the mask on the other side"):
        split_hips(pelvis(), "both", femora(left=2, right=0))


def test_a_hip_that_was_not_drawn_has_no_mask_voxels() -> None:
    left, right = split_hips(pelvis(), "both", femora(right=0))

    assert left.mask_voxels > 0
    assert right.mask_voxels == 0


def test_foreign_label_values_are_refused_by_value() -> None:
    with pytest.raises(FemurError, match=r"label values \[5\]"):
        split_hips(pelvis(), "both", femora(left=5))


def test_one_asked_side_of_a_whole_pelvis_is_cropped() -> None:
    (left,) = split_hips(pelvis(), "left", femora(left=1, right=0))
    (right,) = split_hips(pelvis(), "right")

    assert (left.side, left.stop_x) == ("left", SIZE_X)
    assert left.start_x == pytest.approx(50, abs=1)
    assert (right.side, right.start_x, right.stop_x) == ("right", 0, left.start_x)


def test_a_side_that_contradicts_the_mask_is_refused() -> None:
    with pytest.raises(FemurError, match="left femur of the mask on the other side"):
        split_hips(pelvis(), "left", femora(left=0, right=1))


def test_a_field_of_view_on_one_hip_keeps_all_columns() -> None:
    volume = pelvis(keep=slice(50, 100))  # 45 columns of body: 180 mm
    mask = np.ascontiguousarray(femora(left=1, right=0)[:, :, 50:])

    (hip,) = split_hips(volume, "left", mask)

    assert (hip.start_x, hip.stop_x, hip.femur_touches_cut) == (0, 50, False)
    assert hip.mask_voxels == 10 * 10 * 12


def test_both_hips_cannot_be_in_a_narrow_body() -> None:
    with pytest.raises(FemurError, match="180 mm wide in a scan of both hips"):
        split_hips(pelvis(keep=slice(50, 100)), "both")


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(FemurError, match="a mask of shape"):
        split_hips(pelvis(), "both", np.zeros((1, 2, 3), dtype=np.uint8))


def test_flipping_left_right_mirrors_the_last_axis() -> None:
    assert flip_left_right(np.array([[[1, 2, 3]]])).tolist() == [[[3, 2, 1]]]


@pytest.mark.parametrize("name", ["s12", "s33"])
def test_real_femora_are_cut_apart_and_swapped_ones_refused(name: str) -> None:
    path = real_data("hip_labels", f"{name}.nii.gz")
    image = read_image_file(path)
    labels, mapping = orient_to_lps(image)
    # These maps hold 1 = right and 2 = left femur and were cropped closely: flesh fills all that is not bone.
    hounsfield = np.where(labels.array > 0, 300, 40).astype(np.int16)
    delivered = read_mask(path, image.grid)
    ours = np.choose(np.where(delivered > 2, 0, delivered), [0, 2, 1]).astype(np.uint8)
    mask = np.ascontiguousarray(mapping.apply(ours))
    ct = replace(labels, array=hounsfield)

    left, right = split_hips(ct, "both", mask)

    assert np.count_nonzero(mask[:, :, left.start_x:] == 1) == np.count_nonzero(ours == 1)
    assert np.count_nonzero(mask[:, :, :right.stop_x] == 2) == np.count_nonzero(ours == 2)
    with pytest.raises(FemurError, match="other side"):
        split_hips(ct, "both", np.choose(mask, [0, 2, 1]).astype(np.uint8))
    unlabelled, _ = split_hips(ct, "both")
    assert not (mask[:, :, :unlabelled.start_x] == 1).any()
    assert not (mask[:, :, unlabelled.start_x:] == 2).any()


def test_the_real_pelvis_is_cut_near_its_midline() -> None:
    volume, _ = orient_to_lps(read_volume(real_data("ct", "pelvis_3mm_left_nail.nii.gz")))

    left, right = split_hips(volume, "both")

    # The patient's left femur carries the metal: all voxels beyond 2500 HU lie in the left half.
    metal = np.flatnonzero((volume.array > 2500).any(axis=(0, 1)))
    assert metal.size > 0
    assert metal.min() >= left.start_x
    assert right.stop_x == left.start_x
