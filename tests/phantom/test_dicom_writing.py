from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from femur_nnunet.phantom.dicom_writing import SeriesIdentity, make_uid, write_dicom_series
from femur_nnunet.phantom.tiers import ScannerTier, load_tiers
from femur_nnunet.volume_io.volume import Grid

GRID = Grid((24, 20, 7), (0.9, 0.9, 2.5), (-31.25, 17.5, -403.125))
IDENTITY = SeriesIdentity("SYNTHETIC^0001", "TU0001", "F", 66, "100/TU0001/1")


@pytest.fixture(scope="module")
def hu() -> np.ndarray:
    values = np.random.default_rng(100).integers(-1024, 3000, size=GRID.shape_kji).astype(np.int16)
    values[:, 0, 0] = -1024
    return values


def _write(folder: Path, hu: np.ndarray, scanner: ScannerTier) -> list[pydicom.Dataset]:
    write_dicom_series(folder, hu, GRID, scanner, IDENTITY, slice_thickness_mm=3.0,
                       series_description="HIP QCT")
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


@pytest.mark.parametrize("tier", ["none", "moderate", "severe"])
def test_simpleitk_reads_the_series_with_geometry_and_hu(tmp_path: Path, hu: np.ndarray, tier: str) -> None:
    _write(tmp_path, hu, load_tiers(scanner=tier).scanner)
    reader = sitk.ImageSeriesReader()
    series = reader.GetGDCMSeriesIDs(str(tmp_path))
    assert len(series) == 1
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path), series[0]))
    image = reader.Execute()
    assert image.GetSpacing() == pytest.approx(GRID.spacing_mm_ijk)
    assert image.GetOrigin() == pytest.approx(GRID.origin_mm_lps)
    assert image.GetDirection() == pytest.approx(GRID.direction)
    assert np.array_equal(sitk.GetArrayFromImage(image), hu)


def test_headers_say_what_the_scanner_is(tmp_path: Path, hu: np.ndarray) -> None:
    scanner = load_tiers(scanner="moderate").scanner
    first = _write(tmp_path, hu, scanner)[0]
    assert first.Modality == "CT"
    assert first.SOPClassUID == pydicom.uid.CTImageStorage
    assert (first.Manufacturer, first.ManufacturerModelName) == (scanner.manufacturer, scanner.model)
    assert first.ConvolutionKernel == scanner.kernel
    assert float(first.KVP) == 140
    assert float(first.SliceThickness) == 3.0
    assert str(first.PatientName) == "SYNTHETIC^0001"


def test_instances_are_unique_and_file_names_do_not_follow_positions(tmp_path: Path, hu: np.ndarray) -> None:
    slices = _write(tmp_path, hu, load_tiers().scanner)
    assert len({item.SOPInstanceUID for item in slices}) == len(slices) == hu.shape[0]
    assert len({item.SeriesInstanceUID for item in slices}) == 1
    heights = [float(item.ImagePositionPatient[2]) for item in slices]
    assert heights != sorted(heights)
    by_number = sorted(slices, key=lambda item: int(item.InstanceNumber))
    falling = [float(item.ImagePositionPatient[2]) for item in by_number]
    assert falling == sorted(falling, reverse=True)


def test_declared_padding_is_the_stored_form_of_the_padding_hu(tmp_path: Path, hu: np.ndarray) -> None:
    padded = hu.copy()
    padded[:, 0, 0] = -3024
    first = _write(tmp_path, padded, load_tiers().scanner)[0]
    assert first.PixelPaddingValue == -2000
    assert first.pixel_array[0, 0] == -2000
    assert first.pixel_array[0, 0] * float(first.RescaleSlope) + float(first.RescaleIntercept) == -3024


def test_a_vendor_without_sign_stores_twelve_bits(tmp_path: Path, hu: np.ndarray) -> None:
    scanner = replace(load_tiers().scanner, manufacturer="SIEMENS", padding_hu=-1024)
    first = _write(tmp_path, hu, scanner)[0]
    assert (first.PixelRepresentation, first.BitsStored) == (0, 12)
    assert "PixelPaddingValue" not in first


def test_uids_depend_on_their_parts_alone_and_are_valid() -> None:
    assert make_uid(1, "a") == make_uid(1, "a")
    assert make_uid(1, "a") != make_uid(1, "b")
    assert pydicom.uid.UID(make_uid("x")).is_valid
    assert len(make_uid("x")) <= 64


def test_exposure_in_the_header_fits_noise_and_tube_voltage(tmp_path: Path) -> None:
    # Half the noise needs four times the exposure; 16 HU at 120 kVp stand for 100 mAs.
    scanner = replace(load_tiers().scanner, noise_hu=8.0, kvp=120)
    write_dicom_series(tmp_path, np.zeros((2, GRID.size_ijk[1], GRID.size_ijk[0]), dtype=np.int16), GRID, scanner,
                       IDENTITY, slice_thickness_mm=3.0, series_description="HIP")
    header = pydicom.dcmread(next(tmp_path.iterdir()))
    assert header.Exposure == 400
    assert header.XRayTubeCurrent * header.ExposureTime / 1000 == pytest.approx(400, rel=0.01)
    assert header.PatientPosition == "HFS"
    assert header.BodyPartExamined == "HIP"
    assert header.FilterType == "BODY FILTER"
    assert header.StudyDate == header.ContentDate
    assert "SYNTHETIC" in header.StudyDescription
