from __future__ import annotations

import json
from pathlib import Path

import pytest
from qct_sites import two_sites

from femur_nnunet.dataset_conversion.convert_command import main


def test_the_table_by_site_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two_sites(tmp_path)
    code = main(["--tulane", str(tmp_path / "tulane"), "--rochester", str(tmp_path / "rochester"),
                 "--unlabelled-site", "rochester", "--out", str(tmp_path / "raw"), "--key-seed", "1", "--jobs", "1"])
    assert code == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["rochester", "2", "0", "2", "2", "0"] in lines
    assert ["tulane", "3", "4", "0", "2", "0"] in lines


def test_json_tells_counts_and_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two_sites(tmp_path)
    (tmp_path / "tulane" / "images" / "T2_1.nii.gz").write_bytes(b"x")
    code = main(["--tulane", str(tmp_path / "tulane"), "--out", str(tmp_path / "raw"), "--key-seed", "1", "--jobs", "1",
                 "--quiet", "--json"])
    result = json.loads(capsys.readouterr().out)
    assert code == result["exit_code"] == 1
    assert result["counts"] == {"converted": 4, "failed": 2}
    assert len(result["errors"]) == 1
    assert result["cases"] == 4


@pytest.mark.parametrize("arguments", [[], ["--tulane", "x", "--dataset-id", "0"],
                                       ["--tulane", "x", "--mask-labels", "a"],
                                       ["--tulane", "x", "--test-fraction", "1"]])
def test_wrong_usage_exits_with_2_and_writes_nothing(arguments: list[str], tmp_path: Path) -> None:
    try:
        code: object = main([*arguments, "--out", str(tmp_path / "raw")])
    except SystemExit as stop:  # what the parser itself refuses
        code = stop.code
    assert code == 2
    assert not (tmp_path / "raw").exists()


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    assert "example:\n  convert_qct_sites --tulane" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--out", "a_file/raw"], ["--out", "raw", "--key-file", "a_folder"]])
def test_a_target_or_key_that_cannot_be_written_is_one_line(
        arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    two_sites(tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("a_file").touch()
    Path("a_folder").mkdir()
    assert main(["--tulane", "tulane", "--jobs", "1", "--quiet", *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("convert_qct_sites: error: found a failure to read or write (")
