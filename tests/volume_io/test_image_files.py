"""NIfTI, MetaImage and NRRD are read alike, and what is no CT volume is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from femur_nnunet.errors import FemurError
from femur_nnunet.volume_io.image_files import IMAGE_SUFFIXES, compact_type, data_file_entries
from femur_nnunet.volume_io.reading import read_volume

VALUES = np.random.default_rng(0).integers(-1024, 2000, (4, 5, 6)).astype(np.int16)


def write(path: Path, array: np.ndarray = VALUES, **changes: object) -> Path:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.75, 0.5, 2.5))
    image.SetOrigin((-100.5, 20.25, 900.0))
    image.SetDirection(Rotation.from_euler("xyz", (3, -4, 170), degrees=True).as_matrix().ravel().tolist())
    for name, value in changes.items():
        getattr(image, name)(value)
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_every_format_gives_the_same_voxels_and_grid(tmp_path: Path, suffix: str) -> None:
    volume = read_volume(write(tmp_path / f"scan{suffix}"))

    np.testing.assert_array_equal(volume.array, VALUES)
    assert volume.array.dtype == np.int16
    assert volume.source_format == {".mha": "metaimage", ".mhd": "metaimage", ".nrrd": "nrrd",
                                    ".nhdr": "nrrd"}.get(suffix, "nifti")
    assert volume.grid.size_ijk == (6, 5, 4)
    expected = Rotation.from_euler("xyz", (3, -4, 170), degrees=True).as_matrix()
    corner = np.array([-100.5, 20.25, 900.0]) + expected @ (np.array([0.75, 0.5, 2.5]) * (5, 4, 3))
    np.testing.assert_allclose(volume.grid.corners_mm_lps()[-1], corner, atol=1e-4)


def test_a_nifti_affine_in_ras_becomes_lps(tmp_path: Path) -> None:
    # An independent writer: x to the right of the world means a negative LPS x.
    affine = np.array([[-0.7, 0, 0, 30], [0, 0.8, 0, -40], [0, 0, 2, 50], [0, 0, 0, 1.0]])
    nibabel.save(nibabel.Nifti1Image(VALUES.transpose(2, 1, 0), affine), tmp_path / "scan.nii.gz")

    volume = read_volume(tmp_path / "scan.nii.gz")

    np.testing.assert_array_equal(volume.array, VALUES)
    np.testing.assert_allclose(volume.grid.origin_mm_lps, (-30, 40, 50), atol=1e-5)
    np.testing.assert_allclose(volume.grid.direction_matrix, np.diag([1, -1, 1]), atol=1e-6)
    np.testing.assert_allclose(volume.grid.spacing_mm_ijk, (0.7, 0.8, 2), atol=1e-6)


def test_a_nifti_rescale_is_applied(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VALUES.transpose(2, 1, 0), np.diag([1, 1, 1, 1.0]))
    image.header.set_slope_inter(1, -24)
    nibabel.save(image, tmp_path / "scan.nii")
    raw = bytearray((tmp_path / "scan.nii").read_bytes())
    raw[112:120] = np.array([1, -24], "<f4").tobytes()  # scl_slope and scl_inter, which nibabel folds into the data
    (tmp_path / "scan.nii").write_bytes(raw)
    stored = np.frombuffer(bytes(raw[352:]), "<i2").reshape(4, 5, 6)

    np.testing.assert_array_equal(read_volume(tmp_path / "scan.nii").array, stored.astype(int) - 24)


def test_a_fourth_axis_of_length_one_is_dropped(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(VALUES.transpose(2, 1, 0)[..., None], np.diag([-1, -1, 2, 1.0])),
                 tmp_path / "scan.nii.gz")

    np.testing.assert_array_equal(read_volume(tmp_path / "scan.nii.gz").array, VALUES)


@pytest.mark.parametrize(("build", "told"), [
    (lambda p: nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4, 2), np.int16), np.eye(4)), p),
     r"4 dimensions \(4 x 4 x 4 x 2\)"),
    (lambda p: nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4), np.int16), np.eye(4)), p), "2 dimensions"),
    (lambda p: sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 4, 4, 3), np.uint8), isVector=True), str(p)),
     "3 values a voxel"),
    (lambda p: write(p, VALUES[:2]), r"6 x 5 x 2 voxels; expected at least 3 along each axis"),
    (lambda p: write(p, np.where(VALUES > 1990, np.nan, VALUES).astype(np.float32)), r"NaN or infinite voxel"),
    (lambda p: write(p, np.where(VALUES > 1990, np.inf, VALUES).astype(np.float32)), r"NaN or infinite voxel"),
    (lambda p: p.write_bytes(b""), "an empty file"),
    (lambda p: p.write_bytes(b"rubbish" * 100), "nifti file that cannot be read"),
    (lambda p: p.write_bytes(gzip.compress(gzip.decompress(write(p).read_bytes())[:-60])),
     "nifti file that cannot be read"),
])
def test_what_is_no_sound_volume_is_refused_with_its_reason(tmp_path: Path, build, told: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "DOE_JOHN.nii.gz"
    build(path)

    with pytest.raises(FemurError, match=f"row 8: found .*{told}") as caught:
        read_volume(path, subject="row 8")
    assert "DOE" not in str(caught.value)


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan.mha", "scan.nrrd"])
@pytest.mark.parametrize("lost_bytes", [8, 60])
def test_a_truncated_file_is_refused_and_never_filled_up(tmp_path: Path, name: str, lost_bytes: int) -> None:
    path = write(tmp_path / name)
    path.write_bytes(path.read_bytes()[:-lost_bytes])

    with pytest.raises(FemurError, match="cannot be read"):
        read_volume(path)


@pytest.mark.parametrize("name", ["scan.nii", "scan.mha", "scan.nrrd"])
def test_nan_is_found_in_every_format(tmp_path: Path, name: str) -> None:
    values = VALUES.astype(np.float64)
    values[0, 0, :2] = np.nan

    with pytest.raises(FemurError, match="found 2 NaN or infinite"):
        read_volume(write(tmp_path / name, values))


def test_a_nifti_file_without_orientation_is_refused(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VALUES.transpose(2, 1, 0), None)
    image.header["qform_code"] = image.header["sform_code"] = 0
    nibabel.save(image, tmp_path / "scan.nii")

    with pytest.raises(FemurError, match="without orientation"):
        read_volume(tmp_path / "scan.nii")


@pytest.mark.parametrize("spacing", ["1 0 1", "1 -1 1", "1 nan 1"])
def test_a_spacing_that_is_not_positive_is_refused(tmp_path: Path, spacing: str) -> None:
    text = write(tmp_path / "scan.mhd").read_text()
    (tmp_path / "scan.mhd").write_text("\n".join(
        f"ElementSpacing = {spacing}" if line.startswith("ElementSpacing") else line for line in text.splitlines()))

    with pytest.raises(FemurError):
        read_volume(tmp_path / "scan.mhd")


def test_a_sheared_image_is_refused(tmp_path: Path) -> None:
    affine = np.array([[1, 0, 0, 0], [0, 1, 0.3, 0], [0, 0, 2, 0], [0, 0, 0, 1.0]])
    image = nibabel.Nifti1Image(VALUES.transpose(2, 1, 0), affine)
    image.set_qform(None, code=0)
    nibabel.save(image, tmp_path / "scan.nii.gz")

    with pytest.raises(FemurError, match=r"not (orthogonal|at right angles)"):
        read_volume(tmp_path / "scan.nii.gz")


def test_a_header_that_asks_for_all_memory_is_refused(tmp_path: Path) -> None:
    text = write(tmp_path / "scan.mhd").read_text()
    (tmp_path / "scan.mhd").write_text(text.replace("DimSize = 6 5 4", "DimSize = 60000 50000 4000"))

    with pytest.raises(FemurError, match="60000 x 50000 x 4000 voxels"):
        read_volume(tmp_path / "scan.mhd")


def test_an_mhd_without_its_data_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "scan.mhd")
    (tmp_path / "scan.raw").unlink(missing_ok=True)
    (tmp_path / "scan.zraw").unlink(missing_ok=True)

    with pytest.raises(FemurError, match="cannot be read"):
        read_volume(tmp_path / "scan.mhd")


def test_an_unknown_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scan.rar").write_bytes(b"Rar!" + bytes(400))

    with pytest.raises(FemurError, match="a file of an unknown kind"):
        read_volume(tmp_path / "scan.rar")


def test_readers_write_nothing_to_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "DOE.nii").write_bytes(b"rubbish" * 100)
    with pytest.raises(FemurError):
        read_volume(tmp_path / "DOE.nii")

    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


@pytest.mark.parametrize(("values", "dtype"), [
    ([-1024.0, 3000.0], np.int16), ([-1024.5, 3000.0], np.float32), ([0, 40000], np.int32), ([0.0, 40000.0], np.int32),
    ([0, 2 ** 40], np.float32), ([0.0, 1e300], np.float32)])
def test_the_smallest_exact_type_is_used(values: list[float], dtype: type) -> None:
    with np.errstate(over="ignore"):
        assert compact_type(np.array([[values]])).dtype == dtype


@pytest.mark.parametrize(("name", "header", "entries"), [
    ("a.mhd", b"NDims = 3\nElementDataFile = a scan.raw\n", ["a scan.raw"]),
    ("a.mhd", b"NDims = 3\r\nelementdatafile : LIST\r\n1.raw\r\n2.raw\r\n", ["LIST", "1.raw", "2.raw"]),
    ("a.mha", b"NDims = 3\nElementDataFile = LOCAL\n\x00\x01data file: x\n", []),
    ("a.nrrd", b"NRRD0004\n# a\x85\xe2\x80\xa8comment\r\x0bof\x0b\ndata file: /b.raw\n\n\x00", ["/b.raw"]),
    ("a.nrrd", b"NRRD0004\r\nencoding: raw\r\n\r\n\ndata file: x\n", []),
    ("a.nii.gz", b"data file: x\n", [])])
def test_data_files_are_those_that_a_header_names(tmp_path: Path, name: str, header: bytes, entries: list[str]) -> None:
    (tmp_path / name).write_bytes(header)
    assert data_file_entries(tmp_path / name) == entries
