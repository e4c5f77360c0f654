"""NIfTI voxels as stored: both versions, both byte orders, every plain type."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

from femur_nnunet.volume_io.nifti_voxels import NIFTI_ERRORS, read_nifti_voxels

VALUES = np.random.default_rng(0).integers(0, 120, (3, 4, 5))


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "f4", "f8"])
@pytest.mark.parametrize("version", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nibabels_files_are_read_alike(tmp_path: Path, dtype: str, version: type, order: str, suffix: str) -> None:
    header = version.header_class(endianness=order)
    header.set_data_dtype(np.dtype(dtype).newbyteorder(order))
    image = version(VALUES.transpose(2, 1, 0).astype(dtype), np.eye(4), header)
    nibabel.save(image, tmp_path / f"scan{suffix}")

    voxels = read_nifti_voxels(tmp_path / f"scan{suffix}", VALUES.shape)

    assert voxels.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(voxels, VALUES)


def test_complex_numbers_and_damaged_checksums_are_refused(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(VALUES.astype(np.complex64), np.eye(4)), tmp_path / "complex.nii")
    nibabel.save(nibabel.Nifti1Image(VALUES.astype(np.int16), np.eye(4)), tmp_path / "scan.nii.gz")
    content = bytearray((tmp_path / "scan.nii.gz").read_bytes())
    content[-8] ^= 1
    (tmp_path / "scan.nii.gz").write_bytes(content)

    for name in ("complex.nii", "scan.nii.gz"):
        with pytest.raises(NIFTI_ERRORS):
            read_nifti_voxels(tmp_path / name, (5, 4, 3))


def test_a_gzip_file_of_several_members_is_read_whole_and_a_cut_at_its_end_is_refused(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(VALUES.transpose(2, 1, 0).astype(np.int16), np.eye(4)), tmp_path / "scan.nii")
    content = (tmp_path / "scan.nii").read_bytes()
    packed = gzip.compress(content[:360]) + gzip.compress(content[360:])
    (tmp_path / "members.nii.gz").write_bytes(packed)
    np.testing.assert_array_equal(read_nifti_voxels(tmp_path / "members.nii.gz", VALUES.shape), VALUES)

    # Without the last bytes all voxels are there, but not the checksum that vouches for them.
    (tmp_path / "cut.nii.gz").write_bytes(packed[:-4])
    with pytest.raises(NIFTI_ERRORS):
        read_nifti_voxels(tmp_path / "cut.nii.gz", VALUES.shape)


@pytest.mark.parametrize("n_bytes", [0, 3, 100, 347, 350])
def test_a_file_that_ends_within_its_header_is_refused(tmp_path: Path, n_bytes: int) -> None:
    nibabel.save(nibabel.Nifti1Image(VALUES.astype(np.int16), np.eye(4)), tmp_path / "scan.nii")
    (tmp_path / "scan.nii").write_bytes((tmp_path / "scan.nii").read_bytes()[:n_bytes])
    with pytest.raises(NIFTI_ERRORS):
        read_nifti_voxels(tmp_path / "scan.nii", (5, 4, 3))
