"""Uneven and sheared slices are brought onto a regular grid as arithmetic says, and only when asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_factory import write_ct_series
from dicom_seg_factory import write_seg
from pydicom.dataset import Dataset
from scipy.interpolate import RegularGridInterpolator

from femur_nnunet.errors import FemurError
from femur_nnunet.volume_io.masks import read_mask
from femur_nnunet.volume_io.reading import read_volume
from femur_nnunet.volume_io.reading_rules import ReadingRules
from femur_nnunet.volume_io.slice_positions import regular_grid_of
from femur_nnunet.volume_io.volume import Volume

IRREGULAR = ReadingRules(resample_irregular=True)
TILT = ReadingRules(correct_tilt=True)
BOTH = ReadingRules(resample_irregular=True, correct_tilt=True)
STORED = np.random.default_rng(3).integers(0, 3000, (5, 6, 8)).astype(np.uint16)
HOUNSFIELD = STORED.astype(int) - 1024
ORIGIN = (-12.5, -30.25, 401.0)


def placed(z_mm: list[float], y_mm: list[float] | None = None) -> Callable[[Dataset, int], None]:
    """Put each slice at a height above the first one, and slide it along y."""
    def change(dataset: Dataset, number: int) -> None:
        dataset.ImagePositionPatient = [ORIGIN[0], ORIGIN[1] + (y_mm[number] if y_mm else 0.0),
                                        ORIGIN[2] + z_mm[number]]
    return change


def series(folder: Path, z_mm: list[float], y_mm: list[float] | None = None,
           stored: np.ndarray = STORED) -> Path:
    write_ct_series(folder, stored, origin_mm=ORIGIN, change=placed(z_mm, y_mm))
    return folder


def test_a_missing_slice_is_filled_with_the_mean_of_its_neighbours(tmp_path: Path) -> None:
    folder = series(tmp_path / "ct", [0, 2, 4, 8, 10])

    volume = read_volume(folder, rules=IRREGULAR)

    assert volume.grid.size_ijk == (8, 6, 6)
    assert volume.grid.spacing_mm_ijk == pytest.approx((0.8, 0.7, 2.0))
    assert volume.array.dtype == np.int16
    for k, index in ((0, 0), (1, 1), (2, 2), (4, 3), (5, 4)):
        np.testing.assert_array_equal(volume.array[k], HOUNSFIELD[index])
    np.testing.assert_array_equal(volume.array[3], np.rint((HOUNSFIELD[2] + HOUNSFIELD[3]) / 2))
    assert any("resampled to 2.000 mm" in note and "4.00 mm after slice 3, 1 slice(s) missing" in note
               for note in volume.notes)


def test_uneven_slices_are_interpolated_at_their_true_positions(tmp_path: Path) -> None:
    z_mm = [0.0, 1.0, 2.5, 5.5, 9.3]
    volume = read_volume(series(tmp_path / "ct", z_mm), rules=IRREGULAR)

    n_steps = volume.grid.size_ijk[2] - 1
    assert (n_steps, volume.grid.spacing_mm_ijk[2]) == (10, pytest.approx(0.93))  # 9.3 / 10, the finest gap being 1
    axes = (np.asarray(z_mm), np.arange(6), np.arange(8))
    expected = RegularGridInterpolator(axes, HOUNSFIELD)(
        np.stack(np.meshgrid(np.arange(11) * 0.93, np.arange(6), np.arange(8), indexing="ij"), axis=-1).clip(
            (0, 0, 0), (9.3, 5, 7)))
    assert np.abs(volume.array - expected).max() <= 0.5 + 3000 * 1e-3  # rounding, and snapping to a slice


def test_without_the_option_the_gaps_are_listed_and_the_option_named(tmp_path: Path) -> None:
    folder = series(tmp_path / "ct", [0, 2, 4, 8, 10])

    for rules in (ReadingRules(), TILT):
        with pytest.raises(FemurError, match=r"4\.00 mm after slice 3.*or give --resample-irregular"):
            read_volume(folder, rules=rules)


@pytest.mark.parametrize(("z_mm", "told"), [
    ([0, 2, 4, 16, 18], r"a gap of 12\.00 mm between slices"),
    ([0, 2, 2.02, 4, 6], "which would make 5 slices"),
])
def test_what_would_be_mostly_invented_is_refused_with_the_option_too(tmp_path: Path, z_mm: list[float],
                                                                      told: str) -> None:
    with pytest.raises(FemurError, match=told):
        read_volume(series(tmp_path / "ct", z_mm), rules=BOTH)


def test_a_tilt_of_whole_pixels_is_undone_exactly_on_a_wider_grid(tmp_path: Path) -> None:
    # Each slice slides by two rows of 0.7 mm; five slices need 4 x 2 further rows.
    volume = read_volume(series(tmp_path / "ct", [0, 2, 4, 6, 8], [1.4 * n for n in range(5)]), rules=TILT)

    expected = np.full((5, 14, 8), -1024)
    for k in range(5):
        expected[k, 2 * k:2 * k + 6] = HOUNSFIELD[k]
    np.testing.assert_array_equal(volume.array, expected)
    np.testing.assert_allclose(volume.grid.origin_mm_lps, ORIGIN, atol=1e-9)
    assert volume.tags.gantry_tilt_deg == pytest.approx(np.degrees(np.arctan(1.4 / 2)), abs=0.01)
    assert any(note.startswith("tilt corrected: slices sheared by 35.0 degrees") for note in volume.notes)


def test_a_tilt_against_the_rows_moves_the_origin_of_the_grid(tmp_path: Path) -> None:
    volume = read_volume(series(tmp_path / "ct", [0, 2, 4, 6, 8], [-0.7 * n for n in range(5)]), rules=TILT)

    np.testing.assert_array_equal(volume.array[0, 4:], HOUNSFIELD[0])
    np.testing.assert_array_equal(volume.array[4, :6], HOUNSFIELD[4])
    np.testing.assert_allclose(volume.grid.world_mm_lps((0, 4, 0)), ORIGIN, atol=1e-9)


def test_a_plane_in_space_stays_where_it_is_after_tilt_and_gaps_are_mended(tmp_path: Path) -> None:
    # HU grow linearly in the world, which linear interpolation must reproduce to its rounding.
    z_mm, y_mm = [0.0, 1.5, 4.5, 6.0, 7.5], [0.0, 0.5, 1.5, 2.0, 2.5]
    rows, columns = np.meshgrid(np.arange(20) * 0.7, np.arange(8) * 0.8, indexing="ij")
    stored = np.stack([np.rint(500 + 30 * (rows + y) + 20 * columns + 40 * z)
                       for z, y in zip(z_mm, y_mm, strict=True)]).astype(np.uint16)
    volume = read_volume(series(tmp_path / "ct", z_mm, y_mm, stored), rules=BOTH)

    k, j, i = np.nonzero(volume.array > -1024)
    world = np.stack([volume.grid.world_mm_lps((i[n], j[n], k[n])) for n in range(len(k))]) - ORIGIN
    expected = 500 - 1024 + 30 * world[:, 1] + 20 * world[:, 0] + 40 * world[:, 2]
    inner = (j > 4) & (j < 18)  # at the border a neighbour may be missing in one of two slices
    assert inner.sum() > 400
    assert np.abs(volume.array[k, j, i] - expected)[inner].max() <= 1.5


def test_slices_that_slide_to_and_fro_are_no_tilt(tmp_path: Path) -> None:
    with pytest.raises(FemurError, match="off a straight line"):
        read_volume(series(tmp_path / "ct", [0, 2, 4, 6, 8], [0, 2, 0, 2, 0]), rules=TILT)


def nifti_of_slices(path: Path, labels: np.ndarray, spacing_z_mm: float) -> Path:
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing((0.8, 0.7, spacing_z_mm))
    image.SetOrigin(ORIGIN)
    sitk.WriteImage(image, str(path))
    return path


def labels_of_slices() -> np.ndarray:
    return np.random.default_rng(8).integers(0, 3, STORED.shape).astype(np.uint8)


def expected_labels(volume: Volume, z_mm: list[float], rows: list[int]) -> np.ndarray:
    """Each plane takes the slice nearest to it, the lower one of two, at its own row."""
    result = np.zeros(volume.grid.shape_kji, dtype=np.uint8)
    for k in range(result.shape[0]):
        distances = [round(abs(z - k * volume.grid.spacing_mm_ijk[2]), 6) for z in z_mm]
        nearest = distances.index(min(distances))
        result[k, rows[nearest]:rows[nearest] + 6] = labels_of_slices()[nearest]
    return result


@pytest.mark.parametrize(("z_mm", "rows"), [([0, 2, 4, 8, 10], [0, 0, 0, 0, 0]), ([0, 2, 4, 6, 8], [0, 1, 2, 3, 4]),
                                            ([0, 2, 4, 8, 10], [0, 1, 2, 4, 5])])
def test_masks_of_every_kind_follow_their_slices_by_nearest_neighbour(tmp_path: Path, z_mm: list[float],
                                                                      rows: list[int]) -> None:
    folder = series(tmp_path / "ct", z_mm, [0.7 * row for row in rows])
    volume = read_volume(folder, rules=BOTH)
    expected = expected_labels(volume, z_mm, rows)
    on_slices = nifti_of_slices(tmp_path / "slices.nii.gz", labels_of_slices(), 2.2)
    segmentation = write_seg(tmp_path / "seg.dcm", folder, labels_of_slices())

    np.testing.assert_array_equal(read_mask(on_slices, volume.grid, slices=volume.slices), expected)
    np.testing.assert_array_equal(read_mask(segmentation, volume.grid, slices=volume.slices), expected)

    on_grid = sitk.GetImageFromArray(expected)
    on_grid.SetSpacing(volume.grid.spacing_mm_ijk)
    on_grid.SetOrigin(volume.grid.origin_mm_lps)
    sitk.WriteImage(on_grid, str(tmp_path / "grid.nii.gz"))
    np.testing.assert_array_equal(read_mask(tmp_path / "grid.nii.gz", volume.grid, slices=volume.slices), expected)


def test_contours_are_filled_on_the_slices_they_were_drawn_on(tmp_path: Path) -> None:
    z_mm, rows = [0, 2, 4, 8, 10], [0, 1, 2, 4, 5]
    volume = read_volume(series(tmp_path / "ct", z_mm, [0.7 * row for row in rows]), rules=BOTH)
    contour = Dataset()
    contour.ContourGeometricType = "CLOSED_PLANAR"
    # On slice 3 (8 mm, slid by 4 rows): pixels i 2..4, j 1..3.
    contour.ContourData = [value for i, j in ((1.5, 0.5), (4.5, 0.5), (4.5, 3.5), (1.5, 3.5))
                           for value in (ORIGIN[0] + 0.8 * i, ORIGIN[1] + 0.7 * (4 + j), ORIGIN[2] + 8.0)]
    contour.NumberOfContourPoints = 4
    structures = Dataset()
    from dicom_factory import save
    from pydicom.uid import RTStructureSetStorage
    structures.SOPClassUID, structures.SOPInstanceUID, structures.Modality = RTStructureSetStorage, "1.2.3", "RTSTRUCT"
    roi = Dataset()
    roi.ReferencedROINumber, roi.ContourSequence = 1, [contour]
    structures.ROIContourSequence = [roi]
    save(structures, tmp_path / "rs.dcm")

    labels = read_mask(tmp_path / "rs.dcm", volume.grid, slices=volume.slices)

    expected = np.zeros(volume.grid.shape_kji, dtype=np.uint8)
    expected[4, 4 + 1:4 + 4, 2:5] = 1  # the plane at 8 mm; the one at 6 mm is as near to slice 2, the lower
    np.testing.assert_array_equal(labels, expected)


def test_uneven_slices_whose_rounded_positions_wander_are_not_moved_within_their_plane(tmp_path: Path) -> None:
    # 0.09 mm sideways is within what a series that needs no mending may have; no slice may be blurred by it.
    wander = [0.0, 0.09, -0.04, 0.05, 0.09]
    volume = read_volume(series(tmp_path / "ct", [0, 2, 4, 8, 10], wander), rules=IRREGULAR)

    assert volume.grid.size_ijk == (8, 6, 6)
    for k, index in ((0, 0), (1, 1), (2, 2), (4, 3), (5, 4)):
        np.testing.assert_array_equal(volume.array[k], HOUNSFIELD[index])
    np.testing.assert_array_equal(volume.array[3], np.rint((HOUNSFIELD[2] + HOUNSFIELD[3]) / 2))
    # A segmentation of the same slices, each frame at its own wandering position, finds them.
    segmentation = write_seg(tmp_path / "seg.dcm", tmp_path / "ct", labels_of_slices())
    labels = read_mask(segmentation, volume.grid, slices=volume.slices)
    np.testing.assert_array_equal(labels[[0, 1, 2, 4, 5]], labels_of_slices())


def test_a_mask_of_other_slices_is_refused(tmp_path: Path) -> None:
    volume = read_volume(series(tmp_path / "ct", [0, 2, 4, 8, 10]), rules=IRREGULAR)
    shorter = nifti_of_slices(tmp_path / "short.nii.gz", labels_of_slices()[:4], 2.0)
    folder = series(tmp_path / "other", [0, 2, 5, 8, 10])
    segmentation = write_seg(tmp_path / "seg.dcm", folder, labels_of_slices())

    with pytest.raises(FemurError, match="a mask on another grid"):
        read_mask(shorter, volume.grid, slices=volume.slices)
    with pytest.raises(FemurError, match=r"a frame of a DICOM Segmentation that is 1\.00 mm away"):
        read_mask(segmentation, volume.grid, slices=volume.slices)


def test_an_oblique_stack_keeps_its_directions() -> None:
    turn = np.radians(25)
    directions = np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
    along = np.array([0.0, 3.0, 4.0, 9.0])
    positions = np.array([5.0, 6.0, 7.0]) + np.outer(along, directions[:, 2]) + np.outer(along, directions[:, 1]) * 0.1

    slices = regular_grid_of(positions, directions, (0.5, 0.5), (10, 10), even=False)

    assert slices.grid.size_ijk == (10, 12, 10)  # 0.9 mm of slide are 1.8 pixels
    np.testing.assert_allclose(slices.grid.direction_matrix, directions)
    for index in range(4):
        np.testing.assert_allclose(slices.plane_origin_mm(index), positions[index], atol=1e-9)
