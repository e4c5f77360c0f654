"""Masks come onto the image's own grid by index mapping, or are refused with the deviation in mm."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from femur_nnunet.errors import FemurError
from femur_nnunet.volume_io.masks import place_on_grid, read_mask
from femur_nnunet.volume_io.orientation import AxisMapping
from femur_nnunet.volume_io.volume import Grid

DIRECTION = tuple(float(v) for v in Rotation.from_euler("xyz", (5, -8, 12), degrees=True).as_matrix().ravel())
GRID = Grid((6, 5, 4), (0.75, 0.5, 2.5), (-100.5, 20.25, 900.0), DIRECTION)
LABELS = np.random.default_rng(0).integers(0, 3, GRID.shape_kji).astype(np.uint8)
PERMUTATIONS = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]


def write(path: Path, array: np.ndarray = LABELS, grid: Grid = GRID) -> Path:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(grid.spacing_mm_ijk)
    image.SetOrigin(grid.origin_mm_lps)
    image.SetDirection(grid.direction)
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize("name", ["mask.nii.gz", "mask.nii", "mask.mha", "mask.nrrd"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32])
def test_a_mask_on_the_images_grid_is_read_as_it_is(tmp_path: Path, name: str, dtype: type) -> None:
    values = read_mask(write(tmp_path / name, LABELS.astype(dtype)), GRID)

    assert values.dtype == np.uint8
    np.testing.assert_array_equal(values, LABELS)


@settings(max_examples=48, deadline=None)
@given(permutation=st.sampled_from(PERMUTATIONS), flips=st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_permuted_and_reversed_axes_are_brought_back_exactly(permutation: tuple[int, int, int],
                                                             flips: tuple[bool, bool, bool]) -> None:
    other = AxisMapping(permutation, flips)
    delivered, delivered_grid = other.apply(LABELS), other.apply_to_grid(GRID)

    np.testing.assert_array_equal(place_on_grid(delivered, delivered_grid, GRID), LABELS)


def test_a_reversed_nifti_mask_is_read_exactly(tmp_path: Path) -> None:
    other = AxisMapping((1, 0, 2), (True, False, True))
    path = write(tmp_path / "mask.nii.gz", np.ascontiguousarray(other.apply(LABELS)), other.apply_to_grid(GRID))

    np.testing.assert_array_equal(read_mask(path, GRID), LABELS)


@pytest.mark.parametrize(("other", "told"), [
    (replace(GRID, origin_mm_lps=(-100.5, 20.25, 900.02)),
     r"origin apart by 0\.020 mm; corner voxels differ by up to 0\.020 mm"),
    # 5 steps of 0.01 mm too much along i.
    (replace(GRID, spacing_mm_ijk=(0.76, 0.5, 2.5)), r"spacing 0\.76 x 0\.5 x 2\.5 against 0\.75 .* up to 0\.050 mm"),
    (replace(GRID, direction=(1, 0, 0, 0, 1, 0, 0, 0, 1)), "direction turned by 15"),
])
def test_another_geometry_is_refused_with_its_deviation(tmp_path: Path, other: Grid, told: str) -> None:
    path = write(tmp_path / "mask.mha", grid=other)

    with pytest.raises(FemurError, match=f"row 5: found a mask on another grid .*{told}"):
        read_mask(path, GRID, subject="row 5")


def test_another_size_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "mask.nii.gz", LABELS[:3], replace(GRID, size_ijk=(6, 5, 3)))

    with pytest.raises(FemurError, match=r"size 6 x 5 x 3 against 6 x 5 x 4.* differ by up to 2\.500 mm"):
        read_mask(path, GRID)


def test_the_tolerance_can_be_widened(tmp_path: Path) -> None:
    path = write(tmp_path / "mask.mha", grid=replace(GRID, origin_mm_lps=(-100.5, 20.25, 900.02)))

    np.testing.assert_array_equal(read_mask(path, GRID, tolerance_mm=0.05), LABELS)


@pytest.mark.parametrize(("value", "told"), [(np.nan, "1 NaN or infinite"), (0.5, "1 mask voxel.* fractional"),
                                             (-1.0, "mask values from -1 to 2"), (256.0, "mask values from 0 to 256")])
def test_values_that_are_no_labels_are_refused(tmp_path: Path, value: float, told: str) -> None:
    values = LABELS.astype(np.float32)
    values[1, 2, 3] = value

    with pytest.raises(FemurError, match=told):
        read_mask(write(tmp_path / "mask.nii.gz", values), GRID)


def test_an_image_in_place_of_a_mask_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FemurError, match="this may be the image itself"):
        read_mask(write(tmp_path / "mask.nii.gz", LABELS.astype(np.int16) - 1000), GRID)


def test_missing_damaged_and_foreign_masks_are_refused_without_names(tmp_path: Path) -> None:
    (tmp_path / "DOE.nii.gz").write_bytes(b"rubbish" * 50)
    (tmp_path / "DOE.txt").write_text("text " * 100)
    (tmp_path / "DOE").mkdir()
    for name, told in (("DOE_absent.nii", "no file or folder"), ("DOE.nii.gz", "cannot be read"),
                       ("DOE.txt", "a mask of an unknown kind"), ("DOE", "0 DICOM-SEG or RTSTRUCT files")):
        with pytest.raises(FemurError, match=told) as caught:
            read_mask(tmp_path / name, GRID)
        assert "DOE" not in str(caught.value)
