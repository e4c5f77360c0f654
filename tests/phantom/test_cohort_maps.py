from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from kit_label_map import write_kit_label_map

from femur_nnunet.errors import FemurError, UsageError
from femur_nnunet.phantom.anatomy import Participant
from femur_nnunet.phantom.cohort_maps import map_paths, split_maps
from femur_nnunet.phantom.cohort_plan import CohortSpec, plan_scans
from femur_nnunet.phantom.cohort_writing import write_cohort


@pytest.fixture(scope="module")
def map_folder(participant: Participant, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("maps")
    write_kit_label_map(folder / "p1.nii.gz", participant, spacing_mm=2.0, lowest_mm=120.0)
    for name in ("p2", "p3", "p4"):
        shutil.copy(folder / "p1.nii.gz", folder / f"{name}.nii.gz")
    return folder


def test_sites_and_roles_share_no_map_and_visits_do(map_folder: Path) -> None:
    spec = CohortSpec(n_tulane=6, n_rochester=4, n_test_tulane=2, n_test_rochester=2, second_visits_tulane=6, seed=100,
                      label_maps=str(map_folder))
    scans = plan_scans(spec)
    by_map: dict[str | None, set[str]] = {}
    by_person: dict[str, set[str | None]] = {}
    for scan in scans:
        by_map.setdefault(scan.label_map, set()).add(f"{scan.site}/{scan.role}")
        by_person.setdefault(scan.participant_id, set()).add(scan.label_map)
    assert set(by_map) == {"p1", "p2", "p3", "p4"}
    assert all(len(groups) == 1 for groups in by_map.values())
    assert all(len(maps) == 1 for maps in by_person.values())
    assert {name for names in split_maps(spec, scans).values() for name in names} == set(by_map)


def test_a_subset_uses_its_subjects_alone(map_folder: Path) -> None:
    spec = CohortSpec(n_tulane=3, n_rochester=0, n_test_tulane=1, n_test_rochester=0, label_maps=str(map_folder),
                      label_map_subjects="p2, p4")
    assert {scan.label_map for scan in plan_scans(spec)} == {"p2", "p4"}
    with pytest.raises(UsageError, match="no label map named p9"):
        map_paths(replace(spec, label_map_subjects="p9"))


def test_without_maps_the_kit_stays_analytic() -> None:
    assert {scan.label_map for scan in plan_scans(CohortSpec())} == {None}


def test_a_bad_map_is_named_before_anything_is_begun_and_can_be_put_right(map_folder: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "maps", tmp_path / "cohort"
    folder.mkdir()
    shutil.copy(map_folder / "p1.nii.gz", folder / "p1.nii.gz")
    (folder / "p2.nii.gz").write_bytes(b"no image")
    spec = CohortSpec(n_tulane=1, n_rochester=1, n_test_tulane=0, n_test_rochester=0, size="tiny", seed=100,
                      label_maps=str(folder))
    with pytest.raises(FemurError, match=r"p2\.nii\.gz"):
        write_cohort(spec, out, quiet=True)
    assert not (out / ".cohort_started.json").exists()
    assert not list(out.glob("*/metadata.csv"))
    shutil.copy(map_folder / "p1.nii.gz", folder / "p2.nii.gz")
    assert write_cohort(spec, out, quiet=True).scans == 2


def test_a_cohort_of_maps_is_written_with_their_names_and_hashes(map_folder: Path, tmp_path: Path) -> None:
    spec = CohortSpec(n_tulane=1, n_rochester=1, n_test_tulane=0, n_test_rochester=0, size="tiny", seed=100,
                      label_maps=str(map_folder), label_map_subjects="p1,p3")
    write_cohort(spec, tmp_path / "cohort", quiet=True)
    text = (tmp_path / "cohort" / "cohort.json").read_text(encoding="utf-8")
    described = json.loads(text)["label_maps"]
    assert str(map_folder) not in text
    assert sorted(described["sha256"]) == ["p1", "p3"]
    assert sorted(described["groups"]) == ["rochester/train", "tulane/train"]
    assert not (tmp_path / "cohort" / ".prepared_label_maps").exists()
    truth = json.loads((tmp_path / "cohort" / "tulane" / "truth" / "TU0001_v01.json").read_text(encoding="utf-8"))
    for side in ("left", "right"):
        bones = truth["sides"][side]["bones"]
        assert [bones["map"]] == described["groups"]["tulane/train"]
        assert bones["sha256"] == described["sha256"][bones["map"]]
        regions = truth["sides"][side]["regions"]
        assert all(regions[name]["volume_ml"] > 1.0 for name in ("head", "neck", "trochanteric", "shaft"))
        parts = sum(regions[name]["volume_ml"] for name in ("head", "neck", "trochanteric", "shaft"))
        assert regions["total"]["volume_ml"] == pytest.approx(parts)
    mask = sitk.ReadImage(str(next((tmp_path / "cohort" / "tulane" / "TU0001" / "v01").glob("femora.*"))))
    voxels = sitk.GetArrayFromImage(mask)
    volume_ml = (voxels == 1).sum() * float(np.prod(mask.GetSpacing())) / 1000
    assert volume_ml == pytest.approx(truth["sides"]["left"]["regions"]["total"]["volume_ml"], rel=0.05)
    # The shaft goes on to the end of the field of view though the maps end above it.
    assert (voxels[0] == 1).any()
    assert (voxels[0] == 2).any()
    assert write_cohort(spec, tmp_path / "cohort", quiet=True).reused
