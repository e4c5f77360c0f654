"""What others have written, read here and by an independent path, down to the NIfTI file that comes out."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
from dicom_seg_factory import write_seg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from real_data import real_data
from scipy.ndimage import map_coordinates, uniform_filter

from femur_nnunet.dataset_conversion.hip_cases import cut_into_cases
from femur_nnunet.errors import FemurError
from femur_nnunet.volume_io import ReadingRules, read_mask, read_volume, write_nifti
from femur_nnunet.volume_io.dicom_headers import read_dicom_file
from femur_nnunet.volume_io.dicom_pixels import read_hounsfield
from femur_nnunet.volume_io.orientation import AxisMapping
from femur_nnunet.volume_io.volume import Grid, Volume

PACKAGED = Path(pydicom.data.__file__).parent / "test_files"
MEND_ALL = ReadingRules(resample_irregular=True, correct_tilt=True)


def nifti_content(path: Path, only: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (k, j, i) and the affine (RAS) by the standard's field offsets alone."""
    content = gzip.decompress(path.read_bytes())
    n_i, n_j, n_k = np.frombuffer(content, "<i2", 3, 42)
    dtype = {2: "u1", 4: "<i2", 16: "<f4"}[int(np.frombuffer(content, "<i2", 1, 70)[0])]
    assert only in (None, dtype)
    affine = np.vstack([np.frombuffer(content, "<f4", 12, 280).reshape(3, 4), [0, 0, 0, 1]]).astype(float)
    return np.frombuffer(content, dtype, offset=352).reshape(n_k, n_j, n_i), affine


def hounsfield_by_pydicom(dataset: pydicom.Dataset) -> np.ndarray:
    pixels = dataset.pixel_array.astype(int)
    hounsfield = pixels * int(dataset.RescaleSlope) + int(dataset.RescaleIntercept)
    padding = dataset.get("PixelPaddingValue")
    return hounsfield if padding is None else np.where(pixels == padding, -1024, hounsfield)


@pytest.mark.parametrize("name", ["CT_small.dcm", "693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm"])
def test_single_slices_of_other_makers_equal_pydicoms_arithmetic(name: str) -> None:
    array, _ = read_hounsfield(read_dicom_file(PACKAGED / name).planes)

    np.testing.assert_array_equal(array[0], hounsfield_by_pydicom(pydicom.dcmread(PACKAGED / name)))


def series(name: str) -> Path:
    if name.startswith("packaged"):
        return PACKAGED / "dicomdirtests" / "98892001"
    return real_data("dicom", name)


@pytest.mark.parametrize(("name", "n_slices"), [("packaged GE study", 5), ("abdomen_2mm_jpeg2000", 20)])
def test_what_lands_in_the_nifti_file_is_pydicoms_arithmetic_at_pydicoms_positions(tmp_path: Path, name: str,
                                                                                   n_slices: int) -> None:
    folder = series(name)
    volume = read_volume(folder)
    write_nifti(tmp_path / "scan.nii.gz", volume.array, volume.grid)

    array, affine = nifti_content(tmp_path / "scan.nii.gz")
    datasets = [pydicom.dcmread(path) for path in folder.rglob("*") if path.is_file()]
    slices = sorted((dataset for dataset in datasets if "AXIAL" in dataset.ImageType),
                    key=lambda dataset: float(dataset.ImagePositionPatient[2]))
    assert len(slices) == len(array) == n_slices
    for k, dataset in enumerate(slices):
        np.testing.assert_array_equal(array[k], hounsfield_by_pydicom(dataset))
        row, column = np.asarray(dataset.ImageOrientationPatient, dtype=float).reshape(2, 3)
        spacing_j, spacing_i = (float(value) for value in dataset.PixelSpacing)
        for i, j in ((0, 0), (dataset.Columns - 1, 0), (0, dataset.Rows - 1), (dataset.Columns - 1, dataset.Rows - 1)):
            world = np.asarray(dataset.ImagePositionPatient, float) + i * spacing_i * row + j * spacing_j * column
            np.testing.assert_allclose((affine @ (i, j, k, 1))[:3] * (-1, -1, 1), world, atol=1e-3)


def test_the_packaged_localisers_are_skipped_with_a_note() -> None:
    notes = read_volume(series("packaged GE study")).notes

    assert "2 localiser file(s) skipped" in notes


def test_a_missing_slice_of_a_real_series_is_filled_and_the_others_are_untouched() -> None:
    folder = real_data("dicom", "irregular", "sliceincrement", "001")
    volume = read_volume(folder, rules=MEND_ALL)

    pixels = [hounsfield_by_pydicom(dataset) for dataset in
              sorted((pydicom.dcmread(path) for path in folder.iterdir()), key=lambda d: d.ImagePositionPatient[2])]
    assert volume.grid.size_ijk == (512, 512, 5)
    assert volume.grid.spacing_mm_ijk[2] == pytest.approx(5.0, abs=1e-4)
    for k, expected in ((0, pixels[0]), (1, pixels[1]), (2, pixels[2]), (4, pixels[3])):
        np.testing.assert_array_equal(volume.array[k], expected)
    assert np.abs(volume.array[3] - (pixels[2] + pixels[3]) / 2).max() <= 0.5


def test_a_tilted_series_with_a_gap_agrees_with_its_authors_resampled_volume() -> None:
    # Their volume has other planes (0.778 mm apart, the table's step; the slices' normal distance is 0.750 mm), so
    # ours is read off at their voxels. The pixels are noise of 74 HU, independent from slice to slice and smoothed by
    # either interpolation: agreement is a correlation near 1, which a shift of one voxel brings down, and equal means.
    nibabel = pytest.importorskip("nibabel")
    folder = real_data("dicom", "irregular", "sliceincrement")
    volume = read_volume(folder / "002", rules=MEND_ALL)
    published = nibabel.load(folder / "002_ground_truth.nii.gz")
    theirs = np.asarray(published.dataobj).astype(float)
    assert volume.array.shape == theirs.shape[::-1]

    def ours_at_their_voxels(moved_voxels: tuple[int, int, int]) -> np.ndarray:
        index = np.stack(np.meshgrid(*(np.arange(n) for n in theirs.shape), indexing="ij"), -1).reshape(-1, 3)
        world = ((index + moved_voxels) @ published.affine[:3, :3].T + published.affine[:3, 3]) * (-1, -1, 1)
        own = (world - volume.grid.origin_mm_lps) @ volume.grid.direction_matrix / volume.grid.spacing_mm_ijk
        values = map_coordinates(volume.array.astype(np.float32), own[:, ::-1].T, order=1, mode="nearest")
        return values.reshape(theirs.shape)

    inner = (slice(20, -20), slice(20, -20))
    placed = ours_at_their_voxels((0, 0, 0))
    for k in (1, 2, 3):
        ours, expected = placed[(*inner, k)], theirs[(*inner, k)]
        assert abs(ours.mean() - expected.mean()) < 0.1
        smooth = np.abs(uniform_filter(ours, 31) - uniform_filter(expected, 31))[20:-20, 20:-20]
        assert smooth.max() < 1.0
        assert np.corrcoef(ours.ravel(), expected.ravel())[0, 1] > 0.88
        for moved in ((1, 0, 0), (0, 1, 0)):
            shifted = ours_at_their_voxels(moved)[(*inner, k)]
            assert np.corrcoef(shifted.ravel(), expected.ravel())[0, 1] < 0.75


@pytest.mark.parametrize(("name", "angle", "size"), [
    ("irregular/gantrytilting/001", 14.0, (512, 521, 4)), ("head_gantry_tilt_uneven_spacing", 18.5, (512, 611, 135))])
def test_real_tilted_series_are_mended_when_asked(name: str, angle: float, size: tuple[int, int, int]) -> None:
    folder = real_data("dicom", name)
    volume = read_volume(folder, rules=MEND_ALL)

    assert volume.grid.size_ijk == size
    assert volume.tags.gantry_tilt_deg == pytest.approx(angle, abs=0.05)
    datasets = sorted((pydicom.dcmread(path) for path in folder.iterdir()), key=lambda d: d.ImagePositionPatient[2])
    assert volume.slices is not None
    # Every source slice's corner has its own world position on the new grid.
    for index, dataset in enumerate(datasets):
        np.testing.assert_allclose(volume.slices.plane_origin_mm(index), dataset.ImagePositionPatient, atol=1e-3)
    # The middle slice, looked up where it lies. One of the two series holds white noise; shifted linearly by half a
    # pixel and back, that keeps a correlation of 0.5 / sqrt(0.25^2 + 0.5^2 + 0.25^2) = 0.816, and of half as much
    # where it is one pixel off.
    middle = len(datasets) // 2
    (i, j), along = volume.slices.shift_ij[middle], volume.slices.along_mm[middle]
    offset_i, offset_j = volume.slices.offset_ij
    rows, columns = np.meshgrid(np.arange(100, 400, 7), np.arange(100, 400, 7), indexing="ij")
    k = along / volume.grid.spacing_mm_ijk[2]
    found = map_coordinates(volume.array.astype(np.float32),
                            [np.full(rows.shape, k), rows + j + offset_j, columns + i + offset_i], order=1)
    expected = hounsfield_by_pydicom(datasets[middle])[rows, columns]
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.81


def test_the_packaged_structure_set_without_a_preamble_fills_the_area_of_its_contours() -> None:
    # Rectangles of 400 x 300 mm at -200, -190 and -180 mm, by their corners as pydicom reads them.
    grid = Grid((250, 200, 3), (2.0, 2.0, 10.0), (-249.0, -199.0, -200.0))

    labels = read_mask(PACKAGED / "rtstruct.dcm", grid)

    expected = np.zeros(grid.shape_kji, np.uint8)
    # Voxel centres lie at odd millimetres, so that no contour runs through one.
    x_mm, y_mm = -249.0 + 2 * np.arange(250), -199.0 + 2 * np.arange(200)
    expected[:, np.abs(y_mm) < 150, :] = np.abs(x_mm) < 200
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize("name", ["liver_1frame.dcm", "liver_expb_1frame.dcm"])
def test_a_packaged_segmentation_that_has_lost_frames_is_refused_for_it(name: str) -> None:
    with pytest.raises(FemurError, match="a DICOM Segmentation of 1 frames with 3 descriptions"):
        read_mask(PACKAGED / name, Grid((512, 512, 3), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)))


def test_a_time_series_of_nibabels_test_data_is_refused() -> None:
    nibabel = pytest.importorskip("nibabel")
    path = Path(nibabel.__file__).parent / "tests" / "data" / "example4d.nii.gz"

    with pytest.raises(FemurError, match=r"found an image with 4 dimensions \(128 x 96 x 24 x 2\)"):
        read_volume(path)


def test_a_segmentation_of_a_packaged_series_and_a_mask_of_it_come_back_without_a_changed_bit(tmp_path: Path) -> None:
    folder = PACKAGED / "dicomdirtests" / "98892001" / "CT5N"
    volume = read_volume(folder)
    # highdicom lists the frames in the order of the files' names, which need not be that of the positions.
    sources = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    order = np.argsort(np.argsort([float(dataset.ImagePositionPatient[2]) for dataset in sources]))
    labels = np.zeros(volume.array.shape, np.uint8)
    labels[1:4] = volume.array[1:4] > -500
    labels[:, :, :8] *= 2
    assert np.unique(labels).tolist() == [0, 1, 2]
    segmentation = write_seg(tmp_path / "seg.dcm", folder, labels[order])

    on_scan = read_mask(segmentation, volume.grid)
    write_nifti(tmp_path / "mask.nii.gz", on_scan, volume.grid)

    np.testing.assert_array_equal(on_scan, labels)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.nii.gz", volume.grid), labels)
    np.testing.assert_array_equal(nifti_content(tmp_path / "mask.nii.gz", "u1")[0], labels)


PERMUTATIONS = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(permutation=st.sampled_from(PERMUTATIONS), flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
       mask_permutation=st.sampled_from(PERMUTATIONS),
       mask_flips=st.tuples(st.booleans(), st.booleans(), st.booleans()), seed=st.integers(0, 99))
def test_a_mask_goes_through_files_cropping_and_flips_and_back_without_a_changed_bit(
        tmp_path: Path, permutation: tuple[int, int, int], flips: tuple[bool, bool, bool],
        mask_permutation: tuple[int, int, int], mask_flips: tuple[bool, bool, bool], seed: int) -> None:
    lps_grid = Grid((40, 14, 6), (4.0, 6.0, 5.0), (-80.0, -40.0, 900.0))
    labels, hounsfield = np.zeros((6, 14, 40), np.uint8), np.full((6, 14, 40), -1000, np.int16)
    hounsfield[:, 2:12, 2:38] = 40
    random = np.random.default_rng(seed)
    for label, columns in ((1, slice(26, 34)), (2, slice(6, 14))):
        labels[1:, 4:10, columns] = label * (random.random((5, 6, 8)) < 0.7)
        hounsfield[1:, 4:10, columns] = 700
    to_scan, to_mask = AxisMapping(permutation, flips), AxisMapping(mask_permutation, mask_flips)
    scan = Volume(np.ascontiguousarray(to_scan.apply(hounsfield)), to_scan.apply_to_grid(lps_grid))
    write_nifti(tmp_path / "mask.nii.gz", np.ascontiguousarray(to_mask.apply(labels)), to_mask.apply_to_grid(lps_grid))

    on_scan = read_mask(tmp_path / "mask.nii.gz", scan.grid)
    np.testing.assert_array_equal(on_scan, to_scan.apply(labels))
    cases, _ = cut_into_cases(scan, "both", on_scan)

    restored = np.zeros_like(on_scan)
    for case in cases:
        assert case.label is not None
        write_nifti(tmp_path / "case.nii.gz", case.label, case.geometry.case_grid)
        again = read_mask(tmp_path / "case.nii.gz", case.geometry.case_grid)
        restored += case.geometry.backward(again) * np.uint8(1 if case.side == "left" else 2)
    np.testing.assert_array_equal(restored, on_scan)
