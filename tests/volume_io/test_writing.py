"""Written NIfTI files hold exactly the voxels and the grid, the same bytes each time, and nothing else."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from femur_nnunet.errors import FemurError
from femur_nnunet.volume_io.volume import Grid
from femur_nnunet.volume_io.writing import write_nifti

GRID = Grid((5, 4, 3), (0.7, 0.8, 2.5), (-120.25, 33.5, 801.125),
            tuple(Rotation.from_euler("xyz", (4, 7, -9), degrees=True).as_matrix().ravel()))
HOUNSFIELD = np.random.default_rng(0).integers(-1024, 3000, GRID.shape_kji)


def stored(path: Path) -> tuple[np.ndarray, sitk.Image]:
    image = sitk.ReadImage(str(path))
    return sitk.GetArrayFromImage(image), image


@pytest.mark.parametrize("name", ["case.nii.gz", "case.nii"])
def test_two_independent_readers_find_voxels_and_grid(tmp_path: Path, name: str) -> None:
    write_nifti(tmp_path / name, HOUNSFIELD, GRID)

    array, image = stored(tmp_path / name)
    np.testing.assert_array_equal(array, HOUNSFIELD)
    np.testing.assert_allclose(image.GetSpacing(), GRID.spacing_mm_ijk, atol=1e-6)
    np.testing.assert_allclose(image.GetOrigin(), GRID.origin_mm_lps, atol=1e-4)
    np.testing.assert_allclose(image.GetDirection(), GRID.direction, atol=1e-6)
    other = nibabel.load(tmp_path / name)
    np.testing.assert_array_equal(np.asarray(other.dataobj).transpose(2, 1, 0), HOUNSFIELD)
    corner_ras = other.affine @ (4, 3, 2, 1)
    np.testing.assert_allclose(corner_ras[:3] * (-1, -1, 1), GRID.world_mm_lps((4, 3, 2)), atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), left_handed=st.booleans(), quarter_turns=st.booleans())
def test_qform_and_sform_agree_for_any_direction(tmp_path_factory: pytest.TempPathFactory, seed: int,
                                                 left_handed: bool, quarter_turns: bool) -> None:
    direction = Rotation.random(random_state=seed).as_matrix()
    if quarter_turns:
        direction = np.rint(Rotation.from_euler("xyz", np.random.default_rng(seed).integers(0, 4, 3) * 90,
                                                degrees=True).as_matrix())
    if left_handed:
        direction[:, 1] *= -1
    path = tmp_path_factory.getbasetemp() / "direction.nii"
    write_nifti(path, HOUNSFIELD, Grid(GRID.size_ijk, GRID.spacing_mm_ijk, GRID.origin_mm_lps,
                                       tuple(direction.ravel())))

    image = nibabel.load(path)
    expected = np.eye(4)
    expected[:3, :3] = np.diag([-1, -1, 1]) @ direction @ np.diag(GRID.spacing_mm_ijk)
    expected[:3, 3] = np.array(GRID.origin_mm_lps) * (-1, -1, 1)
    np.testing.assert_allclose(image.get_sform(), expected, atol=1e-4)
    # nibabel refuses quaternions that are no rotation; 32-bit ones keep about 1e-3 mm over a voxel of 2.5 mm.
    np.testing.assert_allclose(image.get_qform(), expected, atol=2e-3)


def test_equal_content_gives_equal_bytes_without_name_or_time(tmp_path: Path) -> None:
    write_nifti(tmp_path / "one.nii.gz", HOUNSFIELD, GRID)
    write_nifti(tmp_path / "two.nii.gz", HOUNSFIELD.astype(np.float64), GRID)

    packed = (tmp_path / "one.nii.gz").read_bytes()
    assert packed == (tmp_path / "two.nii.gz").read_bytes()
    assert packed[3] == 0  # gzip flags: no name, no comment
    assert packed[4:8] == bytes(4)  # modification time
    header = gzip.decompress(packed)[:352]
    assert header[4:38] == bytes(34)  # data_type and db_name
    assert header[148:252] == bytes(104)  # descrip and aux_file
    assert header[328:344] == bytes(16)  # intent_name
    assert header[348:352] == bytes(4)  # no extension
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["one.nii.gz", "two.nii.gz"]


@pytest.mark.parametrize(("array", "dtype"), [
    (HOUNSFIELD.astype(np.float32), np.int16), (HOUNSFIELD + 0.5, np.float32), (HOUNSFIELD + 40000, np.float32),
    ((HOUNSFIELD > 0).astype(np.uint8), np.uint8), (HOUNSFIELD > 0, np.uint8), (HOUNSFIELD.astype(">i4"), np.int16)])
def test_the_stored_type_fits_the_values(tmp_path: Path, array: np.ndarray, dtype: type) -> None:
    write_nifti(tmp_path / "case.nii.gz", array, GRID)

    values, _ = stored(tmp_path / "case.nii.gz")
    assert values.dtype == dtype
    np.testing.assert_array_equal(values, array.astype(values.dtype))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_leave_no_file(tmp_path: Path, bad: float) -> None:
    array = HOUNSFIELD.astype(float)
    array[0, 0, 0] = bad

    with pytest.raises(FemurError, match="NaN or infinite"):
        write_nifti(tmp_path / "case.nii.gz", array, GRID)
    assert not list(tmp_path.iterdir())


def test_a_failing_write_keeps_the_old_file_and_leaves_no_other(tmp_path: Path,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "case.nii.gz"
    write_nifti(path, HOUNSFIELD, GRID)
    before = path.read_bytes()

    def full_disk(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("femur_nnunet.volume_io.writing._write_content", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_nifti(path, HOUNSFIELD + 1, GRID)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["case.nii.gz"]


def test_a_wrong_shape_or_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FemurError, match="shape"):
        write_nifti(tmp_path / "case.nii.gz", HOUNSFIELD[:2], GRID)
    with pytest.raises(ValueError, match="end in"):
        write_nifti(tmp_path / "case.mha", HOUNSFIELD, GRID)
