from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from femur_nnunet.drivers.box_model import (
    ATTRIBUTION,
    DATASET_FOLDER,
    SIZES,
    BoxRun,
    box_steps,
    commit,
    pack_step,
    plans_name,
    write_card,
)
from femur_nnunet.drivers.box_model_command import main, shown_command
from femur_nnunet.files import write_json
from femur_nnunet.plan_changes import with_changes
from femur_nnunet.planners.plan_options import PlanOptions
from femur_nnunet.planners.presets import settings_for

SMALL = SIZES["small"]


def option(command: tuple[str, ...], name: str) -> str:
    return command[command.index(name) + 1]


def commands(tmp_path: Path, **changes: object) -> dict[str, tuple[str, ...]]:
    run = BoxRun(Path("maps"), SMALL, seed=3, **changes)
    return {step.name: step.command for step in [*box_steps(tmp_path, run, jobs=1, device="cpu"),
                                                 pack_step(tmp_path, run, subjects=18)]}


def test_one_seed_goes_into_every_step_that_draws(tmp_path: Path) -> None:
    steps = commands(tmp_path)
    assert [option(steps[name], "--seed") for name in ("render", "convert", "plan")] == ["3", "3", "3"]


def test_held_out_subjects_are_named_to_the_renderer_or_counted(tmp_path: Path) -> None:
    assert option(commands(tmp_path, held_out=("a70", "s12"))["render"], "--held-out") == "a70,s12"
    assert option(commands(tmp_path, held_out_count=2)["render"], "--held-out-count") == "2"


@pytest.mark.parametrize("size", SIZES)
def test_training_takes_the_plan_that_planning_writes(tmp_path: Path, size: str) -> None:
    run = BoxRun(Path("maps"), SIZES[size], fold="2")
    plan, train = (next(step.command for step in box_steps(tmp_path, run, jobs=1, device="cpu") if step.name == name)
                   for name in ("plan", "train"))
    options = PlanOptions(520, option(plan, "--architecture"), option(plan, "--preset"))
    assert option(train, "-p") == options.plans_name
    assert train[3] == "2"
    assert option(pack_step(tmp_path, run, subjects=18).command, "--folds") == "2"


def test_the_plan_s_changed_settings_are_known_and_leave_out_what_a_pool_makes_long(tmp_path: Path) -> None:
    plan = commands(tmp_path)["plan"]
    changes = tuple(plan[number + 1] for number, part in enumerate(plan) if part == "--set")
    settings = with_changes(settings_for("cpu", "unet", epochs=SMALL.epochs, seed=3), changes)
    assert not settings.schedule.whole_scan_validation
    assert settings.splits.allow_all
    assert settings.sampling.labelled_patches == SMALL.patches
    # The renderings vary in all that this augmentation would vary.
    assert not settings.augmentation.nnunet_intensity


def test_another_length_makes_another_step_and_keeps_the_renderings(tmp_path: Path) -> None:
    first, second = (box_steps(tmp_path, BoxRun(Path("maps"), size), jobs=1, device="cpu")
                     for size in (SMALL, replace(SMALL, epochs=7)))
    assert [one.identity == other.identity for one, other in zip(first, second, strict=True)][:3] == [True, True, False]


def test_the_card_names_command_seed_commit_subjects_and_origin(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    write_json(tmp_path / "pool" / "pool.json",
               {"train": ["a", "b", "c"], "held_out": ["d"], "ranges_sha256": "f" * 64})
    folder = tmp_path / "nnUNet_preprocessed" / DATASET_FOLDER
    folder.mkdir(parents=True)
    write_json(folder / f"{plans_name(SMALL)}.json", {"configurations": {"3d_fullres": {
        "spacing": [2.0, 2.0, 2.0], "patch_size": [48, 48, 48],
        "architecture": {"arch_kwargs": {"features_per_stage": [16, 32]}}}}})
    text = write_card(tmp_path, BoxRun(Path("maps"), SMALL, seed=11), command="femur_box_model --out x",
                      made="2026-01-02T03:04+00:00", seconds={"train": 3600.0}).read_text(encoding="utf-8")
    for part in ("trained on synthetic images of 3 subjects' anatomy; research use only", "femur_box_model --out x",
                 "| seed | 11 |", commit(), "2026-01-02T03:04+00:00", "train 60", ATTRIBUTION, "f" * 64, "MIT"):
        assert part in text
    assert not re.search(r"[{}]", text)


def test_a_group_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(["--label-maps", str(tmp_path), "--out", str(tmp_path / "out"), "--held-out-group", "first"])
    assert error.value.code == 2
    assert "needs I/K" in capsys.readouterr().err


def test_a_folder_without_label_maps_ends_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--label-maps", str(tmp_path), "--out", str(tmp_path / "out"), "--held-out-group", "1/5"]) == 2
    assert "no label map" in capsys.readouterr().err


def test_the_card_s_command_tells_no_folder_of_this_machine() -> None:
    assert shown_command(["--label-maps", "/data/maps", "--held-out-group", "2/5", "--n", "4"]) == (
        "femur_box_model --label-maps maps --held-out-group 2/5 --n 4")
