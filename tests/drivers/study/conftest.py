"""A toy dataset with folds of all, women and men, and commands that are imitated: no network is trained here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import SimpleITK as sitk
import torch
from toy_dataset import write_toy_dataset

from femur_nnunet.cohort import read_scans_table
from femur_nnunet.dataset_conversion.folds import build_split_set
from femur_nnunet.drivers.steps import Step
from femur_nnunet.env_command import nnunet_environment
from femur_nnunet.errors import FemurError
from femur_nnunet.evaluation import eval_command
from femur_nnunet.loading.preprocessed_data import files_side, plan_side, write_record
from femur_nnunet.planners import plan_command
from femur_nnunet.planners.plan_options import PlanOptions
from femur_nnunet.splits import read_splits, write_splits

DATASET = "Dataset501_Toy"


@pytest.fixture
def study_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """nnU-Net's folders with eight labelled participants, four women and four men, two folds a cohort."""
    raw = write_toy_dataset(tmp_path / "nnUNet_raw", labelled=8, unlabelled=1, test=2, shape_zyx=(30, 18, 18))
    splits = build_split_set(read_scans_table(raw / "scans.tsv"), scheme="kfold2", cohorts=("all", "women", "men"),
                             seed=1)
    write_splits(raw, splits)
    for name, value in nnunet_environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    return tmp_path


@dataclass
class Commands:
    """Commands that were run, and how they turn out.

    ``lost_slices`` says how many slices a network of a plan's settings misses, by a word in its
    settings; ``fails_at`` is the number of the training that is stopped half-way, ``fails_in_validation`` of one
    that is stopped after its last epoch. ``ours`` says that the trainer keeps in its checkpoints what it learnt from.
    """

    root: Path
    lost_slices: dict[str, int] = field(default_factory=dict)
    fails_at: int = -1
    fails_in_validation: int = -1
    ours: bool = True
    run: list[tuple[str, ...]] = field(default_factory=list)
    seen: Callable[[], None] = lambda: None

    def programs(self) -> list[str]:
        return [command[0] for command in self.run]

    def trained_folds(self) -> list[int]:
        return [int(command[3]) for command in self.run if command[0] == "nnUNetv2_train"]

    def execute(self, command: tuple[str, ...]) -> None:
        self.run.append(command)
        self.seen()
        {"femur_plan": self.plan, "nnUNetv2_train": self.train, "nnUNetv2_predict": self.predict,
         "femur_eval": self.evaluate}[command[0]](list(command[1:]))

    def plan(self, arguments: list[str]) -> None:
        given = plan_command.build_parser().parse_args(arguments)
        options = PlanOptions(given.dataset_id, given.architecture, given.preset, name=given.name)
        folder, raw = self.root / "nnUNet_preprocessed" / DATASET, self.root / "nnUNet_raw" / DATASET
        data = folder / options.data_identifier
        data.mkdir(parents=True, exist_ok=True)
        own = {"schedule": {"epochs": given.epochs or 3}, "changes": given.changes}
        configuration = {"femur_nnunet": own, "data_identifier": options.data_identifier, "spacing": [3.0] * 3,
                         "normalization_schemes": ["CTNormalization"]}
        masks = sum(path.stat().st_size for path in (raw / "labelsTr").iterdir())
        plan = {"configurations": {"3d_fullres": configuration}, "transpose_forward": [0, 1, 2],
                "foreground_intensity_properties_per_channel": {"0": {"mean": masks}}}
        (folder / f"{options.plans_name}.json").write_text(json.dumps(plan))
        write_record(data, plan_side(plan, configuration), files_side(raw))
        for name in ("scans.tsv", "splits.sha256"):
            shutil.copy(raw / name, folder)

    def train(self, arguments: list[str]) -> None:
        fold, trainer, plans = int(arguments[2]), after(arguments, "-tr"), after(arguments, "-p")
        trained = self.root / "nnUNet_results" / DATASET / f"{trainer}__{plans}__3d_fullres"
        own = trained / f"fold_{fold}"
        (own / "validation").mkdir(parents=True, exist_ok=True)
        plan_file = self.root / "nnUNet_preprocessed" / DATASET / f"{plans}.json"
        shutil.copy(plan_file, trained / "plans.json")
        number = len(self.trained_folds()) - 1
        final = own / "checkpoint_final.pth"
        # As nnU-Net: with --c a finished network is not trained again, whatever it was made of.
        if not ("--c" in arguments and final.is_file()):
            stopped = number == self.fails_at
            self.save(own / "checkpoint_latest.pth" if stopped else final, plan_file, fold)
        if number in (self.fails_at, self.fails_in_validation):
            raise FemurError("exit code 1", expected="exit code 0", action="run again")
        raw = self.root / "nnUNet_raw" / DATASET
        for case in json.loads((raw / "splits.json").read_text())[fold]["val"]:
            self.segment(raw / "labelsTr" / f"{case}.nii.gz", own / "validation", plan_file)
        (own / "validation" / "summary.json").write_text("{}")

    def save(self, path: Path, plan_file: Path, fold: int) -> None:
        raw = self.root / "nnUNet_raw" / DATASET
        learnt = {"fold_sha256": read_splits(raw).fold_sha256[fold], "training_files_sha256": files_side(raw)}
        torch.save({"network_weights": {"layer": torch.zeros(2)}, "trainer_name": "Any",
                    "init_args": {"plans": json.loads(plan_file.read_text()), "configuration": "3d_fullres"},
                    **({"femur_nnunet": learnt} if self.ours else {})}, path)

    def predict(self, arguments: list[str]) -> None:
        out = Path(after(arguments, "-o"))
        out.mkdir(parents=True, exist_ok=True)
        plan_file = self.root / "nnUNet_preprocessed" / DATASET / f"{after(arguments, '-p')}.json"
        for image in Path(after(arguments, "-i")).iterdir():
            case = image.name.removesuffix("_0000.nii.gz")
            self.segment(self.root / "nnUNet_raw" / DATASET / "labelsTs" / f"{case}.nii.gz", out, plan_file)

    def evaluate(self, arguments: list[str]) -> None:
        assert eval_command.main([*arguments, "--quiet"]) in (0, 1)

    def segment(self, mask: Path, folder: Path, plan_file: Path) -> None:
        image = sitk.ReadImage(str(mask))
        array = sitk.GetArrayFromImage(image)
        lost = next((n for word, n in self.lost_slices.items() if word in plan_file.read_text()), 4)
        first = int(array.any(axis=(1, 2)).argmax())
        array[: first + lost] = 0
        result = sitk.GetImageFromArray(array)
        result.CopyInformation(image)
        sitk.WriteImage(result, str(folder / mask.name))


@pytest.fixture
def commands(study_root: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Imitate the commands of every study in this test."""
    imitated = Commands(study_root)

    class Runner:
        def __init__(self, folder: Path, *, quiet: bool, held: tuple[int, ...] = ()) -> None:
            self.state_path = folder / "steps_done.json"

        def run(self, steps: list[Step]) -> None:
            for step in steps:
                imitated.execute(step.command)

    monkeypatch.setattr("femur_nnunet.drivers.study.runner.StepRunner", Runner)
    return imitated


def after(arguments: list[str], option: str) -> str:
    return arguments[arguments.index(option) + 1]
