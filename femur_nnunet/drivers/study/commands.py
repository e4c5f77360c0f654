"""The commands of a study: each is one that a user would type."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from femur_nnunet.cohort import SCANS_TABLE_NAME
from femur_nnunet.drivers.steps import Step
from femur_nnunet.drivers.study.protocol import Arm, CohortFolds, StudyFolders
from femur_nnunet.env_command import plugin_folder
from femur_nnunet.nnunet_folders import VARIABLES
from femur_nnunet.planners.plan_options import CONFIGURATION, PlanOptions

# Without a GPU, workers would take the cores that the network runs on; without loader processes a training is
# reproducible too.
_CPU_TRAINING = {"nnUNet_n_proc_DA": "0", "nnUNet_def_n_proc": "1"}
_EVALUATION_CODES = (0, 1)
# nnU-Net shows a bar of sliding windows for each case and fold.
_SLIDING_BAR_STARTS = r"^\s*0%\|"


@dataclass(frozen=True)
class RunSettings:
    """How the commands run.

    Attributes
    ----------
    dataset_id, num_gpus, jobs : int
        Dataset, GPUs of one training, worker processes of planning and evaluation.
    device : str
        cpu, cuda or mps.
    npz : bool
        Keep probabilities of the validation, which nnUNetv2_find_best_configuration ensembles.
    tier_hash : str, optional
        Hash of the synthetic tier, written into the tables.
    """

    dataset_id: int
    device: str = "cpu"
    num_gpus: int = 1
    npz: bool = False
    jobs: int = 1
    tier_hash: str | None = None


def plan_step(arm: Arm, run: RunSettings) -> Step:
    """Return the command that makes an arm's plan and preprocesses."""
    assert isinstance(arm.options, PlanOptions)
    options = arm.options
    command = ["femur_plan", "-d", str(run.dataset_id), "--architecture", options.architecture,
               "--preset", options.preset, "--name", options.name, "--jobs", str(run.jobs)]
    if options.spacing_mm_zyx:
        command += ["--spacing", ",".join(f"{value:g}" for value in options.spacing_mm_zyx)]
    if options.epochs is not None:
        command += ["--epochs", str(options.epochs)]
    if options.seed is not None:
        command += ["--seed", str(options.seed)]
    for change in options.changes:
        command += ["--set", change]
    return Step("plan", f"Plan {arm.plans_name} ({arm.settings})", tuple(command), _environment())


def train_step(arm: Arm, fold: int, run: RunSettings, *, epochs: int = 0, go_on: bool = False) -> Step:
    """Return the command that trains a fold and predicts its validation scans."""
    command = ["nnUNetv2_train", str(run.dataset_id), CONFIGURATION, str(fold), "-tr", arm.trainer,
               "-p", arm.plans_name, "-device", run.device]
    if run.num_gpus != 1:
        command += ["-num_gpus", str(run.num_gpus)]
    if run.npz:
        command.append("--npz")
    if go_on:
        command.append("--c")
    return Step("train", f"Train {arm.name}, fold {fold}", tuple(command),
                _environment(_CPU_TRAINING if run.device == "cpu" else {}), bar_pattern=r"Epoch time:",
                bar_total=epochs)


def validation_step(arm: Arm, fold: int, run: RunSettings, folders: StudyFolders) -> Step:
    """Return the command that evaluates a fold's validation scans."""
    own = folders.validation(arm, fold)
    return Step("evaluate", f"Evaluate the validation of fold {fold}",
                (*_evaluation(folders.fold(arm, fold) / "validation", own, arm, run, folders), "--role", "train",
                 "--fold", str(fold), "--bootstrap", "0"), _environment(), bar_pattern="^$",
                accepted_codes=_EVALUATION_CODES)


def predict_step(arm: Arm, cohort: CohortFolds, run: RunSettings, folders: StudyFolders) -> Step:
    """Return the command that predicts a cohort's locked test scans by the ensemble of its folds."""
    own = folders.test(arm, cohort.name)
    command = ["nnUNetv2_predict", "-i", str(own / "images"), "-o", str(own / "predictions"),
               "-d", str(run.dataset_id), "-c", CONFIGURATION, "-f", *map(str, cohort.folds), "-tr", arm.trainer,
               "-p", arm.plans_name, "-device", run.device]
    if run.device == "cpu":
        command += ["-npp", "0", "-nps", "0"]
    return Step("predict", f"Predict the test scans of {cohort.name} by {len(cohort.folds)} folds", tuple(command),
                _environment(), bar_pattern=_SLIDING_BAR_STARTS, bar_total=len(cohort.test) * len(cohort.folds))


def locked_test_step(arm: Arm, cohort: CohortFolds, run: RunSettings, folders: StudyFolders) -> Step:
    """Return the command that evaluates a cohort's test scans."""
    own = folders.test(arm, cohort.name)
    return Step("evaluate", f"Evaluate the test scans of {cohort.name}",
                (*_evaluation(own / "predictions", own, arm, run, folders), "--role", "test"), _environment(),
                bar_pattern="^$", accepted_codes=_EVALUATION_CODES)


def link_files(folder: Path, files: Iterable[Path]) -> None:
    """Make a folder that holds links to exactly these files."""
    folder.mkdir(parents=True, exist_ok=True)
    for present in folder.iterdir():
        present.unlink()
    for file in files:
        (folder / file.name).symlink_to(file.resolve())


def links_line(folder: Path, source: str, cases: Sequence[str]) -> str:
    """Return what a dry run says about a folder of links."""
    return f"# {folder} holds links to the {len(cases)} files of {source}: {cases[0]} ... {cases[-1]}"


def shell_line(step: Step) -> str:
    """Return a step as it is typed in a shell that has the exports of femur_env."""
    variables = [f"{name}={shlex.quote(value)}" for name, value in step.environment.items() if name in _CPU_TRAINING]
    return " ".join([*variables, shlex.join(step.command)])


def exported_variables() -> list[str]:
    """Return the exports that the commands need, with their present values."""
    values = {name: str(Path(os.environ[name]).resolve()) for name in VARIABLES}
    return [f"export {name}={shlex.quote(value)}" for name, value in (values | _environment()).items()]


def _evaluation(predictions: Path, own: Path, arm: Arm, run: RunSettings, folders: StudyFolders) -> tuple[str, ...]:
    tier = ("--tier-hash", run.tier_hash) if run.tier_hash else ()
    return ("femur_eval", str(predictions), str(own / "references"), "--scans", str(folders.raw / SCANS_TABLE_NAME),
            "--out", str(own / "tables"), "--arm", arm.name, "--jobs", str(run.jobs), *tier)


def _environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    others = [path for path in os.environ.get("nnUNet_extTrainer", "").split(os.pathsep)
              if path and Path(path) != plugin_folder()]
    return {"nnUNet_extTrainer": os.pathsep.join([str(plugin_folder()), *others]), **(extra or {})}
