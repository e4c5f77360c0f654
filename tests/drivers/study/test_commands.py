"""The study's commands, as they are printed, go through the parsers of the programs that they call."""

from __future__ import annotations

import shlex
import sys

import pytest
import torch

from femur_nnunet.drivers.study.commands import RunSettings
from femur_nnunet.drivers.study.protocol import arms_of, load_study_data
from femur_nnunet.drivers.study.runner import StudyRunner
from femur_nnunet.evaluation import eval_command
from femur_nnunet.planners import plan_command
from femur_nnunet.planners.plan_options import PlanOptions


class Parsed(Exception):  # noqa: N818
    """Ends a program once its parser has done its work."""


def parsed_by_nnunet(line: list[str], monkeypatch) -> dict:
    """Return what nnU-Net's entry point would have worked with."""
    from nnunetv2.inference import predict_from_raw_data
    from nnunetv2.run import run_training
    caught: dict = {}

    def note(*given, **options):
        caught.update(options, given=given)
        raise Parsed

    monkeypatch.setattr(run_training, "run_training", note)
    monkeypatch.setattr(predict_from_raw_data, "get_output_folder", note)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(sys, "argv", line)
    entry = {"nnUNetv2_train": run_training.run_training_entry,
             "nnUNetv2_predict": predict_from_raw_data.predict_entry_point}[line[0]]
    with pytest.raises(Parsed):
        entry()
    return caught


def lines_of(study_root, *, trainers=("VNetDiceL2Trainer",), grid=(), cohorts=(), **run) -> list[list[str]]:
    data = load_study_data(501, study_root / "out dir", cohorts)
    base = PlanOptions(501, preset="cpu", epochs=2, seed=3, spacing_mm_zyx=(3.0, 1.5, 1.5), name="study",
                       changes=() if ":" in trainers[0] else ("optimiser.learning_rate=1e-3",))
    runner = StudyRunner(data, arms_of(trainers, base, grid), RunSettings(501, **run))
    return [shlex.split(line) for line in runner.shell_lines() if not line.startswith("#")]


def without_variables(line: list[str]) -> list[str]:
    return line[next(n for n, word in enumerate(line) if "=" not in word):]


def test_a_dry_run_speaks_to_the_real_parsers(study_root, monkeypatch):
    lines = [without_variables(line) for line in lines_of(study_root, npz=True, jobs=2, tier_hash="ab")]
    plan = plan_command.build_parser().parse_args(lines[0][1:])
    assert (plan.architecture, plan.preset, plan.epochs, plan.seed, plan.spacing, plan.changes) == (
        "vnet", "cpu", 2, 3, (3.0, 1.5, 1.5), ["optimiser.learning_rate=1e-3"])
    name = f"FemurVNetPlans_cpu_{plan.name}"
    assert [line[0] for line in lines[1:]] == 6 * ["nnUNetv2_train", "femur_eval"] + 3 * ["nnUNetv2_predict",
                                                                                        "femur_eval"]
    for fold, line in enumerate(lines[1:13:2]):
        given = parsed_by_nnunet(line, monkeypatch)
        # dataset, configuration, fold, trainer, plans, pretrained weights, GPUs, npz, continue
        assert given["given"][:9] == ("501", "3d_fullres", str(fold), "VNetDiceL2Trainer", name, None, 1, True, False)
        assert given["device"].type == "cpu"
    validation = eval_command.build_parser().parse_args(lines[2][1:])
    assert (validation.role, validation.fold, validation.tier_hash) == ("train", "0", "ab")
    assert validation.predictions.parts[-3:] == (f"VNetDiceL2Trainer__{name}__3d_fullres", "fold_0", "validation")
    for line, folds in zip(lines[13::2], (["0", "1"], ["2", "3"], ["4", "5"]), strict=True):
        assert parsed_by_nnunet(line, monkeypatch)["given"] == ("501", "VNetDiceL2Trainer", name, "3d_fullres")
        start = line.index("-f") + 1
        assert line[start:start + 2] == folds
    test = eval_command.build_parser().parse_args(lines[-1][1:])
    assert (test.role, test.out) == ("test", study_root / "out dir" / "test" / f"VNetDiceL2Trainer__{name}" / "men"
                                     / "tables")


def test_gpus_and_device_pass_through(study_root, monkeypatch):
    line = lines_of(study_root, device="cuda", num_gpus=2)[1]
    assert line[0] == "nnUNetv2_train"
    monkeypatch.setattr(torch, "set_num_interop_threads", lambda _: None)
    given = parsed_by_nnunet(line, monkeypatch)
    assert given["given"][6] == 2
    assert given["device"].type == "cuda"


def test_on_a_cpu_training_has_no_worker_processes_and_planning_has(study_root):
    lines = lines_of(study_root)
    assert lines[0][0] == "femur_plan"
    assert lines[1][:3] == ["nnUNet_n_proc_DA=0", "nnUNet_def_n_proc=1", "nnUNetv2_train"]


def test_a_grid_is_tried_on_the_whole_cohort_alone_and_the_rest_waits_for_the_choice(study_root):
    data = load_study_data(501, study_root / "out", ())
    arms = arms_of(["VNetDiceL2Trainer"], PlanOptions(501, preset="cpu", name="study"),
                   [("vnet.l2_weight=1e-6",), ("vnet.l2_weight=1e-5",)])
    lines = StudyRunner(data, arms, RunSettings(501)).shell_lines()
    trainings = [shlex.split(line) for line in lines if "nnUNetv2_train" in line]
    assert [line[5] for line in trainings] == ["0", "1", "0", "1"]
    assert not [line for line in lines if line.startswith("nnUNetv2_predict")]
    assert "chosen by its cross-validation on all; then come the folds of women, men" in lines[-1]


def test_a_plan_of_the_users_own_is_not_made(study_root):
    programs = {without_variables(line)[0] for line in lines_of(study_root, trainers=("VNetDiceL2Trainer:Own",))}
    assert programs == {"nnUNetv2_train", "femur_eval", "nnUNetv2_predict"}
