"""Stored pixels become HU exactly, in every encoding that a scanner may write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_factory import write_ct_series, write_enhanced_ct
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from femur_nnunet.errors import FemurError
from femur_nnunet.volume_io.reading import read_volume

UNSIGNED = np.random.default_rng(1).integers(0, 4096, (4, 16, 12)).astype(np.uint16)
SIGNED = np.random.default_rng(2).integers(-2000, 3000, (4, 16, 12)).astype(np.int16)
SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian,
            RLELossless, JPEGLSLossless]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
@pytest.mark.parametrize("stored", [UNSIGNED, SIGNED], ids=["unsigned", "signed"])
def test_every_lossless_syntax_gives_the_same_hu(tmp_path: Path, syntax: str, stored: np.ndarray) -> None:
    intercept = -1024 if stored is UNSIGNED else 0
    write_ct_series(tmp_path, stored, transfer_syntax=syntax, intercept=intercept)

    np.testing.assert_array_equal(read_volume(tmp_path).array, stored.astype(int) + intercept)


def test_each_slice_uses_its_own_rescale(tmp_path: Path) -> None:
    def change(dataset: Dataset, index: int) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = index + 1, -1000 - index

    write_ct_series(tmp_path, UNSIGNED, change=change)

    expected = np.stack([UNSIGNED[n].astype(int) * (n + 1) - 1000 - n for n in range(4)])
    np.testing.assert_array_equal(read_volume(tmp_path).array, expected)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless], ids=lambda uid: uid.name)
def test_a_fractional_slope_gives_floats(tmp_path: Path, syntax: str) -> None:
    write_ct_series(tmp_path, UNSIGNED, slope=0.25, intercept=-1024.5, transfer_syntax=syntax)

    array = read_volume(tmp_path).array

    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, UNSIGNED * 0.25 - 1024.5)


def test_values_beyond_16_bits_are_kept(tmp_path: Path) -> None:
    stored = UNSIGNED.copy()
    stored[2, 3, 4] = 65535

    write_ct_series(tmp_path, stored)

    array = read_volume(tmp_path).array
    assert array.dtype == np.int32
    np.testing.assert_array_equal(array, stored.astype(int) - 1024)


@pytest.mark.parametrize("signed", [False, True])
def test_bits_above_the_stored_ones_are_ignored_and_the_sign_is_extended(tmp_path: Path, signed: bool) -> None:
    values = np.random.default_rng(3).integers(-2048 if signed else 0, 2048 if signed else 4096, (4, 16, 12))
    twelve_bits = values & 0x0FFF
    with_overlay = (twelve_bits | 0x5000).astype(np.uint16)  # an old overlay in the unused bits
    stored = with_overlay.view(np.int16) if signed else with_overlay

    write_ct_series(tmp_path, stored, bits_stored=12, intercept=-100)

    np.testing.assert_array_equal(read_volume(tmp_path).array, values - 100)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless], ids=lambda uid: uid.name)
@pytest.mark.parametrize("written_as", [-2000, 63536], ids=["signed", "as its unsigned twin"])
def test_padding_becomes_air(tmp_path: Path, syntax: str, written_as: int) -> None:
    stored = SIGNED.copy()
    stored[:, :2] = -2000

    def pad(dataset: Dataset, index: int) -> None:
        dataset.add_new("PixelPaddingValue", "SS" if written_as < 0 else "US", written_as)

    write_ct_series(tmp_path, stored, intercept=0, transfer_syntax=syntax, change=pad)

    volume = read_volume(tmp_path)
    assert (volume.array[:, :2] == -1024).all()
    kept = stored[:, 2:] != -2000
    np.testing.assert_array_equal(volume.array[:, 2:][kept], stored[:, 2:][kept])
    assert volume.notes == [f"{np.count_nonzero(stored == -2000)} padding voxel(s) set to -1024 HU"]


def test_a_padding_range_becomes_air(tmp_path: Path) -> None:
    stored = SIGNED.copy()
    stored[:, 0], stored[:, 1] = -1990, -1981

    def pad(dataset: Dataset, index: int) -> None:
        dataset.add_new("PixelPaddingValue", "SS", -2000)
        dataset.add_new("PixelPaddingRangeLimit", "SS", -1981)

    write_ct_series(tmp_path, stored, intercept=0, change=pad)

    array = read_volume(tmp_path).array
    expected = np.where((stored >= -2000) & (stored <= -1981), -1024, stored)
    np.testing.assert_array_equal(array, expected)


def test_a_padding_value_that_would_be_tissue_is_left_alone_with_a_note(tmp_path: Path) -> None:
    def pad(dataset: Dataset, index: int) -> None:
        dataset.add_new("PixelPaddingValue", "SS", 40)

    write_ct_series(tmp_path, SIGNED, intercept=0, change=pad)

    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, SIGNED)
    assert volume.notes == ["the padding value of 4 slice(s) lies above -900 HU and was left alone"]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEGLSLossless], ids=lambda uid: uid.name)
@pytest.mark.parametrize("lost_bytes", [5, 120])
def test_truncated_pixels_are_counted_with_their_syntax(tmp_path: Path, syntax: str, lost_bytes: int) -> None:
    paths = write_ct_series(tmp_path, UNSIGNED, transfer_syntax=syntax)
    for path in paths[1:3]:
        path.write_bytes(path.read_bytes()[:-lost_bytes])

    with pytest.raises(FemurError) as caught:
        read_volume(tmp_path, subject="row 3")

    assert "2 " in caught.value.found
    assert paths[1].name not in str(caught.value)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless], ids=lambda uid: uid.name)
def test_a_compressed_multi_frame_file_is_decoded(tmp_path: Path, syntax: str) -> None:
    write_enhanced_ct(tmp_path / "multi.dcm", UNSIGNED, slope=2, intercept=-1000, transfer_syntax=syntax,
                      frame_order=[2, 0, 3, 1])

    np.testing.assert_array_equal(read_volume(tmp_path).array, UNSIGNED.astype(int) * 2 - 1000)


def test_an_unknown_syntax_is_refused_without_quoting_it(tmp_path: Path) -> None:
    for path in write_ct_series(tmp_path, UNSIGNED, transfer_syntax=RLELossless):
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = "1.2.840.999.123456"
        dataset.save_as(path, implicit_vr=False, little_endian=True)

    with pytest.raises(FemurError) as caught:
        read_volume(tmp_path)
    assert "123456" not in str(caught.value)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEGLSLossless], ids=lambda uid: uid.name)
def test_signed_pixels_of_12_bits_keep_their_sign_in_every_decoder(tmp_path: Path, syntax: str) -> None:
    values = np.random.default_rng(3).integers(-2048, 2048, (4, 16, 12)).astype(np.int16)
    write_ct_series(tmp_path, values, bits_stored=12, intercept=0, transfer_syntax=syntax)

    np.testing.assert_array_equal(read_volume(tmp_path).array, values)
