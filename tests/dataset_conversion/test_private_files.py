from __future__ import annotations

import csv
import stat
from dataclasses import replace
from pathlib import Path

from femur_nnunet.dataset_conversion.case_conversion import RowTask
from femur_nnunet.dataset_conversion.conversion_options import ConversionOptions
from femur_nnunet.dataset_conversion.conversion_state import RowKey
from femur_nnunet.dataset_conversion.manifest import ManifestRow
from femur_nnunet.dataset_conversion.private_files import secret_key, update_id_map


def task(participant: str, hashed: str, folder: Path) -> RowTask:
    row = ManifestRow("tulane", 2, "tulane", participant, folder / "scan.mha", side="left")
    return RowTask(row, RowKey("tulane", hashed, 1, "left"), "train", False, b"", folder, folder)


def test_the_map_grows_and_nobody_else_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "map.tsv"
    update_id_map(path, [task("Jane", "0000000b", tmp_path)])
    update_id_map(path, [task("John", "0000000a", tmp_path)])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with path.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    assert [(row["case_id"], row["participant_id"], row["site_participant_id"]) for row in rows] == [
        ("tulane_0000000a_v01_l", "sub-0000000a", "John"), ("tulane_0000000b_v01_l", "sub-0000000b", "Jane")]
    assert list(tmp_path.iterdir()) == [path]


def test_a_key_seed_gives_one_key_and_writes_no_file(tmp_path: Path) -> None:
    options = ConversionOptions(tmp_path, key_seed=1)
    assert secret_key(options) == secret_key(replace(options, seed=9))
    assert secret_key(options) != secret_key(replace(options, key_seed=2))
    assert not list(tmp_path.iterdir())


def test_a_key_file_is_made_once(tmp_path: Path) -> None:
    options = ConversionOptions(tmp_path, key_file=tmp_path / "safe" / "key")
    assert secret_key(options) == secret_key(options)
    assert stat.S_IMODE((tmp_path / "safe" / "key").stat().st_mode) == 0o600
