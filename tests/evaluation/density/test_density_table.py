from __future__ import annotations

import csv
import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from evaluation_cohort import scan
from hip_scans import hip_scan

from femur_nnunet.cohort import ScanRecord, write_scans_table
from femur_nnunet.errors import FemurError
from femur_nnunet.evaluation.density.density_row import DENSITY_COLUMNS, DensityRow, read_density, write_density
from femur_nnunet.evaluation.density.density_status import DENSITY_RULES, DensityStatus
from femur_nnunet.evaluation.density.significant_change import margin, parse_override
from femur_nnunet.evaluation.eval_command import main
from femur_nnunet.evaluation.extra_tables import EXTRA_FILES, extra_tables, write_extra
from femur_nnunet.evaluation.options import StatisticsOptions
from femur_nnunet.evaluation.texture.radiomics_agreement import SUMMARY_NAME
from femur_nnunet.phantom.one_hip import HipScan
from femur_nnunet.regions import Region
from femur_nnunet.volume_io.volume import Grid
from femur_nnunet.volume_io.writing import write_nifti

LEFT, FLIPPED = "tulane_aaaaaaaa_v01_l", "rochester_bbbbbbbb_v01_r"
NO_IMAGE, OTHER_GRID, UNCALIBRATED = "tulane_cccccccc_v01_l", "tulane_dddddddd_v01_l", "tulane_eeeeeeee_v01_l"


def write_case(root: Path, case_id: str, hip: HipScan, *, flipped: bool = False, images: str | None = "_0000") -> None:
    turn = slice(None, None, -1 if flipped else 1)
    for folder in ("images", "references", "predictions"):
        (root / folder).mkdir(exist_ok=True)
    if images is not None:
        write_nifti(root / "images" / f"{case_id}{images}.nii.gz", hip.hu[:, :, turn], hip.grid)
    write_nifti(root / "references" / f"{case_id}.nii.gz", hip.mask[:, :, turn], hip.grid)
    # The prediction lacks the outermost column of voxels on the lateral side.
    less = hip.mask.copy()
    less[:, :, np.flatnonzero(less.any(axis=(0, 1)))[-1 if hip.side == "left" else 0]] = 0
    write_nifti(root / "predictions" / f"{case_id}.nii.gz", less[:, :, turn], hip.grid)


def record(case_id: str, hip: HipScan | None, **changes: object) -> ScanRecord:
    own = {} if hip is None else {"density_unit": hip.calibration.unit, "density_slope": hip.calibration.slope,
                                  "density_intercept": hip.calibration.intercept}
    return dataclasses.replace(scan(case_id, sex="F"), **own, **changes)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    """femur_eval --images over two sites that calibrate in different units, with three cases that fail."""
    root = tmp_path_factory.mktemp("density")
    left = hip_scan(104, "mild", "left", 1.5, 3.0)
    right = hip_scan(105, "mild", "right", 1.5, 3.0, unit="HA")
    small = dataclasses.replace(left, hu=left.hu[::6, ::6, ::6].copy(), mask=left.mask[::6, ::6, ::6].copy(),
                                grid=_coarser(left.grid, left.hu[::6, ::6, ::6].shape))
    write_case(root, LEFT, left)
    write_case(root, FLIPPED, right, flipped=True)
    write_case(root, UNCALIBRATED, left, images="")
    write_case(root, NO_IMAGE, small, images=None)
    write_case(root, OTHER_GRID, small, images=None)
    write_nifti(root / "images" / f"{OTHER_GRID}_0000.nii.gz", left.hu, left.grid)
    write_scans_table(root / "scans.tsv", [
        record(LEFT, left), record(FLIPPED, right, laterality_flipped=True), record(UNCALIBRATED, None),
        record(NO_IMAGE, left), record(OTHER_GRID, left)])
    code = main([str(root / "predictions"), str(root / "references"), "--scans", str(root / "scans.tsv"), "--images",
                 str(root / "images"), "--out", str(root / "out"), "--jobs", "1", "--bootstrap", "20", "--quiet",
                 "--lsc", "vbmd_integral:neck=3", "--fe-export", str(root / "fe"), "--fe-spacing", "3"])
    return code, root / "out"


def _coarser(grid: Grid, shape: tuple[int, ...]) -> Grid:
    step = tuple(6 * one for one in grid.spacing_mm_ijk)
    return Grid((shape[2], shape[1], shape[0]), step, grid.origin_mm_lps)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_case_has_five_rows_for_each_mask(result: tuple[int, Path]) -> None:
    rows = rows_of(result[1] / "density.csv")
    assert len(rows) == 5 * 2 * 5
    assert {row["arm"] for row in rows} == {"model"}
    found = {(row["case_id"], row["status"]) for row in rows}
    assert found == {(LEFT, "ok"), (FLIPPED, "ok"), (UNCALIBRATED, "uncalibrated"), (NO_IMAGE, "image_missing"),
                     (OTHER_GRID, "image_geometry_mismatch")}


def test_each_scan_keeps_its_own_unit(result: tuple[int, Path]) -> None:
    units = {(row["case_id"], row["unit"]) for row in rows_of(result[1] / "density.csv")}
    assert units == {(LEFT, "K2HPO4"), (FLIPPED, "HA"), (UNCALIBRATED, "n/a"), (NO_IMAGE, "n/a"), (OTHER_GRID, "n/a")}


def test_a_flipped_right_hip_is_measured_as_the_left_one_that_it_looks_like(result: tuple[int, Path]) -> None:
    truth = hip_scan(105, "mild", "right", 1.5, 3.0, unit="HA").truth["regions"]["neck"]
    neck = next(row for row in rows_of(result[1] / "density.csv") if (row["case_id"], row["source"], row["region"])
                == (FLIPPED, "reference", "neck"))
    assert neck["side"] == "right"
    assert float(neck["volume_ml"]) == pytest.approx(truth["volume_ml"], rel=0.04)
    assert float(neck["vbmd_integral"]) == pytest.approx(truth["vbmd_integral_mg_cc"], rel=0.2)


def test_agreement_has_no_row_over_sites_that_calibrate_in_different_units(result: tuple[int, Path]) -> None:
    rows = rows_of(result[1] / "agreement.csv")
    integral = {(row["site"], row["unit"]) for row in rows
                if row["quantity"] == "vbmd_integral" and row["sex"] == "all"}
    assert integral == {("tulane", "mg/cc K2HPO4"), ("rochester", "mg/cc HA")}
    thickness = {row["site"]: row for row in rows if row["quantity"] == "cortical_thickness_mm"
                 and row["region"] == "shaft" and row["sex"] == "all"}
    assert thickness["all"]["unit"] == "mm"
    # The uncalibrated femur counts where no density is needed.
    assert (thickness["all"]["n"], thickness["tulane"]["n"]) == ("3", "2")


def test_the_margin_of_equivalence_is_the_least_significant_change(result: tuple[int, Path]) -> None:
    density = rows_of(result[1] / "density.csv")
    for region, percent in (("neck", 3.0), ("total", 5.0)):
        reference = next(float(row["vbmd_integral"]) for row in density if (
            row["case_id"], row["source"], row["region"]) == (LEFT, "reference", region))
        found = next(row for row in rows_of(result[1] / "agreement.csv") if (
            row["quantity"], row["region"], row["site"], row["sex"]) == ("vbmd_integral", region, "tulane", "all"))
        assert float(found["tost_margin"]) == pytest.approx(reference * percent / 100, rel=1e-5)


def test_no_row_of_agreement_stands_twice(result: tuple[int, Path]) -> None:
    keys = [tuple(row[name] for name in ("arm", "quantity", "region", "site", "sex", "unit"))
            for row in rows_of(result[1] / "agreement.csv")]
    assert len(keys) == len(set(keys))


def test_tables_of_an_earlier_run_do_not_stay_beside_those_of_a_later_one(tmp_path: Path) -> None:
    for name in (*EXTRA_FILES, "notes.csv"):
        (tmp_path / name).touch()
    write_extra({}, [], {}, tmp_path, StatisticsOptions())
    assert [path.name for path in tmp_path.iterdir()] == ["notes.csv"]


def test_the_names_of_further_tables_are_those_that_the_tables_write() -> None:
    assert (*(table.file_name for table in extra_tables()), SUMMARY_NAME) == EXTRA_FILES


def test_what_failed_stands_in_the_exit_code_and_in_the_record_of_the_run(result: tuple[int, Path]) -> None:
    code, out = result
    assert code == 1
    warnings = "\n".join(json.loads((out / "run.json").read_text(encoding="utf-8"))["warnings"])
    assert f"{NO_IMAGE}, density of the reference: image_missing" in warnings
    assert f"{OTHER_GRID}, density of the prediction: image_geometry_mismatch" in warnings
    assert UNCALIBRATED not in warnings


def test_each_predicted_femur_is_exported_and_the_index_says_how_that_went(result: tuple[int, Path]) -> None:
    folder = result[1].parent / "fe"
    index = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    assert index["femora"] == {LEFT: ["ok"], FLIPPED: ["ok"], UNCALIBRATED: ["uncalibrated"],
                               NO_IMAGE: ["image_missing"], OTHER_GRID: ["image_geometry_mismatch"]}
    assert (folder / f"{LEFT}_surface.stl").stat().st_size > 1000
    assert not (folder / f"{UNCALIBRATED}_density.nii.gz").exists()
    sidecar = json.loads((folder / f"{FLIPPED}.json").read_text(encoding="utf-8"))
    assert (sidecar["side_shown"], sidecar["source"]["side"], sidecar["source"]["laterality_flipped"]) == (
        "left", "right", True)


@pytest.mark.parametrize("more", [["--fe-export", "fe"], ["--fe-export", "fe", "--compare", "a=A", "b=B"]])
def test_an_export_without_scans_or_of_several_arms_is_a_usage_error(
        tmp_path: Path, more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    folders = [] if "--compare" in more else [str(tmp_path), str(tmp_path)]
    assert main([*folders, "--scans", "scans.tsv", "--out", str(tmp_path / "out"), *more]) == 2
    assert "--fe-export with" in capsys.readouterr().err


def test_density_csv_gives_back_the_same_rows(tmp_path: Path) -> None:
    rows = [DensityRow("tulane_aaaaaaaa_v01_l", "prediction", Region.NECK, "HA", 11.123456789012345, 3000.1, 270.0,
                       550.0, -12.5, 1.5, DensityStatus.SHAFT_ASSUMED, "grl", "left")]
    write_density(tmp_path / "density.csv", rows)
    assert read_density(tmp_path / "density.csv") == rows
    assert read_density(tmp_path / "density.csv", "mmd")[0].arm == "mmd"


@pytest.mark.parametrize(("old", "new", "message"), [
    ("vbmd_integral", "vbmd", "no column vbmd_integral"), ("prediction", "guess", "'guess' in column source"),
    ("shaft_assumed", "fine", "'fine' is not a valid"), ("HA", "mg", "the unit must be one of")])
def test_a_changed_density_csv_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "density.csv"
    write_density(path, [DensityRow("tulane_aaaaaaaa_v01_l", "prediction", Region.NECK, "HA",
                                    status=DensityStatus.SHAFT_ASSUMED)])
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(FemurError, match=message):
        read_density(path)


def test_the_default_margins_are_two_point_seven_seven_times_the_published_precision() -> None:
    # Cann 2014: 1.8 % and 2.0 %, times 2.77, rounded to a tenth.
    assert margin("vbmd_integral", Region.TOTAL, 200.0, {}) == pytest.approx(200.0 * 0.050)
    assert margin("vbmd_integral", Region.NECK, 200.0, {}) == pytest.approx(200.0 * 0.055)
    assert margin("vbmd_integral", Region.NECK, 200.0, {"vbmd_integral": 2.0}) == pytest.approx(4.0)
    assert margin("vbmd_trabecular", Region.SHAFT, -40.0, {}) is None
    assert margin("vbmd_trabecular", Region.SHAFT, math.nan, {}) is None


@pytest.mark.parametrize("text", ["vbmd=2", "vbmd_integral", "vbmd_integral=0", "vbmd_integral:hip=2", "bmc_mg=x"])
def test_a_margin_that_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="QUANTITY=PERCENT"):
        parse_override(text)


def test_every_status_has_its_rule_and_the_columns_are_those_of_the_contract() -> None:
    assert set(DENSITY_RULES) == set(DensityStatus)
    assert len({rule.gravity for rule in DENSITY_RULES.values()}) == len(DENSITY_RULES)
    assert DENSITY_COLUMNS == ("arm", "case_id", "source", "region", "unit", "volume_ml", "bmc_mg", "vbmd_integral",
                               "vbmd_cortical", "vbmd_trabecular", "cortical_thickness_mm", "status", "side")
