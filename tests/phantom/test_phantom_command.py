from __future__ import annotations

import json
from pathlib import Path

import pytest

from femur_nnunet.phantom.phantom_command import main
from femur_nnunet.phantom.tiers import tier_hash

SMALL = ["--preset", "tiny", "--n-tulane", "1", "--n-rochester", "1", "--n-test-tulane", "0",
         "--n-test-rochester", "1", "--seed", "100", "--jobs", "1", "--quiet"]


def test_a_cohort_with_preview_and_run_record_is_written(tmp_path: Path,
                                                         capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "preview.png"
    code = main(["--out", str(tmp_path / "c"), *SMALL, "--tier", "mild", "--scanner-tier", "severe",
                 "--preview", str(picture), "--json"])
    assert code == 0
    assert json.loads(capsys.readouterr().out)["scans"] == 2
    assert picture.read_bytes()[:4] == b"\x89PNG"
    record = json.loads((tmp_path / "c" / "run.json").read_text())
    assert record["tiers_sha256"] == tier_hash()
    assert record["counts"] == {"scans": 2, "participants": 2}
    assert "rochester/metadata.csv" in record["outputs_sha256"]
    truth = json.loads((tmp_path / "c" / "rochester" / "truth" / "RO0001_v01.json").read_text())
    assert truth["tiers"] == {"scanner": "severe", "population": "mild", "positioning": "mild"}


def test_too_many_test_participants_are_a_usage_error(tmp_path: Path,
                                                      capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path), "--n-tulane", "2", "--n-test-tulane", "5"]) == 2
    assert "n-test-tulane" in capsys.readouterr().err


@pytest.mark.parametrize(("options", "said"), [
    (["--second-visit-share", "nan"], "second visits"), (["--second-visit-share", "1.2"], "second visits"),
    (["--label-map-subjects", "a70"], "--label-maps"), (["--label-map-numbers", "right_femur=7"], "--label-maps"),
    (["--n-rochester", "0", "--n-test-rochester", "0", "--tier", "mild"], "Tulane is the source")])
def test_options_out_of_range_or_without_effect_are_one_line_of_a_usage_error(
        options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path / "c"), *SMALL, *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (tmp_path / "c").exists()


def test_an_unknown_tier_ends_with_exit_code_two(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--out", str(tmp_path), "--tier", "extreme"])
    assert stop.value.code == 2


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["--out", str(tmp_path / "file" / "c"), *SMALL]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("femur_phantom: error: found a failure of reading or writing (")
