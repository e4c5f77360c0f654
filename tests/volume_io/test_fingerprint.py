"""The keyed hash of the voxels finds one scan in two guises and tells two scans apart."""

from __future__ import annotations

import hmac
from dataclasses import replace
from pathlib import Path

import numpy as np
from dicom_factory import write_ct_series

from femur_nnunet.volume_io.fingerprint import voxel_hmac
from femur_nnunet.volume_io.reading import read_volume
from femur_nnunet.volume_io.volume import Grid, Volume
from femur_nnunet.volume_io.writing import write_nifti

KEY = b"sixteen byte key"
ARRAY = np.random.default_rng(0).integers(-1024, 3000, (4, 5, 6)).astype(np.int16)
VOLUME = Volume(ARRAY, Grid((6, 5, 4), (0.7, 0.8, 2.5), (1.0, 2.0, 3.0)))


def test_dicom_and_a_reversed_nifti_of_one_scan_give_one_hash(tmp_path: Path) -> None:
    write_ct_series(tmp_path / "ct", (ARRAY.astype(int) + 1024).astype(np.uint16), spacing_mm_ijk=(0.645, 0.83, 2.5))
    series = read_volume(tmp_path / "ct")
    write_nifti(tmp_path / "scan.nii.gz", series.array[:, ::-1], replace(
        series.grid, direction=(1, 0, 0, 0, -1, 0, 0, 0, 1),
        origin_mm_lps=tuple(series.grid.world_mm_lps((0, 4, 0)))))

    assert voxel_hmac(KEY, series) == voxel_hmac(KEY, read_volume(tmp_path / "scan.nii.gz"))


def test_the_hash_is_hmac_sha256_and_needs_the_key() -> None:
    message = repr(((6, 5, 4), [0.7, 0.8, 2.5])).encode() + ARRAY.astype("<f4").tobytes()

    assert voxel_hmac(KEY, VOLUME) == hmac.new(KEY, message, "sha256").hexdigest()
    assert voxel_hmac(b"another key", VOLUME) != voxel_hmac(KEY, VOLUME)


def test_one_changed_voxel_or_spacing_changes_the_hash() -> None:
    changed = ARRAY.copy()
    changed[1, 2, 3] += 1

    hashes = {voxel_hmac(KEY, VOLUME), voxel_hmac(KEY, replace(VOLUME, array=changed)),
              voxel_hmac(KEY, replace(VOLUME, grid=replace(VOLUME.grid, spacing_mm_ijk=(0.7, 0.8, 2.6))))}
    assert len(hashes) == 3


def test_a_moved_origin_does_not_hide_equal_voxels() -> None:
    moved = replace(VOLUME, grid=replace(VOLUME.grid, origin_mm_lps=(0.0, 0.0, 0.0)))

    assert voxel_hmac(KEY, moved) == voxel_hmac(KEY, VOLUME)
