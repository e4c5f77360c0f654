from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from qct_sites import SiteFolder

from femur_nnunet.dataset_conversion import case_conversion
from femur_nnunet.dataset_conversion.case_conversion import RowTask, convert_row
from femur_nnunet.dataset_conversion.conversion_state import RowKey
from femur_nnunet.dataset_conversion.manifest import read_manifest
from femur_nnunet.errors import FemurError


@pytest.fixture
def task(tmp_path: Path) -> RowTask:
    site = SiteFolder(tmp_path / "s", "oslo")
    site.add("P1", sex="F", age_years=95)
    (row,) = read_manifest(site.save()).rows
    return RowTask(row, RowKey("oslo", "0000000a", 1, "both"), "train", True, b"k" * 32, tmp_path / "raw",
                   tmp_path / "staging")


def test_a_row_is_staged_with_its_state_and_reused(task: RowTask) -> None:
    first = convert_row(task)
    assert first.state is not None
    assert first.state.is_complete_in(task.staged)
    assert not task.dataset.exists()
    times = {path: path.stat().st_mtime_ns for path in task.staged.rglob("*.*")}
    assert convert_row(task) == first
    assert {path: path.stat().st_mtime_ns for path in task.staged.rglob("*.*")} == times


def test_another_option_or_fact_converts_the_row_anew(task: RowTask) -> None:
    first = convert_row(task)
    for changed in (replace(task, keep_unlabelled_hip=True), replace(task, row=replace(task.row, age_years=60.0)),
                    replace(task, use_mask=False)):
        assert convert_row(changed).state.fingerprint != first.state.fingerprint  # type: ignore[union-attr]


def test_ages_of_89_and_over_are_stored_as_89(task: RowTask) -> None:
    outcome = convert_row(task)
    assert outcome.state is not None
    assert [record.age_years for record in outcome.state.records] == [89, 89]


def test_warnings_of_readers_are_not_shown(task: RowTask, monkeypatch: pytest.MonkeyPatch) -> None:
    read = case_conversion.read_volume

    def talkative(path: Path, **options: Any) -> Any:
        warnings.warn(f"odd value in {path}", stacklevel=1)
        return read(path, **options)

    monkeypatch.setattr(case_conversion, "read_volume", talkative)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert convert_row(task).error is None
    assert not caught


@pytest.mark.parametrize(("raised", "found"), [
    (OSError(28, "No space left on device", "/home/jane_doe"), "No space left on device"),
    (MemoryError(), "too little memory"),
    (IndexError("jane_doe"), "a defect of this program (IndexError at "),
    (FemurError("a bad scan", expected="a good one", action="mend it", subject="row"), "a bad scan")])
def test_a_failure_becomes_an_outcome_without_paths(task: RowTask, raised: Exception, found: str,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path, **options: Any) -> Any:
        raise raised

    monkeypatch.setattr(case_conversion, "read_volume", broken)
    outcome = convert_row(task)
    assert outcome.state is None
    assert found in str(outcome.error)
    assert "jane_doe" not in str(outcome.error)


def test_only_identifiable_messages_name_the_image(task: RowTask) -> None:
    assert task.subject == "manifest row 2 (oslo_0000000a_v01_l and oslo_0000000a_v01_r)"
    assert str(task.row.image) in replace(task, identifiable=True).subject
