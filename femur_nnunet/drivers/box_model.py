"""The steps from label maps to the model in the box, and the card that says how it was made."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from femur_nnunet._version import __version__
from femur_nnunet.drivers.steps import Step
from femur_nnunet.env_command import nnunet_environment
from femur_nnunet.files import read_json, write_text
from femur_nnunet.randomised.pool import POOL_FILE_NAME

DATASET_ID, DATASET_NAME = 520, "BoxFemur"
DATASET_FOLDER = f"Dataset{DATASET_ID}_{DATASET_NAME}"
TRAINER = "FemurTrainer"
CARD_NAME, BUNDLE_NAME = "model_card.md", "box_model.zip"
ATTRIBUTION = "Anatomy: label maps of github MICCAI2022-155/AuToSeg, MIT licence"
NOTICE = "trained on synthetic images of {subjects} subjects' anatomy; research use only, no medical device"


@dataclass(frozen=True)
class BoxSize:
    """How large a model is made.

    Attributes
    ----------
    preset : str
        Preset of femur_plan.
    spacing_mm : float
        Even spacing of the network, and the finest voxel of the renderings.
    renderings : int
        Scans of the pool; about 1.4 hips each.
    epochs, iterations_per_epoch, patches : int
        Length of training and patches of a step.
    """

    preset: str
    spacing_mm: float
    renderings: int
    epochs: int
    iterations_per_epoch: int
    patches: int


SIZES: dict[str, BoxSize] = {
    # About an hour and a half of two cores.
    "small": BoxSize("cpu", 2.0, 440, 80, 50, 2),
    "full": BoxSize("gpu24", 1.0, 2000, 400, 250, 2),
}


@dataclass(frozen=True)
class BoxRun:
    """One making of the model.

    Attributes
    ----------
    label_maps : Path
        Folder of label maps.
    size : BoxSize
        How large.
    seed : int
        Of renderings, held-out subjects, splits and training.
    held_out : tuple of str
        Subjects never trained on; empty with ``held_out_count``.
    held_out_count : int
        So many subjects are held out, drawn by the seed.
    fold : str
        ``all`` trains on every subject that is not held out; a number leaves that fold's subjects out too.
    map_cache : Path or None
        Folder of prepared label maps.
    """

    label_maps: Path
    size: BoxSize
    seed: int = 1
    held_out: tuple[str, ...] = ()
    held_out_count: int = 4
    fold: str = "all"
    map_cache: Path | None = None


def plans_name(size: BoxSize) -> str:
    """Return the name that femur_plan gives the plan."""
    return "FemurUNetPlans" if size.preset == "gpu24" else f"FemurUNetPlans_{size.preset}"


def results_folder(folder: Path, size: BoxSize) -> Path:
    """Return the folder of results that nnU-Net writes."""
    return folder / "nnUNet_results" / DATASET_FOLDER / f"{TRAINER}__{plans_name(size)}__3d_fullres"


def plan_options(size: BoxSize) -> tuple[str, ...]:
    """Return the options of femur_plan by which a box model is planned, and whatever is to be compared with one."""
    settings = {"sampling.labelled_patches": size.patches, "augmentation.rotation_degrees": 15,
                "augmentation.nnunet_intensity": "false", "schedule.iterations_per_epoch": size.iterations_per_epoch,
                "schedule.whole_scan_validation": "false", "splits.allow_all": "true",
                "optimiser.warmup_epochs": min(2, size.epochs - 1)}
    return ("--architecture", "unet", "--preset", size.preset, "--spacing", ",".join([f"{size.spacing_mm:g}"] * 3),
            "--epochs", str(size.epochs), *(part for key, value in settings.items()
                                            for part in ("--set", f"{key}={value}")))


def box_steps(folder: Path, run: BoxRun, *, jobs: int, device: str) -> list[Step]:
    """Return the commands that make the model, each one that a user would type."""
    environment = nnunet_environment(folder)
    size, pool, seed = run.size, folder / "pool", str(run.seed)
    common = ("--jobs", str(jobs))
    held_out = ("--held-out", ",".join(run.held_out)) if run.held_out else ("--held-out-count",
                                                                             str(run.held_out_count))
    cache = ("--map-cache", str(run.map_cache)) if run.map_cache else ()
    return [
        Step("render", "Render the pool of synthetic scans",
             ("femur_renderings", "--label-maps", str(run.label_maps), "--n", str(size.renderings), "--seed", seed,
              "--finest", f"{size.spacing_mm:g}", *held_out, *cache, "--out", str(pool), *common), environment),
        Step("convert", "Convert it to nnU-Net's raw format",
             ("convert_qct_sites", "--manifest", str(pool / "manifest.csv"), "--calibrate", "table", "--key-seed", seed,
              "--seed", seed, "--out", str(folder / "nnUNet_raw"), "--dataset-id", str(DATASET_ID), "--dataset-name",
              DATASET_NAME, "--prune", *common), environment,
             # One body of hundreds may be narrower than two hips need in life: it is left out, and the report says so.
             accepted_codes=(0, 1)),
        Step("plan", "Fingerprint, plan and preprocess",
             ("femur_plan", "-d", str(DATASET_ID), *plan_options(size), "--seed", seed, *common), environment),
        Step("train", f"Train {TRAINER} on the renderings",
             ("nnUNetv2_train", str(DATASET_ID), "3d_fullres", run.fold, "-tr", TRAINER, "-p", plans_name(size),
              "-device", device), {**environment, "nnUNet_n_proc_DA": "0", "nnUNet_def_n_proc": "1"}
             if device == "cpu" else environment,
             bar_pattern=r"Epoch time:", bar_total=size.epochs, resume_argument="--c"),
    ]


def described_pool(folder: Path) -> dict[str, Any]:
    """Return what the pool says of itself: subjects, ranges, seed."""
    return read_json(folder / "pool" / POOL_FILE_NAME, what="a pool's description", action="render the pool first")


def pack_step(folder: Path, run: BoxRun, *, subjects: int) -> Step:
    """Return the command that packs the network, trained on so many subjects' anatomy, with its card."""
    return Step("pack", "Pack the model bundle",
                ("femur_model", "pack", str(results_folder(folder, run.size)), "--folds", run.fold, "--out",
                 str(folder / BUNDLE_NAME), "--name", "box", "--licence", "Apache-2.0", "--intended-use",
                 NOTICE.format(subjects=subjects), "--attribution", ATTRIBUTION,
                 "--card", str(folder / CARD_NAME)), nnunet_environment(folder))


def write_card(folder: Path, run: BoxRun, *, command: str, made: str, seconds: Mapping[str, float]) -> Path:
    """Write the model card.

    Parameters
    ----------
    folder : Path
        Where the model was made.
    run : BoxRun
        How.
    command : str
        The command line.
    made : str
        When, in UTC.
    seconds : mapping
        Seconds by step.
    """
    pool = described_pool(folder)
    plan = read_json(folder / "nnUNet_preprocessed" / DATASET_FOLDER / f"{plans_name(run.size)}.json",
                     what="the plan", action="run femur_plan first")["configurations"]["3d_fullres"]
    template = resources.files("femur_nnunet.drivers").joinpath("box_model_card.md").read_text(encoding="utf-8")
    facts: dict[str, Any] = {
        "notice": NOTICE.format(subjects=len(pool["train"])), "attribution": ATTRIBUTION, "command": command,
        "seed": run.seed, "commit": commit(), "version": __version__, "made": made, "fold": run.fold,
        "n_train": len(pool["train"]), "n_held_out": len(pool["held_out"]),
        "held_out": ", ".join(pool["held_out"]) or "none",
        "renderings": run.size.renderings, "ranges": pool["ranges_sha256"],
        "spacing": " x ".join(f"{value:g}" for value in plan["spacing"]),
        "patch": " x ".join(str(edge) for edge in plan["patch_size"]),
        "features": ", ".join(map(str, plan["architecture"]["arch_kwargs"]["features_per_stage"])),
        "steps": run.size.epochs * run.size.iterations_per_epoch, "patches": run.size.patches,
        "minutes": ", ".join(f"{name} {value / 60:.0f}" for name, value in seconds.items())}
    write_text(folder / CARD_NAME, template.format(**facts))
    return folder / CARD_NAME


def commit() -> str:
    """Return the commit of the checkout that this package lies in, and whether files differ from it."""
    root = Path(__file__).resolve().parents[2]
    try:
        head, changes = (subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True,
                                        check=True).stdout.strip()
                         for arguments in (("rev-parse", "HEAD"), ("status", "--porcelain")))
    except (OSError, subprocess.CalledProcessError):
        return "unknown (no checkout)"
    return head + (" with changes" if changes else "")
