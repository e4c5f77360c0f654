"""``femur_eval --images --texture`` from files to tables."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
from evaluation_cohort import Cohort, write_mask
from shapes import ball, block

from femur_nnunet.evaluation.eval_command import main
from femur_nnunet.evaluation.texture.radiomics import FEATURES
from femur_nnunet.evaluation.texture.radiomics_row import RADIOMICS_COLUMNS, read_radiomics

SPACING_MM_ZYX = (1.5, 0.8, 0.8)
MASK = ball(7.0, SPACING_MM_ZYX, margin_mm=3.0)
CASES = [f"{'rochester' if number < 4 else 'tulane'}_{number:08x}_v01_l" for number in range(8)]


def scan_of(case_id):
    """Bone of a density of its own, brighter at the rim, with noise."""
    number = CASES.index(case_id)
    rng = np.random.default_rng(number)
    return np.where(MASK, 100 + 40 * number, -60) + rng.normal(0, 10 + 4 * number, MASK.shape).round()


def eaten(mask, voxels):
    """A prediction without the mask's lowest slices."""
    smaller = mask.copy()
    smaller[: int(np.flatnonzero(mask.any(axis=(1, 2)))[0]) + voxels] = False
    return smaller


def cohort_of(folder, cases):
    cohort = Cohort(folder)
    for case_id in cases:
        cohort.add(case_id, MASK, MASK if case_id.startswith("tulane") else eaten(MASK, 2), sex="F")
        write_mask(folder / "images" / f"{case_id}_0000.nii.gz", scan_of(case_id).astype(np.int16))
    return cohort


@pytest.fixture
def cohort(tmp_path):
    return cohort_of(tmp_path, CASES)


@pytest.fixture
def small_cohort(tmp_path):
    return cohort_of(tmp_path, (CASES[0], CASES[7]))


def run(cohort, *options, out="out"):
    arguments = [str(cohort.predictions), str(cohort.references), "--scans", str(cohort.scans), "--out",
                 str(cohort.root / out), "--images", str(cohort.root / "images"), "--bootstrap", "50", "--jobs", "1",
                 "--quiet"]
    return main([*arguments, *options])


def table(path):
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_a_sound_cohort_gives_every_feature_of_both_masks_and_their_agreement_at_both_sites(cohort):
    assert run(cohort, "--texture") == 0
    out = cohort.root / "out"
    rows = table(out / "radiomics.csv")
    assert tuple(rows[0]) == RADIOMICS_COLUMNS
    assert len(rows) == len(CASES) * 2 * len(FEATURES)
    assert {row["status"] for row in rows} == {"ok"}
    one = next(row for row in rows if row["case_id"] == CASES[5] and row["ibsi_code"] == "Q4LE")
    assert (one["family"], one["feature"], one["unit"], one["side"]) == ("intensity_statistics", "mean_intensity", "HU",
                                                                         "left")

    agreement = [row for row in table(out / "agreement.csv") if row["quantity"].startswith("morphology.volume_mesh")]
    assert [(row["site"], row["sex"], row["region"], row["n"]) for row in agreement] == [
        ("rochester", "all", "total", "4"), ("tulane", "all", "total", "4"), ("all", "all", "total", "8")]
    # Every hip has the same shape: there is no spread for r to explain, but the missing slices are a bias.
    assert {row["pearson_r"] for row in agreement} == {"n/a"}
    assert {row["unit"] for row in agreement} == {"mm^3"}
    assert float(agreement[0]["bias"]) < -20
    assert float(agreement[1]["bias"]) == 0

    means = {row["site"]: row for row in table(out / "agreement.csv")
             if row["quantity"] == "intensity_statistics.mean_intensity"}
    assert float(means["tulane"]["pearson_r"]) == float(means["tulane"]["icc_2_1"]) == 1
    assert 0.99 < float(means["rochester"]["pearson_r"]) < 1

    summary = {(row["site"], row["family"]): row for row in table(out / "radiomics_summary.csv")}
    assert set(site for site, _ in summary) == {"rochester", "tulane", "all"}
    assert summary["tulane", "all"]["n_features"] == str(len(FEATURES))
    assert float(summary["tulane", "glcm"]["share_icc_above_0.99"]) == 1
    assert int(summary["tulane", "morphology"]["n_without_value"]) >= 21
    record = json.loads((out / "run.json").read_text())
    assert record["arguments"]["texture"]["spacing_mm"] == 1.0
    assert {"radiomics.csv", "radiomics_summary.csv"} <= set(record["outputs_sha256"])


def test_the_same_seed_gives_the_same_tables_and_without_texture_there_are_none(small_cohort):
    assert run(small_cohort, "--texture", out="first") == run(small_cohort, "--texture", out="second") == 0
    assert run(small_cohort, out="without") == 0
    for name in ("radiomics.csv", "radiomics_summary.csv", "agreement.csv"):
        assert (small_cohort.root / "first" / name).read_bytes() == (small_cohort.root / "second" / name).read_bytes()
    assert not (small_cohort.root / "without" / "radiomics.csv").exists()


def test_what_is_wrong_with_a_case_becomes_a_status_and_the_others_go_on(cohort):
    images = cohort.root / "images"
    faults = dict(zip(CASES, ["image_missing", "image_unreadable", "image_geometry_mismatch", "image_has_nan", "missed",
                              "out_of_range", "ok", "ok"], strict=True))
    by_fault = {status: case_id for case_id, status in faults.items()}
    (images / f"{by_fault['image_missing']}_0000.nii.gz").unlink()
    (images / f"{by_fault['image_unreadable']}_0000.nii.gz").write_bytes(b"not a scan")
    write_mask(images / f"{by_fault['image_geometry_mismatch']}_0000.nii.gz", scan_of(CASES[2]).astype(np.int16),
               origin_mm=(-40.0, 12.5, 301.0))
    write_mask(images / f"{by_fault['image_has_nan']}_0000.nii.gz", np.full(MASK.shape, np.nan, np.float32))
    write_mask(images / f"{by_fault['out_of_range']}_0000.nii.gz", np.full(MASK.shape, -1024, np.int16))
    write_mask(cohort.predictions / f"{by_fault['missed']}.nii.gz", np.zeros_like(MASK))

    assert run(cohort, "--texture") == 1
    rows = table(cohort.root / "out" / "radiomics.csv")
    for case_id, status in faults.items():
        contrast = {row["source"]: row for row in rows if row["case_id"] == case_id and row["ibsi_code"] == "ACUI"}
        volume = {row["source"]: row for row in rows if row["case_id"] == case_id and row["ibsi_code"] == "RNU0"}
        assert contrast["prediction"]["status"] == status
        assert (contrast["prediction"]["value"] == "n/a") == (status != "ok")
        assert volume["reference"]["status"] == "ok"
        assert volume["prediction"]["status"] == ("missed" if status == "missed" else "ok")
    warnings = json.loads((cohort.root / "out" / "run.json").read_text())["warnings"]
    for case_id, status in faults.items():
        lines = [line for line in warnings if case_id in line and status in line and "density" not in line]
        assert len(lines) == {"ok": 0, "missed": 1}.get(status, 2)
    agreement = {(row["quantity"], row["site"]): row for row in table(cohort.root / "out" / "agreement.csv")}
    assert agreement["glcm.contrast", "all"]["n"] == "2"
    assert agreement["morphology.volume_mesh", "all"]["n"] == "7"
    assert agreement["morphology.volume_mesh", "all"]["n_missed"] == "1"


def test_both_hips_of_a_scan_are_measured_apart_and_averaged_by_participant(tmp_path):
    cohort = Cohort(tmp_path)
    labels = np.concatenate([MASK.astype(np.uint8), 2 * MASK[:, :, ::-1]], axis=2)
    for number in range(3):
        case_id = f"tulane_{number:08x}_v01_b"
        cohort.add(case_id, labels, labels, sex="M")
        hu = np.where(labels == 1, 100 * (number + 1), 300) + np.random.default_rng(number).integers(0, 9, labels.shape)
        write_mask(tmp_path / "images" / f"{case_id}.nii.gz", hu.astype(np.int16))
    assert run(cohort, "--texture") == 0
    means = {(row["side"], row["source"]): float(row["value"]) for row in table(tmp_path / "out" / "radiomics.csv")
             if row["case_id"].startswith("tulane_00000000") and row["ibsi_code"] == "Y12H"}
    assert means["left", "reference"] == means["left", "prediction"] == pytest.approx(104, abs=3)
    assert means["right", "reference"] == pytest.approx(304, abs=3)
    agreement = next(row for row in table(tmp_path / "out" / "agreement.csv")
                     if row["quantity"] == "intensity_statistics.median_intensity" and row["site"] == "tulane")
    assert agreement["n"] == "3"


def test_a_mask_that_differs_from_the_scan_s_axes_is_turned_to_them(tmp_path):
    case_id = CASES[6]
    cohort = cohort_of(tmp_path, [case_id])
    rows = []
    run(cohort, "--texture", out="plain")
    flipped = np.flip(scan_of(case_id).astype(np.int16), axis=(1, 2))
    last_mm = [(-40.0 + 0.8 * (MASK.shape[2] - 1)), (12.5 + 0.8 * (MASK.shape[1] - 1)), 300.0]
    write_mask(cohort.root / "images" / f"{case_id}_0000.nii.gz", flipped, origin_mm=tuple(last_mm),
               direction=(-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))
    run(cohort, "--texture", out="turned")
    for out in ("plain", "turned"):
        rows.append([row for row in table(cohort.root / out / "radiomics.csv") if row["case_id"] == case_id])
    assert rows[0] == rows[1]


def test_arms_are_compared_with_what_was_measured_before(small_cohort):
    cohort = small_cohort
    assert run(cohort, "--texture", out="a") == 0
    assert run(cohort, "--texture", "--texture-bins", "16", out="b") == 0
    assert main(["--compare", f"one={cohort.root / 'a'}", f"two={cohort.root / 'b'}", "--scans", str(cohort.scans),
                 "--out", str(cohort.root / "both"), "--bootstrap", "20", "--quiet"]) == 0
    rows = table(cohort.root / "both" / "radiomics.csv")
    assert {row["arm"] for row in rows} == {"one", "two"}
    before = read_radiomics(cohort.root / "a" / "radiomics.csv", "one")
    assert read_radiomics(cohort.root / "both" / "radiomics.csv", "one")[: len(before)] == before
    arms = {row["arm"] for row in table(cohort.root / "both" / "agreement.csv") if row["quantity"] == "glcm.contrast"}
    assert arms == {"one", "two"}


@pytest.mark.parametrize(("options", "words"), [
    (["--texture", "--texture-bin-width", "0"], "bin width"),
    (["--texture", "--texture-bins", "1"], "grey levels"),
    (["--texture", "--texture-spacing-mm", "-2"], "voxel side"),
    (["--texture", "--texture-spacing-mm", "nan"], "voxel side")])
def test_options_that_make_no_sense_end_with_usage_and_no_table(tmp_path, capsys, options, words):
    cohort = cohort_of(tmp_path, CASES[:1])
    assert run(cohort, *options) == 2
    assert words in capsys.readouterr().err
    assert not (cohort.root / "out" / "radiomics.csv").exists()


def test_texture_without_scans_is_wrong_usage(tmp_path, capsys):
    cohort = cohort_of(tmp_path, CASES[:1])
    assert main([str(cohort.predictions), str(cohort.references), "--scans", str(cohort.scans), "--out",
                 str(cohort.root / "out"), "--texture", "--quiet"]) == 2
    assert "--images" in capsys.readouterr().err


def test_a_table_that_is_damaged_is_refused_in_one_line(tmp_path, capsys):
    cohort = cohort_of(tmp_path, CASES[:1])
    run(cohort, "--texture", out="a")
    path = cohort.root / "a" / "radiomics.csv"
    path.write_text(path.read_text().replace(",ok\n", ",fine\n", 1))
    assert main(["--compare", f"one={cohort.root / 'a'}", f"two={cohort.root / 'a'}", "--scans", str(cohort.scans),
                 "--out", str(cohort.root / "both"), "--quiet"]) != 0
    assert "radiomics.csv" in capsys.readouterr().err


def test_a_prediction_of_one_voxel_has_features_and_says_which_it_has_not(tmp_path):
    cohort = Cohort(tmp_path)
    low = tuple(size // 2 for size in MASK.shape)
    cohort.add(CASES[0], MASK, block(MASK.shape, low, tuple(one + 1 for one in low)))
    write_mask(tmp_path / "images" / f"{CASES[0]}_0000.nii.gz", scan_of(CASES[0]).astype(np.int16))
    assert run(cohort, "--texture", "--texture-spacing-mm", "0") == 0
    rows = [row for row in table(tmp_path / "out" / "radiomics.csv") if row["source"] == "prediction"]
    statuses = {row["ibsi_code"]: row["status"] for row in rows}
    assert statuses["Q4LE"] == statuses["YEKZ"] == "ok"
    assert statuses["ACUI"] == statuses["TDIC"] == "undefined"
    value = next(float(row["value"]) for row in rows if row["ibsi_code"] == "YEKZ")
    assert value == pytest.approx(math.prod(SPACING_MM_ZYX), rel=1e-5)
