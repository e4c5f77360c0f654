"""Third-party series: what is sound is read to the last HU, what is not is refused with its reason."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pydicom
import pytest
from real_data import real_data

from femur_nnunet.errors import FemurError
from femur_nnunet.volume_io.dicom_headers import read_dicom_file
from femur_nnunet.volume_io.dicom_pixels import read_hounsfield
from femur_nnunet.volume_io.reading import read_volume

LOSSLESS = ["1.2.840.10008.1.2.dcm", "1.2.840.10008.1.2.1.dcm", "1.2.840.10008.1.2.2.dcm", "1.2.840.10008.1.2.1.99.dcm",
            "1.2.840.10008.1.2.5.dcm", "1.2.840.10008.1.2.4.57.dcm", "1.2.840.10008.1.2.4.70.dcm",
            "1.2.840.10008.1.2.4.80.dcm", "1.2.840.10008.1.2.4.90.dcm"]
# Largest error that the file's authors' lossy settings make, in HU; 8-bit JPEG has steps of 32 HU.
LOSSY = {"1.2.840.10008.1.2.4.91.dcm": 5, "1.2.840.10008.1.2.4.81.dcm": 1, "1.2.840.10008.1.2.4.50.dcm": 65,
         "1.2.840.10008.1.2.4.51.dcm": 36, "1.2.840.10008.1.2.4.53.dcm": 36, "1.2.840.10008.1.2.4.55.dcm": 36}


def test_the_abdomen_is_read_to_the_last_hu_and_its_corners_to_a_micrometre() -> None:
    folder = real_data("dicom", "abdomen_2mm_jpeg2000")
    volume = read_volume(folder)

    # pydicom with Pillow's decoder is independent of GDCM, which decodes JPEG 2000 here.
    datasets = sorted((pydicom.dcmread(path) for path in folder.iterdir()), key=lambda d: d.ImagePositionPatient[2])
    for plane, dataset in zip(volume.array, datasets, strict=True):
        expected = dataset.pixel_array.astype(int) * int(dataset.RescaleSlope) + int(dataset.RescaleIntercept)
        np.testing.assert_array_equal(plane, expected)
    first, last = datasets[0], datasets[-1]
    row_spacing, column_spacing = (float(value) for value in first.PixelSpacing)
    for slice_index, dataset in ((0, first), (19, last)):
        x, y, z = (float(value) for value in dataset.ImagePositionPatient)
        np.testing.assert_allclose(volume.grid.world_mm_lps((511, 511, slice_index)),
                                   (x + 511 * column_spacing, y + 511 * row_spacing, z), atol=1e-3)
        np.testing.assert_allclose(volume.grid.world_mm_lps((0, 0, slice_index)), (x, y, z), atol=1e-3)
    assert volume.grid.spacing_mm_ijk[2] == pytest.approx(2.0)  # the thickness is 3 mm
    assert volume.tags.slice_thickness_mm == 3.0
    assert (volume.tags.manufacturer, volume.tags.kvp, volume.tags.kernel) == ("SIEMENS", 120.0, "Br38f/3")


@pytest.mark.parametrize(("parts", "told"), [
    (("head_gantry_tilt_uneven_spacing",),
     [r"uneven slice spacing", r"from 1\.08 to 7\.00 mm", r"sheared by 18\.5 degrees \(gantry tilt\)"]),
    (("irregular", "gantrytilting", "001"), [r"found slices sheared by 14\.0 degrees"]),
    (("irregular", "notavolume", "001"), [r"found 4 slices at only 1 position"]),
    (("irregular", "sliceincrement", "001"), [r"10\.00 mm after slice 3, 1 slice\(s\) missing"]),
    (("irregular", "sliceincrement", "002"),
     [r"1\.50 mm after slice 3, 1 slice\(s\) missing", r"sheared by 15\.5 degrees"]),
    (("irregular", "slicecount", "001"), [r"found 2 file\(s\) of modality MR; expected a series of modality CT"]),
    (("irregular", "sliceorientation", "001"), [r"found 4 file\(s\) of modality MR"]),
    (("one_slice_many_transfer_syntaxes",), [r"found CT slices of 3 patients"]),
])
def test_an_irregular_series_is_refused_with_its_reason(parts: tuple[str, ...], told: list[str]) -> None:
    folder = real_data("dicom", *parts)
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in folder.iterdir()]
    texts = {str(element.value) for header in headers for element in header
             if element.VR in ("PN", "LO", "UI", "DA", "SH", "LT", "ST") and len(str(element.value)) > 3}

    with pytest.raises(FemurError) as caught:
        read_volume(folder, subject="row 12")

    message = str(caught.value)
    assert message.startswith("row 12: found ")
    for reason in told:
        assert re.search(reason, message), (reason, message)
    assert not [text for text in texts if text in message]
    assert not [path.name for path in folder.iterdir() if path.name in message]


def one_slice(name: str) -> tuple[np.ndarray, list[str]]:
    (path,) = (file for file in _syntax_folder().iterdir() if file.name.endswith(f"Syntax_{name}"))
    return read_hounsfield(read_dicom_file(path).planes)


def _syntax_folder() -> Path:
    return real_data("dicom", "one_slice_many_transfer_syntaxes")


def _reference() -> np.ndarray:
    dataset = pydicom.dcmread(_syntax_folder() / "CTImage.dcm")
    hounsfield = dataset.pixel_array.astype(int) - 1024
    assert (dataset.RescaleSlope, dataset.RescaleIntercept) == (1, -1024)
    return hounsfield


@pytest.mark.parametrize("name", LOSSLESS)
def test_every_lossless_syntax_decodes_to_the_same_pixels(name: str) -> None:
    array, notes = one_slice(name)

    np.testing.assert_array_equal(array[0], _reference())
    assert notes == []


@pytest.mark.parametrize("name", sorted(LOSSY))
def test_lossy_syntaxes_decode_within_their_loss(name: str) -> None:
    array, notes = one_slice(name)

    assert np.abs(array[0] - _reference()).max() <= LOSSY[name]
    assert ("lossy" in " ".join(notes)) == (name != "1.2.840.10008.1.2.4.91.dcm")


@pytest.mark.parametrize("name", ["CT1_J2KR", "CT2_J2KR"])
def test_jpeg_2000_with_sign_and_padding_agrees_with_another_decoder(name: str) -> None:
    dataset = pydicom.dcmread(_syntax_folder() / name)
    expected = dataset.pixel_array.astype(int) * int(dataset.RescaleSlope) + int(dataset.RescaleIntercept)
    padding = dataset.get("PixelPaddingValue")
    if padding is not None:
        expected[dataset.pixel_array == padding] = -1024

    array, _ = read_hounsfield(read_dicom_file(_syntax_folder() / name).planes)

    np.testing.assert_array_equal(array[0], expected)


def test_the_pelvis_ct_is_read_as_its_authors_wrote_it() -> None:
    nibabel = pytest.importorskip("nibabel")
    path = real_data("ct", "pelvis_3mm_left_nail.nii.gz")

    volume = read_volume(path)

    image = nibabel.load(path)
    np.testing.assert_array_equal(volume.array, np.asarray(image.dataobj).transpose(2, 1, 0))
    assert (volume.array.dtype, volume.array.min(), volume.array.max()) == (np.int16, -1207, 3382)
    corner_ras = image.affine @ (121, 100, 111, 1)
    np.testing.assert_allclose(volume.grid.world_mm_lps((121, 100, 111)), corner_ras[:3] * (-1, -1, 1), atol=1e-3)
