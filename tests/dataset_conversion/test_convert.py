from __future__ import annotations

import csv
import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from qct_sites import SiteFolder, dataset_bytes, hip_scan, two_sites

from femur_nnunet.cohort import read_scans_table
from femur_nnunet.dataset_conversion.conversion_options import ConversionOptions, parse_mask_labels
from femur_nnunet.dataset_conversion.convert import ConversionSummary, convert
from femur_nnunet.errors import FemurError, UsageError
from femur_nnunet.files import read_json, sha256_of_file
from femur_nnunet.splits import read_splits
from femur_nnunet.volume_io import GeometryRecord


def options_of(root: Path, **changes: object) -> ConversionOptions:
    plain = ConversionOptions(root / "raw", tulane=root / "tulane", rochester=root / "rochester",
                              unlabelled_sites=("rochester",), key_seed=5, jobs=1, quiet=True)
    return replace(plain, **changes)  # type: ignore[arg-type]


def manifest_options(site: SiteFolder, **changes: object) -> ConversionOptions:
    return replace(ConversionOptions(site.folder.parent / "raw", manifest=site.save(), key_seed=5, jobs=1, quiet=True),
                   **changes)  # type: ignore[arg-type]


def where(summary: ConversionSummary) -> dict[str, int]:
    folders = ("imagesTr", "labelsTr", "imagesTs", "labelsTs", "imagesUn", "geometry")
    return {name: len(list((summary.dataset_folder / name).iterdir())) for name in folders}


def voxels(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> ConversionSummary:
    root = tmp_path_factory.mktemp("converted")
    two_sites(root)
    return convert(options_of(root))


def test_cases_go_where_role_and_label_send_them(converted: ConversionSummary) -> None:
    assert converted.exit_code == 0
    assert where(converted) == {"imagesTr": 4, "labelsTr": 4, "imagesTs": 4, "labelsTs": 4, "imagesUn": 2,
                                "geometry": 10}
    assert converted.counts == {"converted": 10}
    records = read_scans_table(converted.dataset_folder / "scans.tsv")
    kinds = sorted({(r.site, r.role, r.labelled) for r in records})
    assert kinds == [("rochester", "test", True), ("rochester", "train", False), ("tulane", "test", True),
                     ("tulane", "train", True)]


def test_the_dataset_passes_nnunets_own_check(converted: ConversionSummary) -> None:
    # Forked workers stand in for nnU-Net's spawned ones, each of which would import torch again.
    program = ("import multiprocessing, sys\n"
               "from nnunetv2.experiment_planning import verify_dataset_integrity as module\n"
               "fork = multiprocessing.get_context('fork')\n"
               "multiprocessing.get_context = lambda method=None: fork\n"
               "module.verify_dataset_integrity(sys.argv[1], 1)\n")
    done = subprocess.run([sys.executable, "-c", program, str(converted.dataset_folder)], capture_output=True,
                          text=True, env={**os.environ, "nnUNet_raw": str(converted.dataset_folder.parent)},
                          timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "verify_dataset_integrity Done" in done.stdout


def test_every_voxel_of_image_and_mask_goes_back_to_the_scan_it_came_from(converted: ConversionSummary) -> None:
    dataset = converted.dataset_folder
    site = dataset.parents[1] / "tulane"
    image, mask = voxels(site / "images" / "T2_1.nii.gz"), voxels(site / "masks" / "T2_1.nii.gz")
    people = {r.participant_id for r in converted.records if r.sex == "M" and r.site == "tulane"}
    hips = [r for r in converted.records if r.participant_id in people]
    assert [r.side for r in hips] == ["left", "right"]
    restored_image = np.zeros_like(image)
    restored_mask = np.zeros_like(mask)
    for code, hip in enumerate(hips, start=1):
        geometry = GeometryRecord.from_json(read_json(dataset / "geometry" / f"{hip.case_id}.json", what="", action=""))
        restored_image += geometry.backward(voxels(dataset / "imagesTr" / f"{hip.case_id}_0000.nii.gz"))
        restored_mask += code * geometry.backward(voxels(dataset / "labelsTr" / f"{hip.case_id}.nii.gz"))
    np.testing.assert_array_equal(restored_image, image)
    np.testing.assert_array_equal(restored_mask, mask)


def test_the_cohort_table_holds_tags_table_values_and_grid(converted: ConversionSummary) -> None:
    first = next(r for r in converted.records if r.source_format == "dicom")
    assert (first.manufacturer, first.model, first.kvp, first.kernel) == ("Synthetic", "Factory 1", 120, "STANDARD")
    assert (first.slice_spacing_mm, first.pixel_spacing_mm) == (5, 3)
    assert (first.density_unit, first.density_slope, first.density_intercept) == ("K2HPO4", 0.8, -3.5)
    assert (first.calibration_source, first.calibration_phantom) == ("table", "Mindways Model 3")
    other = next(r for r in converted.records if r.source_format == "nifti")
    assert (other.calibration_source, other.density_unit, other.manufacturer) == (None, None, None)
    assert other.age_years == 89
    assert "89+" in (converted.dataset_folder / "participants.tsv").read_text(encoding="utf-8")
    assert [r.laterality_flipped for r in converted.records] == [r.side == "right" for r in converted.records]


def test_folds_cover_the_labelled_training_cases_and_a_smaller_number_is_said(converted: ConversionSummary) -> None:
    splits = read_splits(converted.dataset_folder)
    labelled = {r.case_id for r in converted.records if r.role == "train" and r.labelled}
    assert len(splits.folds) == 2
    assert all(set(fold["train"]) | set(fold["val"]) == labelled for fold in splits.folds)
    assert len(splits.test) == 4
    assert "2 folds in place of 5: there are 2 labelled training participants" in converted.warnings


def test_the_report_has_a_line_for_each_row_and_hip(converted: ConversionSummary) -> None:
    with (converted.dataset_folder / "conversion_report.csv").open(encoding="utf-8", newline="") as handle:
        lines = list(csv.DictReader(handle))
    assert len(lines) == 10
    assert list(lines[0]) == ["source", "manifest_row", "case_id", "status", "reason", "folder"]
    assert {(line["source"], line["manifest_row"]) for line in lines} == {
        ("tulane", "2"), ("tulane", "3"), ("tulane", "4"), ("rochester", "2"), ("rochester", "3")}
    assert [line["folder"] for line in lines if line["source"] == "rochester"] == ["imagesUn"] * 2 + ["imagesTs"] * 2


def test_run_json_hides_paths_and_counts_cases(converted: ConversionSummary) -> None:
    run = json.loads((converted.dataset_folder / "run.json").read_text(encoding="utf-8"))
    assert run["arguments"]["tulane"] == "<path>"
    assert set(run["inputs_sha256"]) == {"tulane", "rochester"}
    assert run["counts"] == {"converted": 10, "cases": 10}
    assert run["outputs_sha256"]["scans.tsv"] == sha256_of_file(converted.dataset_folder / "scans.tsv")


def test_nothing_but_key_map_and_dataset_is_left_and_the_map_is_private(converted: ConversionSummary) -> None:
    raw = converted.dataset_folder.parent
    assert sorted(path.name for path in raw.iterdir()) == [
        "Dataset501_ProximalFemur", "femur_id_map_501.tsv"]
    assert stat.S_IMODE((raw / "femur_id_map_501.tsv").stat().st_mode) == 0o600
    with (raw / "femur_id_map_501.tsv").open(encoding="utf-8", newline="") as handle:
        rows = {row["case_id"]: row for row in csv.DictReader(handle, delimiter="\t")}
    assert set(rows) == {record.case_id for record in converted.records}
    assert {row["site_participant_id"] for row in rows.values()} == {"T1", "T2", "T3", "R1", "R2"}
    assert all(Path(row["image"]).exists() for row in rows.values())


def test_workers_and_a_second_run_change_nothing(tmp_path: Path) -> None:
    two_sites(tmp_path)
    first = convert(options_of(tmp_path, jobs=2))
    content = dataset_bytes(first.dataset_folder)
    second = convert(options_of(tmp_path))
    assert second.counts == {"unchanged": 10}
    assert dataset_bytes(second.dataset_folder) == content
    other = convert(options_of(tmp_path, out=tmp_path / "elsewhere"))
    assert other.counts == {"converted": 10}
    assert dataset_bytes(other.dataset_folder) == content


def test_the_first_key_is_random_private_and_used_again(tmp_path: Path) -> None:
    site = SiteFolder(tmp_path / "s", "oslo")
    site.add("P1")
    summary = convert(manifest_options(site, key_seed=None))
    key = tmp_path / "raw" / "femur_id_key_501.txt"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert convert(manifest_options(site, key_seed=None)).counts == {"unchanged": 2}
    with pytest.raises(UsageError, match="another key"):
        convert(manifest_options(site, key_seed=1))
    key.unlink()
    with pytest.raises(UsageError, match="no key file beside a dataset that has one"):
        convert(manifest_options(site, key_seed=None))
    assert not key.exists()
    assert len(list((summary.dataset_folder / "imagesTr").iterdir())) == 2


def test_more_rows_convert_only_the_new_ones_and_the_test_set_stays(tmp_path: Path) -> None:
    site = SiteFolder(tmp_path / "s", "oslo")
    for number in range(4):
        site.add(f"P{number}", sex="FM"[number % 2])
    first = convert(manifest_options(site, test_fraction=0.25))
    test = {r.participant_id for r in first.records if r.role == "test"}
    assert len(test) == 1
    for number in range(4, 8):
        site.add(f"P{number}", sex="FM"[number % 2])
    second = convert(manifest_options(site, test_fraction=0.25))
    assert second.counts == {"converted": 8, "unchanged": 8}
    later = {r.participant_id for r in second.records if r.role == "test"}
    assert len(later) == 2
    assert test < later
    assert any("extended by 3 participants and lost 0" in warning for warning in second.warnings)
    splits = read_splits(second.dataset_folder)
    assert {case for fold in splits.folds for case in fold["val"]} == {
        r.case_id for r in second.records if r.role == "train"}


def test_a_given_role_that_moves_a_participant_is_refused(tmp_path: Path) -> None:
    site = SiteFolder(tmp_path / "s", "oslo")
    site.add("P1", role="train")
    row = site.add("P2", role="test")
    first = convert(manifest_options(site))
    content = dataset_bytes(first.dataset_folder)
    row["role"] = "train"
    second = convert(manifest_options(site))
    assert second.exit_code == 1
    assert "role train for a participant whom this dataset holds as test" in second.errors[0]
    assert second.counts == {"failed": 2, "unchanged": 2}
    assert dataset_bytes(second.dataset_folder) == content


def test_a_row_that_gains_a_mask_moves_to_the_labelled_cases(tmp_path: Path) -> None:
    site = SiteFolder(tmp_path / "s", "oslo")
    site.add("P1", role="train")
    row = site.add("P2", role="train", mask=False)
    assert where(convert(manifest_options(site)))["imagesUn"] == 2
    row["mask"] = "masks/P2.nii.gz"
    mask = sitk.GetImageFromArray(hip_scan(0)[1])
    image = sitk.ReadImage(str(site.folder / row["image"]))
    mask.CopyInformation(image)
    sitk.WriteImage(mask, str(site.folder / row["mask"]))
    summary = convert(manifest_options(site))
    assert summary.counts == {"converted": 2, "unchanged": 2}
    assert where(summary) == {"imagesTr": 4, "labelsTr": 4, "imagesTs": 0, "labelsTs": 0, "imagesUn": 0, "geometry": 4}


def test_a_corrected_side_replaces_the_hips_of_the_row(tmp_path: Path) -> None:
    site = SiteFolder(tmp_path / "s", "oslo")
    site.add("P1", role="train")
    row = site.add("P2", role="train")
    assert where(convert(manifest_options(site)))["imagesTr"] == 4
    row["side"] = "left"
    summary = convert(manifest_options(site, mask_labels=parse_mask_labels("left=1,right=2")))
    assert summary.exit_code == 0
    assert sorted(r.side for r in summary.records) == ["left", "left", "right"]
    assert where(summary)["imagesTr"] == 3


def test_cases_of_earlier_rows_stay_until_they_are_pruned(tmp_path: Path) -> None:
    site = SiteFolder(tmp_path / "s", "oslo")
    site.add("P1", role="train")
    site.add("P2", role="train")
    convert(manifest_options(site))
    site.rows.pop()
    kept = convert(manifest_options(site))
    assert kept.exit_code == 0
    assert len(kept.records) == 4
    assert any("2 case(s) of earlier runs are not in the tables" in warning for warning in kept.warnings)
    pruned = convert(manifest_options(site, prune=True))
    assert len(pruned.records) == 2
    assert where(pruned)["imagesTr"] == 2


def test_a_corrected_participant_is_taken_for_the_same_scan_until_the_old_case_is_pruned(tmp_path: Path) -> None:
    site = SiteFolder(tmp_path / "s", "oslo")
    site.add("P1", role="train")
    row = site.add("P2", role="train")
    convert(manifest_options(site))
    row["participant_id"] = "P3"
    refused = convert(manifest_options(site))
    assert "the same voxels as a case of an earlier run" in refused.errors[0]
    assert "--prune" in refused.errors[0]
    mended = convert(manifest_options(site, prune=True))
    assert mended.exit_code == 0
    assert len(mended.records) == 4


def test_a_copy_without_hidden_folders_loses_no_case(tmp_path: Path) -> None:
    site = SiteFolder(tmp_path / "s", "oslo")
    site.add("P1", role="train")
    site.add("P2", role="train")
    first = convert(manifest_options(site))
    for path in (first.dataset_folder / ".conversion").iterdir():
        path.unlink()
    site.rows.pop()
    second = convert(manifest_options(site))
    assert [r.case_id for r in second.records] == [r.case_id for r in first.records]


def test_an_undrawn_hip_is_dropped_and_said_or_kept_unlabelled(tmp_path: Path) -> None:
    site = SiteFolder(tmp_path / "s", "oslo")
    mask = hip_scan(3)[1]
    mask[mask == 2] = 0
    site.add("P1", role="train", seed=3, mask=mask)
    dropped = convert(manifest_options(site))
    assert dropped.exit_code == 0
    assert dropped.counts == {"converted": 1, "dropped": 1}
    assert [line.reason for line in dropped.lines if line.status == "dropped"] == [
        "no mask voxel of this hip while the other hip has a mask (--keep-unlabelled-hip keeps it)"]
    kept = convert(manifest_options(site, keep_unlabelled_hip=True))
    assert where(kept) == {"imagesTr": 1, "labelsTr": 1, "imagesTs": 0, "labelsTs": 0, "imagesUn": 1, "geometry": 2}


def test_foreign_label_values_are_mapped(tmp_path: Path) -> None:
    site = SiteFolder(tmp_path / "s", "oslo")
    foreign = np.array([3, 7, 5], np.uint8)[hip_scan(4)[1]]
    foreign[foreign == 3] = 0
    foreign[0, 0, 0] = 3
    site.add("P1", role="train", seed=4, mask=foreign)
    assert "found the values 3, 5, 7 in the mask" in convert(manifest_options(site)).errors[0]
    labels = parse_mask_labels("left=7,right=5,background=3")
    summary = convert(manifest_options(site, mask_labels=labels))
    own = hip_scan(4)[1]
    for record, code in zip(summary.records, (1, 2), strict=True):
        label = voxels(summary.dataset_folder / "labelsTr" / f"{record.case_id}.nii.gz")
        assert np.unique(label).tolist() == [0, 1]
        assert label.sum() == (own == code).sum()


def test_whole_scans_are_one_case_with_two_labels(tmp_path: Path) -> None:
    site = SiteFolder(tmp_path / "s", "oslo")
    site.add("P1", role="train", seed=3)
    summary = convert(manifest_options(site, keep_bilateral=True))
    (record,) = summary.records
    assert (record.side, record.laterality_flipped) == ("both", False)
    label = voxels(summary.dataset_folder / "labelsTr" / f"{record.case_id}.nii.gz")
    np.testing.assert_array_equal(label, hip_scan(3)[1])
    content = json.loads((summary.dataset_folder / "dataset.json").read_text(encoding="utf-8"))
    assert content["labels"] == {"background": 0, "left_proximal_femur": 1, "right_proximal_femur": 2}
    with pytest.raises(UsageError, match="whole scans and single hips"):
        convert(manifest_options(site))


def test_one_training_participant_gives_no_folds_and_says_so(tmp_path: Path) -> None:
    site = SiteFolder(tmp_path / "s", "oslo")
    site.add("P1", role="train")
    summary = convert(manifest_options(site))
    assert any("no folds were drawn: found 1" in warning for warning in summary.warnings)
    assert not (summary.dataset_folder / "splits.json").exists()


def test_an_unlabelled_site_that_no_source_has_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    two_sites(tmp_path)
    with pytest.raises(UsageError, match=r"--unlabelled-site rochster; expected a site of the tables \(rochester, tul"):
        convert(options_of(tmp_path, unlabelled_sites=("rochster",)))
    assert not (tmp_path / "raw").exists()


def test_strict_stops_at_the_first_failure_and_keeps_what_was_converted(tmp_path: Path) -> None:
    site = SiteFolder(tmp_path / "s", "oslo")
    site.add("P1", role="train")
    bad = site.add("P2", role="train")
    site.add("P3", role="train")
    (site.folder / bad["image"]).write_bytes(b"no image")
    summary = convert(manifest_options(site, strict=True))
    assert summary.exit_code == 1
    assert summary.counts == {"converted": 2, "failed": 4}
    assert [line.reason for line in summary.lines][-1] == "not reached"
    bad["role"] = "no role"
    with pytest.raises(FemurError, match=r"manifest row 3 .*role"):
        convert(manifest_options(site, strict=True))
