"""femur_segment as it is typed: files, exit codes, and nothing partial."""

from __future__ import annotations

import csv
import json
import shutil
import zipfile

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_factory import write_ct_series
from real_data import real_data
from threshold_bundle import painted, write_threshold_bundle

from femur_nnunet.drivers.segment_command import main
from femur_nnunet.files import hold_folder
from femur_nnunet.model_bundle.manifest import INTENDED_USE
from femur_nnunet.volume_io import Grid, read_mask, read_volume, write_nifti


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_threshold_bundle(tmp_path_factory.mktemp("model") / "threshold.zip")


@pytest.fixture(scope="module")
def series(tmp_path_factory, hips_scan):
    folder = tmp_path_factory.mktemp("scan") / "series"
    write_ct_series(folder, (painted(hips_scan).astype(np.int32) + 4096).astype(np.uint16), intercept=-4096,
                    spacing_mm_ijk=hips_scan.grid.spacing_mm_ijk, origin_mm=hips_scan.grid.origin_mm_lps)
    return folder


@pytest.fixture
def scan_file(tmp_path, hips_scan):
    write_nifti(tmp_path / "scan.nii.gz", painted(hips_scan), hips_scan.grid)
    return tmp_path / "scan.nii.gz"


def run(*arguments, capsys):
    code = main([*map(str, arguments), "--quiet"])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_without_a_model_the_one_in_the_box_is_used_and_says_what_it_was_trained_on(tmp_path, scan_file, model, capsys,
                                                                                    monkeypatch):
    monkeypatch.setattr("femur_nnunet.drivers.segment_scan.box_model_path", lambda: model)
    command = [str(scan_file), "--out", str(tmp_path / "out"), "--fast"]
    assert main(command) == 0
    assert f"the model in the box: {INTENDED_USE}" in capsys.readouterr().out
    assert main([*command, "-m", str(model)]) == 0
    assert "the model in the box" not in capsys.readouterr().out


def test_a_dicom_series_gives_every_file_and_the_mask_lies_on_its_grid(tmp_path, series, model, hips_scan, capsys):
    out = tmp_path / "result"
    code, printed, told = run(series, "-m", model, "--out", out, "--dicom-seg", "--uncertainty", "--fast", "--json",
                              "--fe-export",
                              "--density-slope", 0.8, "--density-intercept", 4, "--density-unit", "HA", capsys=capsys)
    assert code == 0, told
    assert sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) == [
        "density.csv", "fe_export", "preview.png", "run.json", "segmentation.dcm", "segmentation.nii.gz",
        "uncertainty.nii.gz"]
    assert not list(out.glob(".partial*"))
    grid = read_volume(series).grid
    np.testing.assert_array_equal(read_mask(out / "segmentation.nii.gz", grid), hips_scan.mask)
    np.testing.assert_array_equal(read_mask(out / "segmentation.dcm", grid), hips_scan.mask)
    for side, value in (("left", 1), ("right", 2)):
        exported = sitk.ReadImage(str(out / "fe_export" / f"{side}_femur_mask.nii.gz"))
        place = [exported.TransformContinuousIndexToPhysicalPoint([float(v) for v in index[::-1]])[0] for index in
                 np.argwhere(sitk.GetArrayFromImage(exported))[::997]]
        columns = np.nonzero(hips_scan.mask == value)[2]
        # In the patient's own frame, right femora too.
        assert np.mean(place) == pytest.approx(grid.world_mm_lps((columns.mean(), 0, 0))[0], abs=3.0)
    record = json.loads((out / "run.json").read_text())
    assert record["labels"] == {"left_femur": 1, "right_femur": 2}
    assert [femur["side"] for femur in record["femora"]] == ["left", "right"]
    assert record["arguments"]["input"] == "<path>"
    assert record["calibration"]["source"] == "table"
    assert json.loads(printed)["femora"] == record["femora"]
    rows = list(csv.DictReader((out / "density.csv").open()))
    totals = {row["side"]: row for row in rows if row["region"] == "total"}
    for side, value in (("left", 1), ("right", 2)):
        # Every voxel of the femur is at 700 HU: 0.8 x 700 + 4 mg/cc.
        assert float(totals[side]["vbmd_integral"]) == pytest.approx(564.0)
        assert totals[side]["unit"] == "HA"
        assert float(totals[side]["volume_ml"]) == pytest.approx((hips_scan.mask == value).sum() * 0.027)


def test_a_file_in_a_zip_without_a_density_scale_is_uncalibrated_and_a_rerun_replaces_all(
        tmp_path, scan_file, model, hips_scan, capsys):
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        archive.write(scan_file, "inner/scan.nii.gz")
    out = tmp_path / "result"
    out.mkdir()
    (out / "uncertainty.nii.gz").write_bytes(b"of an earlier run")
    code, _, told = run(tmp_path / "scan.zip", "-m", model, "--out", out, "--fast", "--side", "left", capsys=capsys)
    assert code == 0
    assert "uncalibrated" in told
    assert not (out / "uncertainty.nii.gz").exists()
    rows = list(csv.DictReader((out / "density.csv").open()))
    assert {row["side"] for row in rows} == {"left"}
    assert {row["vbmd_integral"] for row in rows} == {"n/a"}
    assert any(row["status"] == "uncalibrated" for row in rows)
    mask = read_mask(out / "segmentation.nii.gz", hips_scan.grid)
    np.testing.assert_array_equal(mask, np.where(hips_scan.mask == 1, 1, 0))


def test_no_hip_gives_a_picture_and_a_record_but_no_mask(tmp_path, model, hips_scan, capsys):
    write_nifti(tmp_path / "soft.nii.gz", np.minimum(painted(hips_scan), 120), hips_scan.grid)
    out = tmp_path / "result"
    code, _, told = run(tmp_path / "soft.nii.gz", "-m", model, "--out", out, "--fast", capsys=capsys)
    assert code == 1
    assert "no hip" in told or "an empty mask" in told
    assert sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) == ["preview.png", "run.json"]
    assert {item["kind"] for item in json.loads((out / "run.json").read_text())["warnings"]} == {"no_hip"}


def mended(array=None, **header):
    image = sitk.GetImageFromArray(np.full((8, 9, 10), 40, np.int16) if array is None else array)
    for name, value in header.items():
        getattr(image, f"Set{name}")(value)
    return image


BAD_IMAGES = {
    "4d": (lambda: sitk.JoinSeries([mended(), mended()]), "dimensions"),
    "nan": (lambda: mended(np.full((8, 9, 10), np.nan, np.float32)), "NaN"),
    "slice": (lambda: mended(np.full((1, 9, 10), 40, np.int16)), "at least 3"),
    "flat": (mended, "a CT in HU"),
    "tiny": (lambda: mended(np.arange(720, dtype=np.int16).reshape(8, 9, 10) * 4 - 1000, Spacing=(0.01, 1, 1)),
             "voxel spacing"),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_an_image_that_is_no_ct_of_a_hip_is_refused_in_one_line(tmp_path, model, capsys, kind):
    make, message = BAD_IMAGES[kind]
    sitk.WriteImage(make(), str(tmp_path / "bad.nii"))
    refused(tmp_path / "bad.nii", model, tmp_path / "out", message, capsys)


def refused(image, model, out, message, capsys, code=1, more=()):
    found, _, told = run(image, "-m", model, "--out", out, *more, capsys=capsys)
    assert found == code
    assert message in told
    assert len(told.strip().splitlines()) == 1
    assert not out.is_dir() or not [path for path in out.iterdir() if path.name != ".femur_lock"]


def test_zero_spacing_and_more_than_two_gib_are_refused_by_the_header_alone(tmp_path, model, capsys):
    write_nifti(tmp_path / "scan.nii", np.zeros((4, 4, 4), np.int16), Grid((4, 4, 4), (1, 1, 1), (0, 0, 0)))
    header = bytearray((tmp_path / "scan.nii").read_bytes()[:352])
    header[42:48] = np.array([2048, 2048, 1024], "<i2").tobytes()  # 4 Gi voxels
    (tmp_path / "large.nii").write_bytes(header)
    refused(tmp_path / "large.nii", model, tmp_path / "out", "at most 2147483648 voxels", capsys)
    lines = ["ObjectType = Image", "NDims = 3", "BinaryData = True", "BinaryDataByteOrderMSB = False",
             "ElementSpacing = 0 1 1", "DimSize = 4 4 4", "ElementType = MET_SHORT", "ElementDataFile = LOCAL", ""]
    (tmp_path / "zero.mha").write_bytes("\n".join(lines).encode() + bytes(128))
    found, _, told = run(tmp_path / "zero.mha", "-m", model, "--out", tmp_path / "out", capsys=capsys)
    assert found == 1
    assert len(told.strip().splitlines()) == 1


def test_damaged_archives_models_and_folders_are_refused_in_one_line(tmp_path, scan_file, model, capsys, monkeypatch):
    (tmp_path / "scan.zip").write_bytes(b"PK\3\4 and no more")
    refused(tmp_path / "scan.zip", model, tmp_path / "a", "cannot be unpacked", capsys)
    refused(scan_file, scan_file, tmp_path / "b", "no zip", capsys, code=2)
    refused(scan_file, tmp_path / "none.zip", tmp_path / "c", "no such file", capsys, code=2)
    refused(tmp_path / "nothing", model, tmp_path / "d", "no file or folder INPUT", capsys, code=2)
    refused(scan_file, model, tmp_path / "e", "--dicom-seg with a nifti file", capsys, code=2, more=["--dicom-seg"])
    refused(scan_file, model, tmp_path / "f", "a density scale in part", capsys, code=2, more=["--density-slope", "1"])
    (tmp_path / "text").write_text("no folder")
    refused(scan_file, model, tmp_path / "text", "reading or writing", capsys)
    monkeypatch.setattr("femur_nnunet.segmentation.model.BOX_MODEL_FOLDER", "left_out")
    code, _, told = run(scan_file, "--out", tmp_path / "g", capsys=capsys)
    assert code == 2
    assert "femur_model pack" in told


def test_a_folder_that_another_run_holds_is_left_alone(tmp_path, scan_file, model, capsys):
    with hold_folder(tmp_path / "out"):
        refused(scan_file, model, tmp_path / "out", "another run", capsys, code=3)


def test_a_failure_while_writing_leaves_the_earlier_result_as_it_was(tmp_path, scan_file, model, capsys, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    (out / "segmentation.nii.gz").write_bytes(b"earlier")
    (out / "run.json").write_text("{}")

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("femur_nnunet.drivers.segment_scan.write_preview", fail)
    code, _, told = run(scan_file, "-m", model, "--out", out, "--fast", "--side", "left", capsys=capsys)
    assert code == 1
    assert "No space left" in told
    assert (out / "segmentation.nii.gz").read_bytes() == b"earlier"
    assert sorted(path.name for path in out.iterdir()) == [".femur_lock", "run.json", "segmentation.nii.gz"]


def test_series_of_other_kinds_are_refused(tmp_path, series, model, capsys):
    for name, change, message in (
            ("mr", {"Modality": "MR"}, "modality MR"),
            ("scout", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localiser")):
        folder = tmp_path / name
        folder.mkdir()
        for file in sorted(series.iterdir())[:4]:
            dataset = pydicom.dcmread(file)
            for attribute, value in change.items():
                setattr(dataset, attribute, value)
            dataset.save_as(folder / file.name)
        refused(folder, model, tmp_path / f"{name}_out", message, capsys)


@pytest.mark.parametrize(("parts", "message"), [
    (("dicom", "head_gantry_tilt_uneven_spacing"), "tilt"), (("dicom", "irregular", "slicecount", "001"), "MR"),
    (("dicom", "irregular", "notavolume", "001"), "position"),
    (("dicom", "irregular", "sliceincrement", "001"), "spacing"), (("dicom", "one_slice_many_transfer_syntaxes"), "")])
def test_real_series_that_make_no_hip_ct_are_refused(tmp_path, model, capsys, parts, message):
    refused(real_data(*parts), model, tmp_path / "out", message, capsys)


def test_a_real_abdomen_has_no_hip(tmp_path, model, capsys):
    code, _, told = run(real_data("dicom", "abdomen_2mm_jpeg2000"), "-m", model, "--out", tmp_path / "out", "--fast",
                        "--step", 1, capsys=capsys)
    assert code == 1
    assert "neither" in told or "no hip joint" in told
    assert not (tmp_path / "out" / "segmentation.nii.gz").exists()


def test_a_real_pelvis_with_a_nail_in_the_left_femur_says_so(tmp_path, model, capsys):
    scan = real_data("ct", "pelvis_3mm_left_nail.nii.gz")
    code, _, told = run(scan, "-m", model, "--out", tmp_path / "out", "--fast", "--step", 1, capsys=capsys)
    assert code == 0
    metal = [line for line in told.splitlines() if "metal" in line]
    assert len(metal) == 1
    assert "left femur" in metal[0]
    shutil.rmtree(tmp_path / "out")
