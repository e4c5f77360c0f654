from __future__ import annotations

import csv
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from femur_nnunet.errors import UsageError
from femur_nnunet.randomised import pool as pool_module
from femur_nnunet.randomised.pool import MASK_NAME, PoolSpec, grow_pool, read_records
from femur_nnunet.randomised.rendering import Rendering, generator_of
from femur_nnunet.randomised.subjects import Subjects
from femur_nnunet.volume_io.image_files import read_image_file
from femur_nnunet.volume_io.volume import Grid

NAMES = ("anna", "berta", "carla")


class NamedMap:
    """What the pool needs to know of a label map."""

    def __init__(self, name: str) -> None:
        self.name = name


@pytest.fixture
def label_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of three subjects, and a renderer that draws noise instead of hips."""
    folder = tmp_path / "maps"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.nii.gz").touch()

    def render(prepared: NamedMap, *, seed: int, number: int, finest_mm: float, fixed: dict[str, Any]) -> Rendering:
        rng = generator_of(seed, prepared.name, number)
        hu = rng.integers(-1000, 1000, size=(3, 4, 5)).astype(np.int16)
        mask = np.zeros(hu.shape, dtype=np.uint8)
        side = ("left", "right", None)[number % 3]
        mask[1, 1, 1:3] = (1, 2, 0)[number % 3]
        field = f"{side} hip" if side else "pelvis"
        return Rendering(hu, mask, Grid((5, 4, 3), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0)),
                         {"subject": prepared.name, "number": number, "field": field, "fixed": fixed,
                          "femur_ml": {side: 1.0} if side else {}})

    monkeypatch.setattr(pool_module, "render_randomised", render)
    monkeypatch.setattr(pool_module, "prepared_map", lambda path, numbers, cache: NamedMap(path.name.split(".")[0]))
    return folder


def spec(folder: Path, **changes: Any) -> PoolSpec:
    return PoolSpec(**{"label_maps": folder, "subjects": Subjects(("anna", "carla"), ("berta",)), "seed": 5, **changes})


def hashes(out: Path) -> dict[str, str]:
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in out.glob("*/*/*") if path.is_file()}


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "manifest.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_a_pool_that_grows_leaves_earlier_renderings_as_they_are(label_maps: Path, tmp_path: Path) -> None:
    out = tmp_path / "pool"
    grow_pool(spec(label_maps), 3, out, quiet=True)
    before, times = hashes(out), {path: path.stat().st_mtime_ns for path in out.glob("*/*/*")}
    summary = grow_pool(spec(label_maps), 5, out, quiet=True)
    after = hashes(out)
    assert summary.rendered == 2
    assert len(before) == 9
    assert len(after) == 15
    assert {name: after[name] for name in before} == before
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())


def test_a_rendering_that_was_cut_short_is_made_again_the_same(label_maps: Path, tmp_path: Path) -> None:
    out = tmp_path / "pool"
    grow_pool(spec(label_maps), 4, out, quiet=True)
    before = hashes(out)
    (out / "carla" / "v01" / "record.json").unlink()
    assert grow_pool(spec(label_maps), 4, out, quiet=True).rendered == 1
    assert hashes(out) == before


def test_a_subject_s_renderings_do_not_hang_on_the_other_subjects(label_maps: Path, tmp_path: Path) -> None:
    grow_pool(spec(label_maps), 6, tmp_path / "many", quiet=True)
    grow_pool(spec(label_maps, subjects=Subjects(("carla",))), 2, tmp_path / "one", quiet=True)
    images = {out: [(tmp_path / out / "carla" / f"v0{number}" / "ct.nii.gz").read_bytes() for number in (1, 2)]
              for out in ("many", "one")}
    assert images["many"] == images["one"]
    assert images["one"][0] != images["one"][1]


def test_held_out_subjects_never_train(label_maps: Path, tmp_path: Path) -> None:
    out = tmp_path / "pool"
    grow_pool(spec(label_maps), 9, out, quiet=True)
    assert {(row["participant_id"], row["role"]) for row in rows(out)} == {
        ("anna", "train"), ("carla", "train"), ("berta", "test")}
    assert {(record["subject"], record["role"]) for record in read_records(out)} == {
        ("anna", "train"), ("carla", "train"), ("berta", "test")}


def test_a_rendering_without_a_mask_is_no_row_and_is_counted(label_maps: Path, tmp_path: Path) -> None:
    summary = grow_pool(spec(label_maps), 6, tmp_path / "pool", quiet=True)
    assert summary.without_femur == 3
    assert {row["visit"] for row in rows(tmp_path / "pool")} == {"1"}


def test_the_mask_of_one_hip_holds_0_and_1_on_either_side(label_maps: Path, tmp_path: Path) -> None:
    out = tmp_path / "pool"
    grow_pool(spec(label_maps), 12, out, quiet=True)
    assert {row["visit"]: row["side"] for row in rows(out)} == {"1": "right", "3": "left", "4": "right"}
    for number in (1, 3, 4):
        mask = read_image_file(out / "anna" / f"v0{number}" / MASK_NAME, subject="").array
        assert set(np.unique(mask)) <= {0, 1}


@pytest.mark.parametrize("change", [{"seed": 6}, {"finest_mm": 1.5}, {"subjects": Subjects(NAMES)}])
def test_another_pool_in_the_folder_is_refused(label_maps: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    grow_pool(spec(label_maps), 1, tmp_path / "pool", quiet=True)
    with pytest.raises(UsageError, match="another pool"):
        grow_pool(spec(label_maps, **change), 1, tmp_path / "pool", quiet=True)


def test_more_renderings_than_visit_numbers_are_refused(label_maps: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="99 for each subject, 297 in all"):
        grow_pool(spec(label_maps), 298, tmp_path / "pool", quiet=True)
