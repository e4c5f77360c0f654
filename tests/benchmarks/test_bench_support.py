from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "bench_support.py"


@pytest.fixture(scope="module")
def support() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_support_under_test", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("typed", "shown"), [
    (["/x/b/speed.py", "--out", "/data/me/out", "--runs", "5"], "python benchmarks/speed.py --out OUT --runs 5"),
    (["speed.py", "--work=/data/w", "--box", "/a", "/b"], "python benchmarks/speed.py --work=WORK --box BOX BOX"),
    (["speed.py", "/data/scan.nii", "--model", "box/m.zip"], "python benchmarks/speed.py PATH --model box/m.zip")])
def test_a_recorded_command_has_no_folder_of_the_machine_it_ran_on(support: ModuleType, typed: list[str],
                                                                   shown: str) -> None:
    assert support.shown_command(typed) == shown


@pytest.mark.parametrize("table", sorted((FILE.parent / "results").glob("*.csv")), ids=lambda path: path.name)
def test_every_table_says_of_which_commit_it_is_and_holds_no_path_of_a_machine(table: Path) -> None:
    lines = table.read_text(encoding="utf-8").splitlines()
    assert "commit" in lines[0].split(",")
    assert not [line for line in lines if "/tmp" in line or "/home" in line or "/root" in line or "/work/" in line]
