"""femur_study as a user calls it; what it runs is tested in tests/drivers/study, its whole way in test_study_way.py."""

from __future__ import annotations

import csv
import json
import shlex
import subprocess

import pytest
from toy_dataset import write_toy_dataset

from femur_nnunet.drivers.study.fold_table import FoldRow, add_fold
from femur_nnunet.drivers.study.group_values import AGREEMENT_METRICS, MEAN_METRICS
from femur_nnunet.drivers.study_command import main
from femur_nnunet.env_command import nnunet_environment


@pytest.fixture
def root(tmp_path, monkeypatch):
    write_toy_dataset(tmp_path / "nnUNet_raw", shape_zyx=(12, 10, 10))
    for name, value in nnunet_environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    return tmp_path


def test_a_dry_run_prints_commands_and_writes_nothing(root, capsys):
    before = sorted(root.rglob("*"))
    assert main(["-d", "501", "--preset", "cpu", "--out", str(root / "study"), "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert shlex.split(lines[0])[:5] == ["femur_plan", "-d", "501", "--architecture", "vnet"]
    assert sum("nnUNetv2_train 501 3d_fullres" in line for line in lines) == 2
    assert sum(line.startswith("nnUNetv2_predict") for line in lines) == 1
    assert sorted(root.rglob("*")) == before


def test_slurm_gets_an_array_script_and_the_commands_before_it(root, capsys):
    script = root / "study.slurm"
    assert main(["-d", "501", "--preset", "cpu", "--out", str(root / "study"), "--slurm", str(script), "--grid",
                 "vnet.l2_weight=1e-6,1e-5", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["tasks"] == 4
    assert len(told["before"]) == 2
    assert "--array=0-3" in script.read_text()
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0


@pytest.mark.parametrize(("options", "code", "message"), [
    (["--trainer", "nnUNetTrainer"], 2, "the trainer 'nnUNetTrainer'"),
    (["--cohorts", "women"], 2, "no folds of women"),
    (["--grid", "vnet.l2_weight"], 2, "KEY=V1,V2"),
    (["--grid", "vnet.l2_weight=heavy,light"], 2, "'heavy' for l2_weight"),
    (["--grid", "vnet.l2=weights", "--grid-file", "grid.json"], 2, "--grid and --grid-file"),
    (["--grid-file", "nowhere.json"], 1, "nowhere.json: found no such file"),
    (["-num_gpus", "2"], 2, "-num_gpus 2 with --device cpu"),
    (["--set", "vnet.depth=3"], 2, "the setting 'vnet.depth'"),
    (["-d", "7"], 2, "none for dataset 7")])
def test_wrong_usage_is_told_before_anything_is_run(root, capsys, options, code, message):
    assert main(["-d", "501", "--out", str(root / "study"), *options]) == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (root / "study").exists()


@pytest.mark.parametrize("options", [["--cohorts", "children"], ["--name", "a_b"], ["--epochs", "0"]])
def test_values_of_another_form_are_told_by_the_parser(root, options):
    with pytest.raises(SystemExit) as ended:
        main(["-d", "501", "--out", str(root / "study"), *options])
    assert ended.value.code == 2


def test_without_nnunets_folders_the_command_that_sets_them_is_named(root, monkeypatch, capsys):
    monkeypatch.delenv("nnUNet_results")
    assert main(["-d", "501", "--out", str(root / "study")]) == 2
    assert "femur_env --root" in capsys.readouterr().err


def test_a_study_stopped_in_time_leaves_a_table_that_says_so(root, capsys, monkeypatch):
    # A fold of another plan, which took an hour: the first one here would not fit into a minute.
    values = dict.fromkeys((*MEAN_METRICS, *AGREEMENT_METRICS), 0.5)
    (root / "study").mkdir()
    add_fold(root / "study" / "folds.csv", FoldRow("VNetDiceL2Trainer", "P", "w", "all", 0, 4, 0, 3600.0, "cpu", "now",
                                                   "p", "f", "s", values=values))
    monkeypatch.setattr("femur_nnunet.drivers.study.runner.StudyRunner._plan", lambda *_, **__: None)
    assert main(["-d", "501", "--out", str(root / "study"), "--preset", "cpu", "--max-minutes", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["complete"] is False
    assert told["missing_folds"] == 2
    assert "the next fold takes about 60.0" in told["stopped"]
    assert "**Incomplete**" in (root / "study" / "study.md").read_text()
    assert json.loads((root / "study" / "run.json").read_text())["warnings"]
    with (root / "study" / "study.csv").open() as handle:
        assert list(csv.DictReader(handle)) == []
