from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from real_data import real_data

from femur_nnunet.dataset_conversion.preflight import header_checks as checks
from femur_nnunet.dataset_conversion.preflight.findings import Verdict
from femur_nnunet.volume_io.dicom_headers import SliceHeader
from femur_nnunet.volume_io.dicom_series import FolderContent, inspect_folder
from femur_nnunet.volume_io.volume import AcquisitionTags

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def plane(z_mm, y_mm=0.0, **changes):
    values = {"path": Path("x"), "frame": 0, "n_frames": 1, "series_uid": "1", "instance_uid": str(z_mm),
              "transfer_syntax": "", "rows": 4, "columns": 4, "bits_allocated": 16, "bits_stored": 16, "high_bit": 15,
              "signed": True, "position_mm": (0.0, y_mm, z_mm), "orientation": AXIAL, "pixel_spacing_mm": (1.0, 1.0),
              "slope": 1.0, "intercept": -1024.0, "rescale_type": "HU", "padding": None,
              "tags": AcquisitionTags(modality="CT", slice_thickness_mm=2.0), **changes}
    return SliceHeader(**values)


SOUND = [plane(2.0 * number) for number in range(6)]
TRIPPED = [
    (checks.check_rescale, [replace(SOUND[0], slope=None), *SOUND[1:]], Verdict.STOP, "1 of 6 slices"),
    (checks.check_rescale, [replace(SOUND[0], slope=0.0), *SOUND[1:]], Verdict.STOP, "rescale"),
    (checks.check_units, [replace(item, rescale_type="MGML") for item in SOUND], Verdict.STOP, "not in HU"),
    (checks.check_slice_positions, SOUND[:2], Verdict.STOP, "at least 3"),
    (checks.check_slice_positions, [*SOUND, SOUND[0]], Verdict.STOP, "7 slices at 6"),
    (checks.check_slice_positions, [*SOUND[:3], *SOUND[4:]], Verdict.STOP, "4.00 mm after slice 3"),
    (checks.check_slice_positions, [plane(z) for z in (0, 2, 4.3, 6)], Verdict.STOP, "from 1.70 to 2.30"),
    (checks.check_slice_positions, [replace(item, position_mm=None) for item in SOUND], Verdict.STOP, "position"),
    (checks.check_slice_thickness, [plane(3.0 * number) for number in range(4)], Verdict.LOOK, "3.00 mm apart"),
    (checks.check_gantry_tilt, [plane(2.0 * n, 0.5 * n) for n in range(6)], Verdict.STOP, "2.5 mm within their plane"),
    (checks.check_gantry_tilt, [replace(item, tags=replace(item.tags, gantry_tilt_deg=7.5)) for item in SOUND],
     Verdict.LOOK, "7.5 degrees"),
    (checks.check_orientation, [replace(SOUND[0], orientation=(0.99, 0.14, 0, -0.14, 0.99, 0)), *SOUND[1:]],
     Verdict.STOP, "turned against each other"),
    (checks.check_orientation, [replace(item, orientation=(1, 0, 0, 0, 0, -1)) for item in SOUND], Verdict.STOP,
     "90 degrees from axial"),
    (checks.check_orientation, [replace(item, orientation=None) for item in SOUND], Verdict.STOP, "without"),
]


@pytest.mark.parametrize("check", checks.HEADER_CHECKS)
def test_a_sound_series_passes_every_header_check(check):
    assert check(SOUND).verdict == Verdict.GO


@pytest.mark.parametrize(("check", "planes", "verdict", "words"), TRIPPED)
def test_a_fault_of_the_headers_trips_its_own_check(check, planes, verdict, words):
    finding = check(planes)
    assert finding.verdict == verdict
    assert words in finding.reason
    assert finding.mend


def test_reversed_slices_are_said_and_are_no_fault():
    finding = checks.check_slice_positions(SOUND[::-1])
    assert (finding.verdict, "reversed" in finding.reason) == (Verdict.GO, True)


def test_modality_and_number_of_series_are_judged_from_the_whole_folder():
    empty = FolderContent()
    empty.modalities["MR"] = 3
    assert checks.check_modality(empty).verdict == Verdict.STOP
    assert "3 file(s) of modality MR" in checks.check_modality(empty).reason
    one = FolderContent(series={"1": SOUND})
    assert checks.check_modality(one).verdict == checks.check_series(one).verdict == Verdict.GO
    two = FolderContent(series={"1": SOUND, "2": SOUND[:3]})
    assert checks.check_series(two).verdict == Verdict.LOOK
    assert checks.largest_series(two) is SOUND
    assert checks.check_series(FolderContent(series={"1": SOUND}, n_broken=1)).verdict == Verdict.STOP


@pytest.mark.parametrize(("parts", "tripped"), [
    (("head_gantry_tilt_uneven_spacing",), {"slice positions", "gantry tilt"}),
    (("irregular", "gantrytilting", "001"), {"gantry tilt"}),
    (("irregular", "notavolume", "001"), {"slice positions"}),
    (("irregular", "sliceincrement", "001"), {"slice positions"}),
    (("irregular", "sliceincrement", "002"), {"slice positions", "gantry tilt"}),
    (("abdomen_2mm_jpeg2000",), set())])
def test_real_series_trip_the_checks_of_their_known_faults(parts, tripped):
    planes = checks.largest_series(inspect_folder(real_data("dicom", *parts)))
    found = [check(planes) for check in checks.HEADER_CHECKS]
    assert {finding.check for finding in found if finding.verdict == Verdict.STOP} == tripped


@pytest.mark.parametrize("name", ["slicecount", "sliceorientation"])
def test_real_mr_series_are_stopped(name):
    content = inspect_folder(real_data("dicom", "irregular", name, "001"))
    assert checks.check_modality(content).verdict == Verdict.STOP
