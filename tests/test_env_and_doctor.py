from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from femur_nnunet import doctor_command, env_command
from femur_nnunet.doctor_command import check_environment, check_trainer_look_up


def test_the_exports_are_taken_by_a_shell_whatever_the_folder_is_called(tmp_path):
    root = tmp_path / "a folder; it's odd"
    program = Path(sys.executable).parent / "femur_env"
    script = f'eval "$("{program}" --root "$1")" && printf "%s" "$nnUNet_raw|$nnUNet_extTrainer"'
    result = subprocess.run(["sh", "-c", script, "sh", str(root)], capture_output=True, text=True, check=True)
    raw, plugin = result.stdout.split("|")
    assert raw == str(root / "nnUNet_raw")
    assert Path(raw).is_dir()
    assert (Path(plugin) / "femur_nnunet_trainers.py").is_file()


def test_other_trainers_of_the_user_stay_known(tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_extTrainer", "/their/trainers")
    assert env_command.nnunet_environment(tmp_path)["nnUNet_extTrainer"].split(":")[1:] == ["/their/trainers"]


def test_nnunet_finds_and_pickles_our_trainer():
    finding = check_trainer_look_up()
    assert finding.well, finding.found


def test_an_unset_environment_is_told_with_its_mend(monkeypatch):
    monkeypatch.delenv("nnUNet_results", raising=False)
    finding = check_environment()
    assert not finding.well
    assert "nnUNet_results" in finding.found
    assert "femur_env --root" in finding.mend


@pytest.mark.parametrize(("broken", "code"), [(False, 0), (True, 1)])
def test_the_exit_code_says_whether_something_needs_a_mend(monkeypatch, capsys, broken, code):
    finding = doctor_command.Finding("disk", not broken, "3 GB free", "free 10 GB")
    monkeypatch.setattr(doctor_command, "CHECKS", (lambda: finding,))
    assert doctor_command.main([]) == code
    assert ("disk: free 10 GB" in capsys.readouterr().out) is broken
