"""Positions that make no regular grid are refused with numbers; small rounding is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dicom_factory import write_ct_series
from pydicom.dataset import Dataset

from femur_nnunet.errors import FemurError
from femur_nnunet.volume_io.reading import read_volume

STORED = np.zeros((6, 4, 5), dtype=np.uint16)


def move(index: int, *, z: float = 0, y: float = 0) -> Callable[[Dataset, int], None]:
    """Move the slices from ``index`` on."""
    def change(dataset: Dataset, number: int) -> None:
        if number >= index:
            x0, y0, z0 = dataset.ImagePositionPatient
            dataset.ImagePositionPatient = [x0, y0 + y * (number - index + 1), z0 + z]
    return change


def each(**values: object) -> Callable[[Dataset, int], None]:
    """Set attributes of slice 2 alone; None deletes."""
    def change(dataset: Dataset, number: int) -> None:
        if number == 2:
            for keyword, value in values.items():
                if value is None:
                    delattr(dataset, keyword)
                else:
                    setattr(dataset, keyword, value)
    return change


def test_a_missing_slice_is_named_with_its_gap(tmp_path: Path) -> None:
    paths = write_ct_series(tmp_path, STORED)
    paths[2].unlink()

    with pytest.raises(FemurError, match=r"usually 2\.50 mm, from 2\.50 to 5\.00 mm "
                                         r"\(5\.00 mm after slice 2, 1 slice\(s\) missing\)"):
        read_volume(tmp_path)


@pytest.mark.parametrize("step", [0.06, -0.2, 1.0])
def test_a_step_beyond_the_tolerance_is_refused(tmp_path: Path, step: float) -> None:
    # A step of s in the middle of six slices puts the slices 0.6 s and 0.4 s off the regular grid: with the middle
    # slices' part above 0.05 mm for s >= 0.1 only, so the smallest step here is tested on one slice alone.
    if abs(step) < 0.1:
        write_ct_series(tmp_path, STORED, change=lambda d, n: move(n, z=step)(d, n) if n == 3 else None)
    else:
        write_ct_series(tmp_path, STORED, change=move(3, z=step))

    with pytest.raises(FemurError, match=r"uneven slice spacing.*within 0\.05 mm of a regular grid"):
        read_volume(tmp_path)


def test_rounding_of_positions_below_the_tolerance_is_accepted(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)

    def jitter(dataset: Dataset, number: int) -> None:
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y, float(z) + float(generator.uniform(-0.02, 0.02))]

    write_ct_series(tmp_path, STORED, change=jitter)

    assert read_volume(tmp_path).grid.spacing_mm_ijk[2] == pytest.approx(2.5, abs=0.01)


def test_a_tilted_series_is_refused_with_its_angle(tmp_path: Path) -> None:
    # Each slice slides by tan(10 degrees) x 2.5 mm within its plane.
    write_ct_series(tmp_path, STORED, change=move(1, y=float(np.tan(np.radians(10)) * 2.5)))

    with pytest.raises(FemurError, match=r"sheared by 10\.0 degrees \(gantry tilt\)"):
        read_volume(tmp_path)


def test_tilt_and_a_missing_slice_are_told_together(tmp_path: Path) -> None:
    paths = write_ct_series(tmp_path, STORED, change=move(1, y=0.5))
    paths[3].unlink()

    with pytest.raises(FemurError, match=r"uneven slice spacing.*; slices sheared by 11\.3 degrees"):
        read_volume(tmp_path)


def test_slices_at_one_position_are_refused_and_copies_counted(tmp_path: Path) -> None:
    write_ct_series(tmp_path / "a", STORED)
    write_ct_series(tmp_path / "b", STORED[:2])

    with pytest.raises(FemurError, match=r"8 slices at only 6 position\(s\), 2 of them copies of the same instance"):
        read_volume(tmp_path)


@pytest.mark.parametrize(("change", "told"), [
    (each(ImagePositionPatient=None), r"1 of 6 slices without a valid position \(ImagePositionPatient\)"),
    (each(ImageOrientationPatient=None), "without a valid orientation"),
    (each(PixelSpacing=None), "without a valid pixel spacing"),
    (each(RescaleIntercept=None), "without a valid rescale slope and intercept"),
    (each(RescaleSlope=0), "without a valid rescale slope and intercept"),
    (each(RescaleType="MGML"), "1 of 6 slices whose rescaled values are not in HU"),
    (each(ImageOrientationPatient=[1, 0, 0, 0, 0.999, 0.0447]), r"turned against each other .* up to 0\.0447"),
    (each(PixelSpacing=[0.7, 0.9]), "pixel spacings from 0.7 to 0.9 mm"),
    (each(Rows=2), "different numbers of rows and columns"),
])
def test_a_faulty_attribute_is_named(tmp_path: Path, change: Callable[[Dataset, int], None], told: str) -> None:
    write_ct_series(tmp_path, STORED, change=change)

    with pytest.raises(FemurError, match=f"row 9: found .*{told}"):
        read_volume(tmp_path, subject="row 9")


def test_cosines_that_are_not_at_right_angles_are_refused(tmp_path: Path) -> None:
    def skew(dataset: Dataset, number: int) -> None:
        dataset.ImageOrientationPatient = [1, 0, 0, 0.1, 0.995, 0]

    write_ct_series(tmp_path, STORED, change=skew)

    with pytest.raises(FemurError, match="no unit vectors at a right angle"):
        read_volume(tmp_path)


def test_a_zero_pixel_spacing_is_refused(tmp_path: Path) -> None:
    write_ct_series(tmp_path, STORED, spacing_mm_ijk=(0.0, 0.7, 2.5))

    with pytest.raises(FemurError, match="a pixel spacing of 0 mm"):
        read_volume(tmp_path)


def test_absurd_sizes_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    def enlarge(dataset: Dataset, number: int) -> None:
        dataset.Rows = dataset.Columns = 60_000

    write_ct_series(tmp_path, STORED, change=enlarge)

    with pytest.raises(FemurError, match="6 slices of 60000 x 60000 pixels"):
        read_volume(tmp_path)
