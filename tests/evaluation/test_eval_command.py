from __future__ import annotations

import json
import subprocess
import sys

import pytest
from evaluation_cohort import Cohort
from shapes import block

from femur_nnunet.evaluation.eval_command import main

MASK = block((6, 8, 8), (1, 2, 2), (5, 6, 6))


@pytest.fixture
def arguments(tmp_path):
    cohort = Cohort(tmp_path)
    cohort.add("tulane_0000000a_v01_l", MASK, MASK)
    cohort.add("rochester_0000000b_v01_l", MASK, MASK)
    return [str(cohort.predictions), str(cohort.references), "--scans", str(cohort.scans), "--out",
            str(tmp_path / "out"), "--bootstrap", "20", "--jobs", "1"]


def test_a_sound_run_prints_a_table_by_site_and_ends_with_0(arguments, capsys):
    assert main([*arguments, "--source-site", "tulane"]) == 0
    printed = capsys.readouterr().out
    assert "rochester" in printed
    assert "n_missed" in printed
    assert "gap.csv" in printed


def test_json_holds_the_summary_and_no_value_that_json_lacks(arguments, capsys):
    assert main([*arguments, "--json", "--quiet"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["status"] == {"ok": 2}
    dice = next(row for row in result["sites"] if (row["site"], row["metric"]) == ("tulane", "dice"))
    assert (dice["mean"], dice["n"], dice["sd"]) == (1.0, 1, None)


def test_a_missing_prediction_ends_with_1_and_is_written(arguments, tmp_path):
    (tmp_path / "P" / "tulane_0000000a_v01_l.nii.gz").unlink()
    assert main([*arguments, "--quiet"]) == 1
    assert ",missed," in (tmp_path / "out" / "cases.csv").read_text()


def test_nothing_readable_at_all_ends_with_1(arguments, tmp_path):
    for path in (*(tmp_path / "P").iterdir(), *(tmp_path / "R").iterdir()):
        path.write_text("no image")
    assert main([*arguments, "--quiet"]) == 1
    assert main([arguments[0], arguments[0], *arguments[2:], "--role", "train", "--quiet"]) == 1


@pytest.mark.parametrize("change", [{0: "nowhere"}, {1: "nowhere"}, {3: "nowhere.tsv"}])
def test_wrong_paths_end_with_2_and_one_line(arguments, change, capsys):
    for position, value in change.items():
        arguments[position] = value
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("femur_eval: error: ")
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("wrong", [["--bootstrap", "-1"], ["--tost-margin-ml", "0"], ["--role", "validation"]])
def test_wrong_options_end_with_2(arguments, wrong):
    with pytest.raises(SystemExit) as caught:
        main([*arguments, *wrong])
    assert caught.value.code == 2


def test_the_command_never_imports_torch():
    script = "import sys, femur_nnunet.evaluation.eval_command; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
