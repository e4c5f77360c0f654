"""Finding and refusing CT series in folders, on series that the tests write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_factory import save, write_ct_series, write_enhanced_ct
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian, MediaStorageDirectoryStorage, SecondaryCaptureImageStorage

from femur_nnunet.errors import FemurError
from femur_nnunet.volume_io.dicom_series import read_dicom_series
from femur_nnunet.volume_io.reading import read_volume

STORED = np.random.default_rng(5).integers(0, 3000, (5, 6, 7)).astype(np.uint16)


def test_a_series_is_read_with_exact_hu_and_geometry(tmp_path: Path) -> None:
    write_ct_series(tmp_path, STORED)

    volume = read_volume(tmp_path)

    np.testing.assert_array_equal(volume.array, STORED.astype(int) - 1024)
    assert volume.array.dtype == np.int16
    assert volume.source_format == "dicom"
    assert volume.grid.size_ijk == (7, 6, 5)
    # PixelSpacing holds the distance of rows first: j is 0.7, i is 0.8.
    np.testing.assert_allclose(volume.grid.spacing_mm_ijk, (0.8, 0.7, 2.5), atol=1e-9)
    assert volume.grid.origin_mm_lps == (-12.5, -30.25, 401.0)
    far_corner = (-12.5 + 6 * 0.8, -30.25 + 5 * 0.7, 411.0)
    np.testing.assert_allclose(volume.grid.world_mm_lps((6, 5, 4)), far_corner, atol=1e-6)
    tags = volume.tags
    assert (tags.modality, tags.manufacturer, tags.model, tags.kvp, tags.kernel, tags.slice_thickness_mm) == (
        "CT", "Synthetic", "Factory 1", 120.0, "STANDARD", 2.5)


def test_slices_are_ordered_by_position_not_by_name_or_number(tmp_path: Path) -> None:
    def reverse_numbers(dataset: Dataset, index: int) -> None:
        dataset.InstanceNumber = 99 - index

    paths = write_ct_series(tmp_path, STORED, change=reverse_numbers)
    for new, path in zip(["e.dcm", "a", "nested/deep/c.IMA", "d.dcm", "b"], paths, strict=True):
        target = tmp_path / new
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)

    np.testing.assert_array_equal(read_volume(tmp_path).array, STORED.astype(int) - 1024)


def test_a_feet_first_supine_and_an_oblique_series_keep_their_world_positions(tmp_path: Path) -> None:
    turn = np.radians(20)
    for name, orientation in {
        "rows to the right": (-1.0, 0, 0, 0, 1, 0),
        "oblique": (np.cos(turn), np.sin(turn), 0, -np.sin(turn), np.cos(turn), 0),
    }.items():
        write_ct_series(tmp_path / name, STORED, orientation=orientation)
        grid = read_volume(tmp_path / name).grid
        row, column = np.asarray(orientation[:3]), np.asarray(orientation[3:])
        expected = np.array([-12.5, -30.25, 401.0]) + 6 * 0.8 * row + 5 * 0.7 * column + 4 * 2.5 * np.cross(row, column)
        np.testing.assert_allclose(grid.world_mm_lps((6, 5, 4)), expected, atol=1e-5)


def test_foreign_files_localisers_and_other_objects_are_skipped_with_notes(tmp_path: Path) -> None:
    def as_localiser(dataset: Dataset, index: int) -> None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    def as_dose_page(dataset: Dataset, index: int) -> None:
        dataset.SOPClassUID = SecondaryCaptureImageStorage

    def as_pet(dataset: Dataset, index: int) -> None:
        dataset.Modality = "PT"

    write_ct_series(tmp_path, STORED)
    write_ct_series(tmp_path / "loc", STORED[:2], series=2, change=as_localiser)
    write_ct_series(tmp_path / "dose", STORED[:1], series=3, change=as_dose_page)
    write_ct_series(tmp_path / "pet", STORED[:3], series=4, change=as_pet)
    (tmp_path / "readme.txt").write_text("not an image " * 20)
    (tmp_path / "empty").touch()

    volume = read_volume(tmp_path)

    assert volume.grid.size_ijk[2] == 5
    assert sorted(volume.notes) == ["1 secondary capture or raw data file(s) skipped",
                                    "2 file(s) that are no DICOM skipped", "2 localiser file(s) skipped",
                                    "3 file(s) of modality PT skipped"]


def test_the_axial_series_with_most_slices_is_taken_and_the_others_are_noted(tmp_path: Path) -> None:
    write_ct_series(tmp_path / "a", STORED[:4], series=1)
    write_ct_series(tmp_path / "b", STORED, series=2)
    write_ct_series(tmp_path / "c", np.concatenate([STORED, STORED]), series=3, orientation=(1, 0, 0, 0, 0, -1))

    volume = read_volume(tmp_path)

    assert volume.grid.size_ijk[2] == 5
    assert volume.notes == ["another non-axial CT series of 10 slice(s) in the folder was not used",
                            "another axial CT series of 4 slice(s) in the folder was not used"]


def test_two_series_of_equal_length_are_refused(tmp_path: Path) -> None:
    write_ct_series(tmp_path, STORED, series=1)
    write_ct_series(tmp_path, STORED, series=2)

    with pytest.raises(FemurError, match="row 4: found 2 axial CT series of 5 slices each"):
        read_volume(tmp_path, subject="row 4")


def test_a_coronal_series_alone_is_refused(tmp_path: Path) -> None:
    write_ct_series(tmp_path, STORED, orientation=(1, 0, 0, 0, 0, -1))

    with pytest.raises(FemurError, match="none of them axial"):
        read_volume(tmp_path)


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_than_three_slices_are_refused(tmp_path: Path, count: int) -> None:
    write_ct_series(tmp_path, STORED[:count])

    with pytest.raises(FemurError, match=f"found {count} slice"):
        read_volume(tmp_path)


@pytest.mark.parametrize(("modality", "told"), [("MR", "modality MR"), ("", "modality none"),
                                                ("DOE^JOHN", "modality unknown")])
@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_another_modality_is_refused_by_its_name(tmp_path: Path, modality: str, told: str) -> None:
    def change(dataset: Dataset, index: int) -> None:
        dataset.Modality = modality

    write_ct_series(tmp_path, STORED, change=change)

    with pytest.raises(FemurError, match=f"found 5 file.*{told}; expected a series of modality CT"):
        read_volume(tmp_path)


def test_an_empty_folder_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FemurError, match="found no DICOM file"):
        read_volume(tmp_path)
    with pytest.raises(FemurError, match="no file or folder where the image should be"):
        read_volume(tmp_path / "absent")


def test_a_damaged_header_is_counted_and_refused(tmp_path: Path) -> None:
    paths = write_ct_series(tmp_path, STORED)
    paths[1].write_bytes(paths[1].read_bytes()[:200])
    paths[3].write_bytes(b"")

    with pytest.raises(FemurError, match=r"2 damaged or truncated DICOM file"):
        read_volume(tmp_path)


def test_files_without_preamble_and_suffix_are_read(tmp_path: Path) -> None:
    for path in write_ct_series(tmp_path, STORED, transfer_syntax=ImplicitVRLittleEndian, suffix=""):
        content = path.read_bytes()
        # Cut off preamble, magic word and the file meta group, whose length element says where it ends.
        meta_length = int.from_bytes(content[140:144], "little")
        path.write_bytes(content[144 + meta_length:])

    np.testing.assert_array_equal(read_volume(tmp_path).array, STORED.astype(int) - 1024)


def test_a_series_without_storage_class_is_read(tmp_path: Path) -> None:
    for path in write_ct_series(tmp_path, STORED):
        dataset = pydicom.dcmread(path)
        dataset.SOPClassUID = ""
        del dataset.file_meta.MediaStorageSOPClassUID
        dataset.save_as(path)

    assert read_volume(tmp_path).grid.size_ijk == (7, 6, 5)


def test_tags_that_differ_among_the_slices_are_left_out_with_a_note(tmp_path: Path) -> None:
    def change(dataset: Dataset, index: int) -> None:
        dataset.KVP = 120 if index else 100
        dataset.ConvolutionKernel = ["Br38f", "3"]
        dataset.Manufacturer = "Ac\u0001me; <b>Inc</b>"

    write_ct_series(tmp_path, STORED, change=change)

    volume = read_volume(tmp_path)

    assert volume.tags.kvp is None
    assert volume.tags.kernel == "Br38f/3"
    assert volume.tags.manufacturer == "Acme bInc/b"
    assert "kvp differs among the slices (2 values) and was left out" in volume.notes


def test_a_nominal_tilt_without_shear_is_noted(tmp_path: Path) -> None:
    def tilt(dataset: Dataset, index: int) -> None:
        dataset.GantryDetectorTilt = 12

    write_ct_series(tmp_path, STORED, change=tilt)

    volume = read_volume(tmp_path)

    assert volume.tags.gantry_tilt_deg == 12
    assert volume.notes == ["the header names a gantry tilt of 12 degrees, but the slices are not sheared"]


@pytest.mark.parametrize("order", [None, [3, 1, 0, 4, 2]])
def test_an_enhanced_multi_frame_ct_is_read_like_single_slices(tmp_path: Path, order: list[int] | None) -> None:
    write_enhanced_ct(tmp_path / "multi.dcm", STORED, slope=2, intercept=-1000, frame_order=order)

    for path in (tmp_path, tmp_path / "multi.dcm"):
        volume = read_volume(path)
        np.testing.assert_array_equal(volume.array, STORED.astype(int) * 2 - 1000)
        np.testing.assert_allclose(volume.grid.spacing_mm_ijk, (0.8, 0.7, 2.5), atol=1e-9)
        assert volume.grid.origin_mm_lps == (-12.5, -30.25, 401.0)
        assert (volume.tags.kvp, volume.tags.kernel) == (100.0, "B30f")


def test_no_text_of_the_files_reaches_messages_notes_or_tags(tmp_path: Path) -> None:
    marker = "MARKER7"

    def plant(dataset: Dataset, index: int) -> None:
        for keyword in ("PatientName", "PatientID", "StudyDescription", "SeriesDescription", "InstitutionName",
                        "StationName", "ProtocolName", "ImageComments", "AccessionNumber", "StudyID",
                        "OperatorsName", "ReferringPhysicianName", "RescaleType"):
            setattr(dataset, keyword, marker)
        dataset.add_new(0x00091001, "LO", marker)

    def plant_but_sound(dataset: Dataset, index: int) -> None:
        plant(dataset, index)
        del dataset.RescaleType

    good, bad = tmp_path / f"{marker}_a", tmp_path / f"{marker}_b"
    write_ct_series(good, STORED, change=plant_but_sound)
    write_ct_series(bad, STORED, change=plant)
    cut = write_ct_series(tmp_path / f"{marker}_c", STORED, change=plant_but_sound)
    cut[2].write_bytes(cut[2].read_bytes()[:-30])

    volume = read_dicom_series(good)
    assert marker not in repr((volume.tags, volume.notes))
    for folder in (bad, cut[0].parent):
        with pytest.raises(FemurError) as caught:
            read_volume(folder, subject="row 1")
        assert marker not in str(caught.value)
        assert str(tmp_path) not in str(caught.value)


def _of_another_patient(dataset: Dataset, index: int) -> None:
    dataset.PatientID = "someone else"


def test_a_smaller_series_of_another_patient_is_refused(tmp_path: Path) -> None:
    write_ct_series(tmp_path, STORED)
    write_ct_series(tmp_path, STORED[:3], series=2, change=_of_another_patient)

    with pytest.raises(FemurError, match="found CT slices of 2 patients") as caught:
        read_volume(tmp_path)
    assert "someone" not in str(caught.value)


def test_a_series_put_together_from_two_patients_is_refused(tmp_path: Path) -> None:
    def upper_half(dataset: Dataset, index: int) -> None:
        if index > 2:
            _of_another_patient(dataset, index)

    write_ct_series(tmp_path, STORED, change=upper_half)

    with pytest.raises(FemurError, match="found CT slices of 2 patients"):
        read_volume(tmp_path)


def test_slices_without_patient_are_nobody_elses(tmp_path: Path) -> None:
    def de_identified(dataset: Dataset, index: int) -> None:
        dataset.PatientID = ("", "synthetic", " SYNTHETIC ", "synthetic", "")[index]

    write_ct_series(tmp_path, STORED, change=de_identified)

    assert read_volume(tmp_path).grid.size_ijk[2] == 5


def test_the_directory_of_a_disc_and_companions_of_macos_are_no_damage(tmp_path: Path) -> None:
    write_ct_series(tmp_path / "IMAGES", STORED)
    (tmp_path / "IMAGES" / "._s1_0000.dcm").write_bytes(b"\0\5\x16\7" + bytes(200))
    directory = Dataset()
    directory.SOPClassUID, directory.SOPInstanceUID = MediaStorageDirectoryStorage, "1.2.3"
    save(directory, tmp_path / "DICOMDIR")
    # A directory's own data set names no storage class.
    written = pydicom.dcmread(tmp_path / "DICOMDIR")
    del written.SOPClassUID, written.SOPInstanceUID
    written.save_as(tmp_path / "DICOMDIR")

    volume = read_volume(tmp_path)

    assert volume.grid.size_ijk[2] == 5
    assert sorted(volume.notes) == ["1 directory file(s) skipped", "1 file(s) that are no DICOM skipped"]


@pytest.mark.parametrize("slice_index", [0, 4])
def test_an_end_slice_cut_off_before_its_modality_is_not_taken_for_something_else(tmp_path: Path,
                                                                                  slice_index: int) -> None:
    path = write_ct_series(tmp_path, STORED)[slice_index]
    content = path.read_bytes()
    # The element (0008,0060) in explicit little endian; what lies before it holds the storage class.
    path.write_bytes(content[:content.index(b"\x08\x00\x60\x00CS")])

    with pytest.raises(FemurError, match="found 1 damaged or truncated DICOM file"):
        read_volume(tmp_path)
