from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_factory import write_ct_series
from qct_sites import ORIGIN_MM, SPACING_MM_XYZ, SiteFolder, hip_scan, write_image

from femur_nnunet.dataset_conversion.conversion_options import ConversionOptions
from femur_nnunet.dataset_conversion.convert import convert

Damage = Callable[[SiteFolder, dict[str, Any]], None]


def rewrite_series(site: SiteFolder, row: dict[str, Any], *, drop: int | None = None, change: Any = None) -> None:
    """Replace the row's image by a DICOM series, without one slice or with changed headers."""
    folder = site.folder / "images" / "series"
    paths = write_ct_series(folder, (hip_scan(9)[0] + 1024).astype(np.uint16), spacing_mm_ijk=SPACING_MM_XYZ,
                            origin_mm=ORIGIN_MM, change=change)
    if drop is not None:
        paths[drop].unlink()
    row["image"] = "images/series"


def missing_slice(site: SiteFolder, row: dict[str, Any]) -> None:
    rewrite_series(site, row, drop=4)


def uneven_slices(site: SiteFolder, row: dict[str, Any]) -> None:
    def move(dataset: Any, index: int) -> None:
        if index >= 5:
            position = list(dataset.ImagePositionPatient)
            dataset.ImagePositionPatient = [*position[:2], float(position[2]) + 2]
    rewrite_series(site, row, change=move)


def other_modality(site: SiteFolder, row: dict[str, Any]) -> None:
    def as_mr(dataset: Any, index: int) -> None:
        dataset.Modality = "MR"
    rewrite_series(site, row, change=as_mr)


def truncated_file(site: SiteFolder, row: dict[str, Any]) -> None:
    path = site.folder / row["image"]
    path.write_bytes(path.read_bytes()[:5000])


def truncated_slice(site: SiteFolder, row: dict[str, Any]) -> None:
    rewrite_series(site, row)
    path = sorted((site.folder / "images" / "series").iterdir())[3]
    path.write_bytes(path.read_bytes()[:2000])


def unreadable_file(site: SiteFolder, row: dict[str, Any]) -> None:
    (site.folder / row["image"]).write_bytes(b"this is no image at all")


def nan_voxels(site: SiteFolder, row: dict[str, Any]) -> None:
    array = hip_scan(9)[0].astype(np.float32)
    array[2, 3, 4] = np.nan
    write_image(site.folder / row["image"], array)


def foreign_label(site: SiteFolder, row: dict[str, Any]) -> None:
    mask = hip_scan(9)[1]
    mask[mask == 2] = 7
    write_image(site.folder / row["mask"], mask)


def empty_mask(site: SiteFolder, row: dict[str, Any]) -> None:
    write_image(site.folder / row["mask"], np.zeros_like(hip_scan(9)[1]))


def shifted_mask(site: SiteFolder, row: dict[str, Any]) -> None:
    write_image(site.folder / row["mask"], hip_scan(9)[1], origin_mm=(ORIGIN_MM[0] + 1, *ORIGIN_MM[1:]))


def smaller_mask(site: SiteFolder, row: dict[str, Any]) -> None:
    write_image(site.folder / row["mask"], hip_scan(9)[1][:-1])


def missing_image(site: SiteFolder, row: dict[str, Any]) -> None:
    (site.folder / row["image"]).unlink()


def missing_mask(site: SiteFolder, row: dict[str, Any]) -> None:
    (site.folder / row["mask"]).unlink()


def set_cell(column: str, value: Any) -> Damage:
    def damage(site: SiteFolder, row: dict[str, Any]) -> None:
        row[column] = value
    return damage


def duplicate_row(site: SiteFolder, row: dict[str, Any]) -> None:
    row["participant_id"] = "P1"


def copied_scan(site: SiteFolder, row: dict[str, Any]) -> None:
    row.update({column: site.rows[0][column] for column in ("image", "mask")})


def swapped_labels(site: SiteFolder, row: dict[str, Any]) -> None:
    write_image(site.folder / row["mask"], np.array([0, 2, 1], np.uint8)[hip_scan(9)[1]])


def label_map_as_image(site: SiteFolder, row: dict[str, Any]) -> None:
    row["image"] = row["mask"]


def two_patients(site: SiteFolder, row: dict[str, Any]) -> None:
    def change(dataset: Any, index: int) -> None:
        dataset.PatientID = f"patient {index // 5}"
    rewrite_series(site, row, change=change)


CASES: list[tuple[Damage, str, str]] = [
    (set_cell("site", ""), "found no site", "short name of a hospital"),
    (set_cell("site", "Mayo Clinic"), "found site of 11 characters", "lower-case letters and digits"),
    (set_cell("role", "val"), "found role of 3 characters", "one of train, test"),
    (set_cell("side", "l"), "found side of 1 characters", "one of left, right, both"),
    (set_cell("density_slope", "2"), "of which some are empty", "all three or none"),
    (set_cell("image", ""), "found a mask without its image", "path of the image"),
    (missing_image, "found a mask without its image: no such image file", "an existing path"),
    (missing_mask, "found no such mask file", "an existing path"),
    (duplicate_row, "found a duplicate case: manifest row 2", "one row a hip and visit"),
    (copied_scan, "found a duplicate case: the same voxels as manifest row 2", "every scan once"),
    (shifted_mask, "origin apart by 1.000 mm", "the image's grid"),
    (smaller_mask, "size 124 x 44 x 9 against 124 x 44 x 10", "the image's grid"),
    (other_modality, "modality MR", "modality CT"),
    (missing_slice, "spacing", "found"),
    (uneven_slices, "spacing", "found"),
    (truncated_file, "cannot be read", "a sound image file"),
    (truncated_slice, "truncated", "expected"),
    (unreadable_file, "cannot be read", "a sound image file"),
    (nan_voxels, "found 1 NaN or infinite voxel(s)", "a finite value in every voxel"),
    (foreign_label, "found the value 7 in the mask", "1 for the left and 2 for the right femur"),
    (empty_mask, "found an empty mask", "a mask with femur voxels"),
    (label_map_as_image, "found values from 0 to 2", "a CT in HU"),
    (two_patients, "found CT slices of 2 patients", "one patient"),
    (swapped_labels, "on the other side of the patient", "the left femur at the patient's left"),
]


@pytest.mark.parametrize(("damage", "found", "expected"), CASES,
                         ids=[getattr(case[0], "__name__", "cell") + str(n) for n, case in enumerate(CASES)])
def test_bad_input_is_one_line_and_the_other_cases_survive(
        damage: Damage, found: str, expected: str, tmp_path: Path) -> None:
    site = SiteFolder(tmp_path / "site", "oslo")
    site.add("P1", role="train")
    row = site.add("P2", role="train", seed=9)
    site.add("P3", role="train")
    damage(site, row)
    summary = convert(ConversionOptions(tmp_path / "raw", manifest=site.save(), key_seed=1, jobs=1, quiet=True))
    assert summary.exit_code == 1
    (line,) = summary.errors
    assert re.match(r"manifest row 3( \(oslo_[0-9a-f]{8}_v01_l and oslo_[0-9a-f]{8}_v01_r\))?: found ", line)
    assert "; expected " in line
    assert line.endswith(".")
    assert "\n" not in line
    assert found in line
    assert expected in line
    with (summary.dataset_folder / "conversion_report.csv").open(encoding="utf-8", newline="") as handle:
        report = list(csv.DictReader(handle))
    assert {item["manifest_row"] for item in report if item["status"] == "failed"} == {"3"}
    assert {item["manifest_row"] for item in report if item["status"] == "converted"} == {"2", "4"}
    assert all(found in item["reason"] for item in report if item["status"] == "failed")
    assert len(list((summary.dataset_folder / "imagesTr").iterdir())) == 4
    assert (summary.dataset_folder / "dataset.json").exists()


def test_two_sexes_of_one_participant_are_refused_with_both_rows(tmp_path: Path) -> None:
    site = SiteFolder(tmp_path / "site", "oslo")
    site.add("P1", role="train")
    site.add("P2", sex="F")
    site.add("P2", sex="M", visit=2)
    summary = convert(ConversionOptions(tmp_path / "raw", manifest=site.save(), key_seed=1, jobs=1, quiet=True))
    assert len(summary.errors) == 2
    assert all("two sexes (F in manifest row 3, M in manifest row 4)" in line for line in summary.errors)
    assert len(summary.records) == 2


def test_a_site_without_folder_or_column_costs_nothing_to_the_other_site(tmp_path: Path) -> None:
    site = SiteFolder(tmp_path / "tulane", "tulane")
    site.add("T1", role="train")
    site.save()
    options = ConversionOptions(tmp_path / "raw", tulane=site.folder, rochester=tmp_path / "rochester", key_seed=1,
                                unlabelled_sites=("rochester",), jobs=1, quiet=True)
    first = convert(options)
    assert first.errors == ["rochester table: found no such folder; expected a folder that holds metadata.csv and the "
                            "scans; correct the path behind --rochester."]
    assert len(first.records) == 2
    (tmp_path / "rochester").mkdir()
    (tmp_path / "rochester" / "metadata.csv").write_text("participant_id,mask\nR1,\n", encoding="utf-8")
    second = convert(options)
    assert "rochester table: found no column image" in second.errors[0]
    assert second.counts == {"failed": 1, "unchanged": 2}


def test_a_row_that_fails_now_keeps_what_was_converted_before(tmp_path: Path) -> None:
    site = SiteFolder(tmp_path / "site", "oslo")
    site.add("P1", role="train")
    site.add("P2", role="train", seed=9)
    options = ConversionOptions(tmp_path / "raw", manifest=site.save(), key_seed=1, jobs=1, quiet=True)
    first = convert(options)
    before = {path.name: path.read_bytes() for path in (first.dataset_folder / "imagesTr").iterdir()}
    unreadable_file(site, site.rows[1])
    second = convert(options)
    assert second.exit_code == 1
    assert second.counts == {"failed": 2, "unchanged": 2}
    assert all("earlier run is kept" in line.reason for line in second.lines if line.status == "failed")
    assert {path.name: path.read_bytes() for path in (second.dataset_folder / "imagesTr").iterdir()} == before
    assert [r.case_id for r in second.records] == [r.case_id for r in first.records]


def test_only_bad_rows_give_a_report_and_no_dataset(tmp_path: Path) -> None:
    site = SiteFolder(tmp_path / "site", "oslo")
    site.add("P1", role="nobody knows")
    summary = convert(ConversionOptions(tmp_path / "raw", manifest=site.save(), key_seed=1, jobs=1, quiet=True))
    assert summary.exit_code == 1
    assert (summary.dataset_folder / "conversion_report.csv").exists()
    assert not (summary.dataset_folder / "dataset.json").exists()


def test_sources_are_only_read(tmp_path: Path) -> None:
    site = SiteFolder(tmp_path / "site", "oslo")
    site.add("P1", kind="")
    manifest = site.save()

    def state() -> dict[str, tuple[int, int]]:
        return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in site.folder.rglob("*")}

    before = state()
    convert(ConversionOptions(tmp_path / "raw", manifest=manifest, key_seed=1, jobs=1, quiet=True))
    assert state() == before


def test_an_image_of_two_columns_is_refused(tmp_path: Path) -> None:
    site = SiteFolder(tmp_path / "site", "oslo")
    row = site.add("P1", mask=False)
    image = sitk.GetImageFromArray(hip_scan(1)[0][:, :, :2])
    sitk.WriteImage(image, str(site.folder / row["image"]))
    summary = convert(ConversionOptions(tmp_path / "raw", manifest=site.save(), key_seed=1, jobs=1, quiet=True))
    assert "at least 3 along each axis" in summary.errors[0]


def test_labels_of_a_failed_row_do_not_stay_unnoticed_in_the_training_of_an_unlabelled_site(tmp_path: Path) -> None:
    site = SiteFolder(tmp_path / "site", "oslo")
    site.add("P1", role="train")
    row = site.add("P2", role="train")
    options = ConversionOptions(tmp_path / "raw", manifest=site.save(), key_seed=1, jobs=1, quiet=True)
    assert len(convert(options).records) == 4
    unlabelled = replace(options, unlabelled_sites=("oslo",))
    missing_image(site, row)

    summary = convert(unlabelled)

    assert [record.labelled for record in summary.records].count(True) == 2
    assert any("site oslo: found 2 labelled training case(s) of an earlier run" in line for line in summary.errors)
    site.rows.remove(row)
    site.save("metadata.csv")
    assert convert(unlabelled).exit_code == 1
    pruned = convert(replace(unlabelled, prune=True))
    assert pruned.exit_code == 0
    assert not any(record.labelled for record in pruned.records)
