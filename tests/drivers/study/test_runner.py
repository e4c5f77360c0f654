"""The protocol, with imitated commands: a network that misses some slices of every mask, and the real evaluation."""

from __future__ import annotations

import csv
import json
import os
import shlex
import shutil

import pytest
import torch

from femur_nnunet.cohort import read_scans_table
from femur_nnunet.dataset_conversion.folds import build_split_set
from femur_nnunet.drivers.study.commands import RunSettings
from femur_nnunet.drivers.study.fold_table import read_folds
from femur_nnunet.drivers.study.protocol import arms_of, load_study_data
from femur_nnunet.drivers.study.runner import OutOfTimeError, StudyRunner
from femur_nnunet.drivers.study.training_state import Training
from femur_nnunet.errors import FemurError, UsageError
from femur_nnunet.planners.plan_options import PlanOptions
from femur_nnunet.splits import read_splits, write_splits

GRID = [("vnet.l2_weight=1e-6",), ("vnet.l2_weight=1e-5",)]
USES = ("nnUNet_results", "Dataset501_Toy", "femur_study_test_set.json")


def study(root, *, trainers=("VNetDiceL2Trainer",), grid=(), cohorts=("all",), out="out", epochs=None,
          **options) -> StudyRunner:
    base = PlanOptions(501, preset="cpu", epochs=epochs, name="study")
    return StudyRunner(load_study_data(501, root / out, cohorts), arms_of(trainers, base, grid), RunSettings(501),
                       quiet=True, **options)


def other_folds(root) -> None:
    """Draw folds of the whole cohort that share none with the present ones."""
    raw = root / "nnUNet_raw" / "Dataset501_Toy"
    before, records = set(read_splits(raw).fold_sha256), read_scans_table(raw / "scans.tsv")
    drawn = (build_split_set(records, scheme="kfold2", cohorts=("all",), seed=seed) for seed in range(2, 20))
    write_splits(raw, next(splits for splits in drawn if not before & set(splits.fold_sha256)))


def aside(runner, arm, fold):
    """Where a fold's folder lies that was trained anew."""
    folder = runner.data.folders.fold(arm, fold)
    return folder.with_name(f"replaced-1_{folder.name}")


def test_folds_of_every_cohort_then_the_test_set_and_a_second_run_does_nothing(study_root, commands):
    runner = study(study_root, cohorts=())
    runner.run_all()
    assert commands.programs() == ["femur_plan", *6 * ["nnUNetv2_train", "femur_eval"],
                                   *3 * ["nnUNetv2_predict", "femur_eval"]]
    assert commands.trained_folds() == [0, 1, 2, 3, 4, 5]
    assert [(row.cohort, row.fold, row.n) for row in read_folds(runner.folds_path)] == [
        ("all", 0, 4), ("all", 1, 4), ("women", 2, 2), ("women", 3, 2), ("men", 4, 2), ("men", 5, 2)]
    assert [(row.cohort, row.n) for row in runner.validation_rows()] == [("all", 2), ("women", 2), ("men", 2)]
    whole = [row for row in runner.test_rows if row.site == "all"]
    assert [(row.cohort, row.sex, row.n, row.choices) for row in whole] == [
        ("all", "all", 4, 1), ("all", "F", 2, 1), ("all", "M", 2, 1), ("women", "F", 2, 1), ("men", "M", 2, 1)]
    commands.run.clear()
    second = study(study_root, cohorts=())
    second.run_all()
    assert commands.run == []
    assert second.test_rows == runner.test_rows
    assert second.shell_lines() == []


def test_the_best_candidate_on_cross_validation_alone_sees_the_test_set_and_the_other_cohorts(study_root, commands):
    commands.lost_slices = {"1e-6": 6, "1e-5": 2}
    runner = study(study_root, grid=GRID, cohorts=("all", "women"))
    chosen = runner.arms["VNetDiceL2Trainer"][1]
    used = study_root.joinpath(*USES)
    order = []
    commands.seen = lambda: order.append((commands.run[-1][0], used.exists()))
    runner.run_all()
    assert [one.chosen for one in runner.scores] == [False, True]
    assert runner.scores[1].mean > runner.scores[0].mean
    assert commands.trained_folds() == [0, 1, 0, 1, 2, 3]
    predicted = [command for command in commands.run if command[0] == "nnUNetv2_predict"]
    assert all(chosen.plans_name in command for command in predicted)
    # Nothing of the test set is touched before the choice is written down, and the mark stands before it is.
    assert [exists for program, exists in order if program == "nnUNetv2_train"] == [False] * 6
    assert [exists for program, exists in order if program == "nnUNetv2_predict"] == [True, True]
    with (study_root / "out" / "grid.csv").open() as handle:
        assert [(row["settings"], row["chosen"]) for row in csv.DictReader(handle)] == [
            ("vnet.l2_weight=1e-6", "false"), ("vnet.l2_weight=1e-5", "true")]
    (use,) = json.loads(used.read_text())["uses"]
    assert (use["plans"], use["settings"]) == (chosen.plans_name, "vnet.l2_weight=1e-5")


def test_a_killed_study_keeps_its_finished_folds_and_goes_on_with_the_stopped_one(study_root, commands):
    commands.fails_at = 1
    with pytest.raises(FemurError, match="exit code 1"):
        study(study_root).run_all()
    assert [row.fold for row in read_folds(study_root / "out" / "folds.csv")] == [0]
    commands.run.clear()
    commands.fails_at = -1
    study(study_root).run_all()
    (training,) = [command for command in commands.run if command[0] == "nnUNetv2_train"]
    assert training[3] == "1"
    assert training[-1] == "--c"
    assert [row.fold for row in read_folds(study_root / "out" / "folds.csv")] == [0, 1]


def test_folds_trained_by_others_with_the_same_plan_are_evaluated_and_not_trained(study_root, commands):
    runner = study(study_root)
    runner.run_all()
    shutil.rmtree(study_root / "out")
    commands.run.clear()
    again = study(study_root)
    again.run_all()
    assert commands.trained_folds() == []
    assert len(read_folds(again.folds_path)) == 2
    assert all(row.seconds != row.seconds for row in read_folds(again.folds_path))


def test_a_fold_trained_elsewhere_is_judged_by_its_own_checkpoint(study_root, commands):
    runner = study(study_root)
    runner.run_all()
    (arm,) = runner.arms["VNetDiceL2Trainer"]
    checkpoint, summary = (runner.data.folders.fold(arm, 0) / name
                           for name in ("checkpoint_final.pth", "validation/summary.json"))
    content = torch.load(checkpoint, weights_only=False)
    content["init_args"]["plans"]["transpose_forward"] = [2, 1, 0]
    torch.save(content, checkpoint)
    summary.touch()
    shutil.rmtree(study_root / "out")
    commands.run.clear()
    # The plan beside the folds is that of the last training, here of fold 1.
    study(study_root).run_all()
    assert commands.trained_folds() == [0]
    assert not any("--c" in command for command in commands.run)
    assert torch.load(aside(runner, arm, 0) / "checkpoint_final.pth", weights_only=False)["init_args"]["plans"][
        "transpose_forward"] == [2, 1, 0]


def test_a_broken_or_older_validation_is_made_again_without_training(study_root, commands):
    runner = study(study_root)
    runner.run_all()
    (arm,) = runner.arms["VNetDiceL2Trainer"]
    next((runner.data.folders.fold(arm, 0) / "validation").glob("*.nii.gz")).unlink()
    os.utime(runner.data.folders.fold(arm, 1) / "validation" / "summary.json", (0, 0))
    shutil.rmtree(study_root / "out")
    commands.run.clear()
    study(study_root).run_all()
    assert commands.trained_folds() == [0, 1]
    assert [command[-1] for command in commands.run if command[0] == "nnUNetv2_train"] == ["--c", "--c"]


@pytest.mark.parametrize("ours", [True, False])
def test_a_retraining_that_is_stopped_never_takes_the_old_network(study_root, commands, ours):
    commands.ours = ours
    runner = study(study_root)
    runner.run_all()
    other_folds(study_root)
    (arm,) = runner.arms["VNetDiceL2Trainer"]
    old = (runner.data.folders.fold(arm, 0) / "checkpoint_final.pth").stat().st_mtime_ns

    def stop():
        if commands.run[-1][0] == "nnUNetv2_train":
            raise KeyboardInterrupt

    commands.run.clear()
    commands.seen = stop
    with pytest.raises(KeyboardInterrupt):
        study(study_root).run_all()
    assert (aside(runner, arm, 0) / "checkpoint_final.pth").stat().st_mtime_ns == old
    commands.seen = lambda: None
    commands.run.clear()
    dry = [line for line in study(study_root).shell_lines() if "nnUNetv2_train" in line or line.startswith("mv ")]
    with pytest.raises(UsageError, match="on other folds"):
        study(study_root).run_all()
    first, second = (command for command in commands.run if command[0] == "nnUNetv2_train")
    assert "--c" not in first + second
    # A dry run says what a run does: fold 0 is moved aside already, fold 1 is to be.
    assert [line.split()[0] for line in dry] == ["nnUNet_n_proc_DA=0", "mv", "nnUNet_n_proc_DA=0"]
    assert dry[0].endswith(shlex.join(first))
    assert dry[2].endswith(shlex.join(second))


def test_a_dry_run_says_skip_go_on_or_anew_as_a_run_does(study_root, commands):
    commands.fails_in_validation = 1
    with pytest.raises(FemurError, match="exit code 1"):
        study(study_root).run_all()
    (study_root / "out" / "folds.csv").unlink()
    dry = [line for line in study(study_root).shell_lines() if "nnUNetv2_train" in line]
    commands.run.clear()
    commands.fails_in_validation = -1
    study(study_root).run_all()
    (training,) = [command for command in commands.run if command[0] == "nnUNetv2_train"]
    assert training[-1] == "--c"
    assert [line.endswith(shlex.join(training)) for line in dry] == [True]


def test_a_mask_drawn_anew_makes_stale_what_was_made_with_it(study_root, commands):
    study(study_root, grid=GRID).run_all()
    raw = study_root / "nnUNet_raw" / "Dataset501_Toy"

    def missing() -> list[str]:
        return [next(word for word in line.split() if "=" not in word)
                for line in study(study_root, grid=GRID).shell_lines() if not line.startswith("#")]

    next((raw / "labelsTs").iterdir()).touch()
    assert missing() == ["nnUNetv2_predict", "femur_eval"]
    next((raw / "labelsTr").iterdir()).touch()
    assert missing() == ["femur_plan", "femur_plan", *4 * ["mv", "nnUNetv2_train", "femur_eval"]]
    # Every plan is renewed, though the first femur_plan renews the tables and the data that they share.
    commands.run.clear()
    commands.fails_at = 0
    with pytest.raises(FemurError, match="exit code 1"):
        study(study_root, grid=GRID).run_all()
    assert commands.programs() == ["femur_plan", "femur_plan", "nnUNetv2_train"]


def test_a_case_that_was_not_judged_is_named_and_makes_no_row(study_root, commands):
    raw = study_root / "nnUNet_raw" / "Dataset501_Toy"
    victim = read_splits(raw).folds[0]["val"][1]

    def break_its_mask():
        if commands.run[-1][0] == "femur_eval":
            (raw / "labelsTr" / f"{victim}.nii.gz").write_bytes(b"no mask")

    commands.seen = break_its_mask
    with pytest.raises(FemurError, match=rf"1 cases without a judgement \({victim}\)"):
        study(study_root).run_all()
    assert read_folds(study_root / "out" / "folds.csv") == []


def test_new_folds_make_every_row_invalid(study_root, commands):
    study(study_root).run_all()
    other_folds(study_root)
    commands.run.clear()
    with pytest.raises(UsageError, match="on other folds"):
        study(study_root).run_all()
    assert commands.programs() == ["femur_plan", *2 * ["nnUNetv2_train", "femur_eval"]]
    # A checkpoint of the old folds has seen what now validates.
    assert not any("--c" in command for command in commands.run)


def test_a_second_choice_is_refused_wherever_its_tables_lie_and_told_when_asked_for(study_root, commands):
    study(study_root).run_all()
    commands.run.clear()
    other = study(study_root, epochs=9, out="elsewhere")
    with pytest.raises(UsageError, match="--again"):
        other.run_all()
    assert "nnUNetv2_predict" not in commands.programs()
    told = study(study_root, epochs=9, out="elsewhere", again=True)
    told.run_all()
    assert {row.choices for row in told.test_rows} == {2}


def test_two_trainers_are_cross_validated_before_either_sees_the_test_set(study_root, commands):
    study(study_root, trainers=("VNetDiceL2Trainer", "TransUNetTrainer"), grid=GRID).run_all()
    programs = commands.programs()
    assert commands.trained_folds() == [0, 1, 0, 1, 0, 1]
    assert programs.index("nnUNetv2_predict") > max(n for n, name in enumerate(programs) if name == "nnUNetv2_train")
    assert len(json.loads(study_root.joinpath(*USES).read_text())["uses"]) == 2


def test_no_fold_is_begun_that_would_end_too_late(study_root, commands, monkeypatch):
    clock = {"now": 0.0}
    monkeypatch.setattr("femur_nnunet.drivers.study.runner.time.monotonic", lambda: clock["now"])

    def training_takes_four_minutes():
        clock["now"] += 240.0 if commands.run[-1][0] == "nnUNetv2_train" else 0.0

    commands.seen = training_takes_four_minutes
    runner = study(study_root, max_minutes=7.9)
    with pytest.raises(OutOfTimeError, match=r"4.0 of 7.9 minutes are over and the next fold takes about 4.0"):
        runner.run_all()
    assert [(row.fold, row.seconds) for row in read_folds(runner.folds_path)] == [(0, 240.0)]
    assert len(runner.missing_folds()) == 1
    study(study_root, max_minutes=4.1).run_all()
    assert commands.trained_folds() == [0, 1]


def test_a_plan_of_the_users_own_that_is_missing_is_told(study_root, commands):
    with pytest.raises(FemurError, match=r"no Own.json, or one beside other folds or other scans.*run femur_plan"):
        study(study_root, trainers=("VNetDiceL2Trainer:Own",)).run_all()


def test_a_fold_prepared_for_slurm_is_neither_trained_twice_nor_begun_beside_an_old_network(study_root, commands):
    commands.ours = False
    runner = study(study_root)
    runner.run_all()
    (arm,) = runner.arms["VNetDiceL2Trainer"]
    other_folds(study_root)
    prepared = study(study_root)
    assert prepared.folds_to_train() == [(arm, 0), (arm, 1)]
    assert prepared.prepare_training(arm, 0) is Training.ANEW
    assert (aside(runner, arm, 0) / "checkpoint_final.pth").is_file()
    # What a task of the array does; of another trainer, the note alone vouches for the folds of now.
    commands.train(list(shlex.split(prepared.shell_lines()[1])[3:]))
    assert prepared.folds_to_train() == [(arm, 1)]
