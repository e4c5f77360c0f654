from __future__ import annotations

from pathlib import Path

import bench_support
import pytest

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"


@pytest.mark.parametrize(("typed", "shown"), [
    (["/x/b/speed.py", "--out", "/data/me/out", "--runs", "5"], "python benchmarks/speed.py --out OUT --runs 5"),
    (["speed.py", "--work=/data/w", "--box", "/a", "/b"], "python benchmarks/speed.py --work=WORK --box BOX BOX"),
    (["speed.py", "/data/scan.nii", "--model", "box/m.zip"], "python benchmarks/speed.py PATH --model box/m.zip")])
def test_a_recorded_command_has_no_folder_of_the_machine_it_ran_on(typed: list[str], shown: str) -> None:
    assert bench_support.shown_command(typed) == shown


@pytest.mark.parametrize("table", sorted(RESULTS.glob("*.csv")), ids=lambda path: path.name)
def test_every_table_says_of_which_commit_it_is_and_holds_no_path_of_a_machine(table: Path) -> None:
    lines = table.read_text(encoding="utf-8").splitlines()
    assert "commit" in lines[0].split(",")
    assert not [line for line in lines if "/tmp" in line or "/home" in line or "/root" in line or "/work/" in line]
