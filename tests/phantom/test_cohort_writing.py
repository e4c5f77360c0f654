from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from femur_nnunet.errors import UsageError
from femur_nnunet.files import sha256_of_file
from femur_nnunet.phantom.cohort_plan import PRESETS, CohortSpec, PlannedScan, plan_scans
from femur_nnunet.phantom.cohort_writing import METADATA_COLUMNS, render_planned, write_cohort
from femur_nnunet.phantom.render import RenderedScan
from femur_nnunet.phantom.tiers import tier_hash

SPEC = CohortSpec(n_tulane=3, n_rochester=2, n_test_tulane=1, n_test_rochester=1, size="tiny", seed=100)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    write_cohort(SPEC, folder, jobs=1, quiet=True)
    return folder


def _rows(folder: Path, site: str) -> list[dict[str, str]]:
    with (folder / site / "metadata.csv").open(encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def _hashes(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): sha256_of_file(path)
            for path in sorted(folder.rglob("*")) if path.is_file()}


def _image(path: Path) -> sitk.Image:
    if path.is_dir():
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path)))
        return reader.Execute()
    return sitk.ReadImage(str(path))


def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_workers(cohort: Path,
                                                                           tmp_path: Path) -> None:
    write_cohort(SPEC, tmp_path / "again", jobs=2, quiet=True)
    assert _hashes(tmp_path / "again") == _hashes(cohort)


def test_another_seed_gives_other_people() -> None:
    first, second = (render_planned(replace(SPEC, seed=seed), plan_scans(SPEC)[0]) for seed in (100, 101))
    assert not np.array_equal(first.hu, second.hu)


def test_metadata_holds_the_manifest_s_columns_and_every_listed_file_is_there(cohort: Path) -> None:
    for site, count in (("tulane", 3), ("rochester", 2)):
        rows = _rows(cohort, site)
        assert tuple(rows[0]) == METADATA_COLUMNS
        assert len(rows) == count
        assert Counter(row["role"] for row in rows)["test"] == 1
        for row in rows:
            assert (cohort / site / row["image"]).exists()
            assert (cohort / site / row["mask"]).exists()
            assert row["side"] == "both"
            assert float(row["density_slope"]) > 0


def test_images_and_masks_share_their_geometry_in_every_format(cohort: Path) -> None:
    seen = set()
    for site in ("tulane", "rochester"):
        for row in _rows(cohort, site):
            image, mask = _image(cohort / site / row["image"]), _image(cohort / site / row["mask"])
            seen.add(Path(row["image"]).suffix)
            assert image.GetSize() == mask.GetSize()
            assert image.GetOrigin() == pytest.approx(mask.GetOrigin(), abs=1e-3)
            assert image.GetSpacing() == pytest.approx(mask.GetSpacing(), abs=1e-5)
            assert image.GetDirection() == pytest.approx(mask.GetDirection(), abs=1e-5)
            assert set(np.unique(sitk.GetArrayFromImage(mask))) == {0, 1, 2}
    assert seen == {"", ".gz", ".mha"}


def test_some_nifti_of_a_larger_site_lie_in_another_orientation() -> None:
    forms = [scan.form for scan in plan_scans(PRESETS["demo"]) if scan.site == "tulane"]
    assert Counter(forms) == {"dicom": 8, "nifti": 4, "nifti_ras": 4}


def test_truth_names_tiers_hash_and_region_map(cohort: Path) -> None:
    truth = json.loads((cohort / "rochester" / "truth" / "RO0001_v01.json").read_text())
    assert truth["tiers"] == {"scanner": "moderate", "population": "moderate", "positioning": "moderate"}
    assert truth["tiers_sha256"] == tier_hash()
    assert truth["density_unit"] == "HA"
    region_map = sitk.ReadImage(str(cohort / "rochester" / "truth" / truth["region_map"]))
    mask = _image(cohort / "rochester" / _rows(cohort, "rochester")[0]["mask"])
    assert np.array_equal(sitk.GetArrayFromImage(region_map) > 0, sitk.GetArrayFromImage(mask) > 0)
    source = json.loads((cohort / "tulane" / "truth" / "TU0001_v01.json").read_text())
    assert set(source["tiers"].values()) == {"none"}


def test_a_folder_with_the_same_cohort_is_kept_and_with_another_one_refused(cohort: Path) -> None:
    before = _hashes(cohort)
    assert write_cohort(SPEC, cohort, quiet=True).reused
    assert _hashes(cohort) == before
    with pytest.raises(UsageError, match="another synthetic cohort"):
        write_cohort(replace(SPEC, seed=101), cohort, quiet=True)


def test_a_run_that_was_stopped_leaves_no_tables_and_blocks_other_cohorts(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("femur_nnunet.phantom.cohort_writing._write_scan", stop)
    with pytest.raises(KeyboardInterrupt):
        write_cohort(SPEC, tmp_path, quiet=True)
    assert not list(tmp_path.rglob("metadata.csv"))
    with pytest.raises(UsageError, match="another synthetic cohort"):
        write_cohort(replace(SPEC, seed=101), tmp_path, quiet=True)


def test_a_second_visit_shows_the_same_bones_in_another_position_with_less_in_them() -> None:
    spec = replace(SPEC, second_visits_tulane=3, second_visits_rochester=2)
    first, second = (render_planned(spec, scan) for scan in plan_scans(spec)[:2])
    assert first.truth["anatomy"]["femora"] == second.truth["anatomy"]["femora"]
    assert first.truth["anatomy"]["body"] == second.truth["anatomy"]["body"]
    before, after = (scan.truth["anatomy"]["bone"]["neck_trabecular_mg_cc"] for scan in (first, second))
    assert 0.94 * before < after < before
    assert first.truth["pose"] != second.truth["pose"]


def test_a_stopped_run_goes_on_without_rendering_again_what_is_complete(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cohort: Path) -> None:
    from femur_nnunet.phantom import cohort_writing

    rendered: list[str] = []

    def stop_at_third(spec: CohortSpec, scan: PlannedScan, *, map_cache: Path | None = None) -> RenderedScan:
        if len(rendered) == 2:
            raise KeyboardInterrupt
        rendered.append(scan.participant_id)
        return render_planned(spec, scan, map_cache=map_cache)

    monkeypatch.setattr(cohort_writing, "render_planned", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        write_cohort(SPEC, tmp_path, quiet=True)
    after: list[str] = []

    def note(spec: CohortSpec, scan: PlannedScan, *, map_cache: Path | None = None) -> RenderedScan:
        after.append(scan.participant_id)
        return render_planned(spec, scan, map_cache=map_cache)

    monkeypatch.setattr(cohort_writing, "render_planned", note)
    write_cohort(SPEC, tmp_path, quiet=True)
    assert after == [scan.participant_id for scan in plan_scans(SPEC)[2:]]
    assert _hashes(tmp_path) == _hashes(cohort)
