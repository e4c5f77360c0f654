from __future__ import annotations

import csv
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from qct_sites import SiteFolder
from real_data import real_data

from femur_nnunet.command_line import ExitCode
from femur_nnunet.dataset_conversion.conversion_options import ConversionOptions
from femur_nnunet.dataset_conversion.convert_command import main
from femur_nnunet.dataset_conversion.hip_cases import HALF_DRAWN, NOT_DRAWN
from femur_nnunet.dataset_conversion.preflight.check import PAGE_NAME, TABLE_NAME, check_sites
from femur_nnunet.dataset_conversion.preflight.findings import CHECKS, Verdict

SECRET_NAME = "Planted^Patientname"


def write(path, array, grid):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(grid.spacing_mm_ijk)
    image.SetOrigin(grid.origin_mm_lps)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))


@pytest.fixture(scope="module")
def checked(tmp_path_factory, hips_scan):
    """One site with a sound scan, a shifted mask, a twin, a mirrored side and a missing file, as checked."""
    root = tmp_path_factory.mktemp("preflight")
    hu, mask, grid = hips_scan.hu, hips_scan.mask, hips_scan.grid
    site = SiteFolder(root / "aa", "aa")
    half = grid.size_ijk[0] // 2
    write(root / "aa" / f"{SECRET_NAME}.nii", hu, grid)
    write(root / "aa" / "mask.nii", mask, grid)
    write(root / "aa" / "other.nii", np.where(hu > -500, hu + 1, hu).astype(np.int16), grid)
    write(root / "aa" / "shifted.nii", np.roll(mask, 16, axis=1), grid)
    write(root / "aa" / "half.nii", hu[:, :, half:], grid)
    for participant, image, columns in (
            (SECRET_NAME, f"{SECRET_NAME}.nii", {"mask": "mask.nii", "side": "both"}),
            ("P2", "other.nii", {"mask": "shifted.nii", "side": "both"}),
            ("P3", f"{SECRET_NAME}.nii", {"side": "both"}),
            ("P4", "half.nii", {"side": "right"}),
            ("P5", "missing.nii", {})):
        site.rows.append({"site": "aa", "participant_id": participant, "image": image, **columns})
    manifest = site.save()
    summary = check_sites(ConversionOptions(out=root / "raw", manifest=manifest, key_seed=1, jobs=1, quiet=True))
    return summary, root


def findings_of(summary, number):
    report = next(report for report in summary.reports if report.number == number)
    return {finding.check: finding for finding in report.findings if finding.verdict > Verdict.GO}


def test_nothing_but_table_page_and_record_is_written(checked):
    summary, root = checked
    assert {path.name for path in (root / "raw").rglob("*") if path.is_file()} == {
        TABLE_NAME, PAGE_NAME, "run.json", ".femur_lock"}
    assert summary.exit_code == ExitCode.SOME_FAILED
    assert (summary.folder / PAGE_NAME).stat().st_mode & 0o077 == 0


def test_each_fault_is_found_in_its_row_and_no_other_one(checked):
    summary, _ = checked
    assert set(findings_of(summary, 2)) == {"voxel spacing", "same pixels"}
    assert "manifest row 4" in findings_of(summary, 2)["same pixels"].reason
    assert "mask on bone" in findings_of(summary, 3)
    assert "same pixels" not in findings_of(summary, 3)
    assert findings_of(summary, 5)["laterality"].verdict == Verdict.STOP
    assert findings_of(summary, 6)["table row"].verdict == Verdict.STOP


def test_rows_are_ordered_worst_first(checked):
    summary, _ = checked
    verdicts = [report.verdict for report in summary.reports]
    assert verdicts == sorted(verdicts, reverse=True)


def test_the_table_has_one_line_a_row_and_a_column_a_check(checked):
    summary, _ = checked
    with (summary.folder / TABLE_NAME).open(newline="") as handle:
        lines = list(csv.DictReader(handle))
    assert sorted(line["manifest_row"] for line in lines) == ["2", "3", "4", "5", "6"]
    assert {check.replace(" ", "_") for check in CHECKS} <= set(lines[0])
    twin = next(line for line in lines if line["manifest_row"] == "4")
    assert (twin["verdict"], twin["same_pixels"], twin["mask_volume"]) == ("stop", "stop", "n/a")


def test_neither_page_nor_table_names_people_or_files(checked):
    summary, root = checked
    for name in (TABLE_NAME, PAGE_NAME, "run.json"):
        text = (summary.folder / name).read_text(encoding="utf-8")
        for secret in (SECRET_NAME, "Planted", "P2,", str(root), "shifted.nii"):
            assert secret not in text


def test_the_page_is_well_formed_stands_alone_and_says_verdicts_in_words(checked):
    summary, _ = checked
    text = (summary.folder / PAGE_NAME).read_text(encoding="utf-8")
    page = ElementTree.fromstring(text.replace("<!DOCTYPE html>", ""))
    sources = [image.get("src") for image in page.iter("img")]
    assert len(sources) == 8  # two pictures of each scan that can be read
    assert all(source.startswith("data:image/") for source in sources)
    assert "http" not in text
    assert "<script" not in text
    sections = [section for section in page.iter("section") if "scan" in section.get("class", "")]
    assert [section.get("class").split()[1] for section in sections] == [r.verdict.word for r in summary.reports]
    assert all(section.get("class").split()[1] in "".join(section.itertext()) for section in sections)


def test_a_real_browser_draws_the_page(checked, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("chromium is not installed")
    summary, _ = checked
    picture = tmp_path / "page.png"
    run = subprocess.run([browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile",
                          "--window-size=1200,1600", f"--screenshot={picture}",
                          (summary.folder / PAGE_NAME).as_uri()], capture_output=True, timeout=120, check=False)
    assert run.returncode == 0
    drawn = sitk.GetArrayFromImage(sitk.ReadImage(str(picture)))[..., :3].astype(int)
    assert drawn.shape == (1600, 1200, 3)
    red = (drawn[..., 0] > 140) & (drawn[..., 1] < 40)
    assert red.sum() > 500  # the stop signs
    dark = (drawn.max(axis=2) < 30).mean()
    assert dark > 0.02  # the pictures


def test_the_command_tells_the_same_and_exits_with_1(checked, tmp_path, capsys):
    _, root = checked
    code = main(["--check", "--manifest", str(root / "aa" / "metadata.csv"), "--out", str(tmp_path), "--key-seed", "1",
                 "--jobs", "1"])
    told = capsys.readouterr().out
    assert code == 1
    assert "stop: same pixels" in told
    assert SECRET_NAME not in told


def test_a_sound_site_exits_with_0(tmp_path, hips_scan, capsys):
    write(tmp_path / "a.nii", hips_scan.hu, hips_scan.grid)
    (tmp_path / "m.csv").write_text("site,participant_id,image\naa,P1,a.nii\n")
    code = main(["--check", "--manifest", str(tmp_path / "m.csv"), "--out", str(tmp_path / "out"), "--key-seed", "1",
                 "--jobs", "1", "--json"])
    assert code == 0
    assert '"stop": 0' in capsys.readouterr().out


def test_a_whole_scan_is_checked_as_it_would_be_converted(tmp_path, hips_scan):
    one_femur = np.where(hips_scan.mask == 1, 1, 0).astype(np.uint8)
    write(tmp_path / "a.nii", hips_scan.hu, hips_scan.grid)
    write(tmp_path / "mask.nii", one_femur, hips_scan.grid)
    (tmp_path / "m.csv").write_text("site,participant_id,image,mask\naa,P1,a.nii,mask.nii\n")
    options = ConversionOptions(out=tmp_path / "raw", manifest=tmp_path / "m.csv", key_seed=1, jobs=1, quiet=True)

    told = {}
    for keep_bilateral in (False, True):
        summary = check_sites(replace(options, keep_bilateral=keep_bilateral))
        told[keep_bilateral] = findings_of(summary, 2)["mask"].reason
        (report,) = summary.reports
        # The drawn femur is looked at either way.
        assert [finding for finding in report.findings if finding.check == "mask volume"]

    assert told == {False: f"right: {NOT_DRAWN}", True: f"both: {HALF_DRAWN}"}


def test_what_a_killed_run_left_of_a_page_is_removed(tmp_path, hips_scan):
    write(tmp_path / "a.nii", hips_scan.hu, hips_scan.grid)
    (tmp_path / "m.csv").write_text("site,participant_id,image\naa,P1,gone.nii\n")
    left = tmp_path / "raw" / "preflight_501" / ".partial-0123456789ab.html"
    left.parent.mkdir(parents=True)
    left.write_text("half a page")
    check_sites(ConversionOptions(out=tmp_path / "raw", manifest=tmp_path / "m.csv", key_seed=1, jobs=1, quiet=True))
    assert not left.exists()


REAL = {"ct/pelvis_3mm_left_nail.nii.gz": {"metal", "field of view"},
        "dicom/abdomen_2mm_jpeg2000": {"hip in view"},
        "dicom/head_gantry_tilt_uneven_spacing": {"slice positions", "gantry tilt"},
        "dicom/irregular/gantrytilting/001": {"gantry tilt"},
        "dicom/irregular/notavolume/001": {"slice positions"},
        "dicom/irregular/sliceincrement/001": {"slice positions"},
        "dicom/irregular/slicecount/001": {"modality"},
        "dicom/irregular/sliceorientation/001": {"modality"}}


def test_no_real_series_is_a_silent_go(tmp_path):
    lines = [f"aa,P{number},{real_data(*name.split('/'))}" for number, name in enumerate(REAL)]
    (tmp_path / "m.csv").write_text("\n".join(["site,participant_id,image", *lines]) + "\n")
    summary = check_sites(ConversionOptions(out=tmp_path / "out", manifest=tmp_path / "m.csv", key_seed=1, jobs=1,
                                            quiet=True))
    for number, expected in enumerate(REAL.values(), start=2):
        assert expected <= set(findings_of(summary, number))
    assert summary.counts["go"] == 0
    assert summary.counts["stop"] == len(REAL) - 1  # the pelvis is to be looked at
