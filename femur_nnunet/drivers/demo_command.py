"""``femur_demo``: the whole way on the synthetic two-site cohort, from raw scans to report CSVs."""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Sequence
from pathlib import Path

from femur_nnunet.cohort import SCANS_TABLE_NAME
from femur_nnunet.command_line import CommandResult, ExitCode, format_table, make_parser, run_command, worker_count
from femur_nnunet.drivers.steps import Step, StepRunner
from femur_nnunet.env_command import nnunet_environment
from femur_nnunet.files import hold_folder
from femur_nnunet.planners.presets import PRESETS
from femur_nnunet.provenance import RunRecord

DATASET_ID = 501
DATASET_NAME = "Dataset501_ProximalFemur"
TRAINER = "TransUNetDATrainer"
SHOWN_METRICS = ("dice", "hd95_mm", "assd_mm", "volume_pred_ml")


def demo_steps(folder: Path, *, seed: int, tier: str, jobs: int, device: str) -> list[Step]:
    """Return the commands of the demo; each is one that a user would type.

    Training runs without worker processes for augmentation (``nnUNet_n_proc_DA=0``): it is then
    reproducible, and two cores are busy with the network.
    """
    sites, raw = folder / "sites", folder / "nnUNet_raw"
    dataset, predictions, tables = raw / DATASET_NAME, folder / "predictions", folder / "evaluation"
    environment = nnunet_environment(folder)
    epochs = PRESETS["cpu"].settings.schedule.epochs
    common = ("--jobs", str(jobs))
    return [
        Step("phantom", "Render the synthetic two-site cohort",
             ("femur_phantom", "--out", str(sites), "--preset", "demo", "--tier", tier, "--seed", str(seed), *common),
             environment),
        Step("convert", "Convert both sites to nnU-Net's raw format",
             ("convert_qct_sites", "--tulane", str(sites / "tulane"), "--rochester", str(sites / "rochester"),
              "--out", str(raw), "--dataset-id", str(DATASET_ID), "--unlabelled-site", "rochester",
              "--key-seed", str(seed), *common), environment),
        Step("plan", "Fingerprint, plan and preprocess",
             ("femur_plan", "-d", str(DATASET_ID), "--preset", "cpu", "--seed", str(seed), *common), environment),
        Step("train", f"Train {TRAINER} on labelled Tulane and unlabelled Rochester scans",
             ("nnUNetv2_train", str(DATASET_ID), "3d_fullres", "0", "-tr", TRAINER, "-device", device),
             {**environment, "nnUNet_n_proc_DA": "0", "nnUNet_def_n_proc": "1"},
             bar_pattern=r"Epoch time:", bar_total=epochs, resume_argument="--c"),
        Step("predict", "Predict the unseen scans of both sites",
             ("nnUNetv2_predict", "-i", str(dataset / "imagesTs"), "-o", str(predictions), "-d", str(DATASET_ID),
              "-c", "3d_fullres", "-f", "0", "-tr", TRAINER, "-device", device, "-npp", "0", "-nps", "0"),
             environment, bar_pattern=r"^Predicting ", bar_total=0),
        Step("evaluate", "Evaluate by site",
             ("femur_eval", str(predictions), str(dataset / "labelsTs"), "--scans", str(dataset / SCANS_TABLE_NAME),
              "--out", str(tables), "--arm", "grl_mmd", *common), environment, accepted_codes=(0, 1)),
    ]


def site_table(tables: Path) -> list[str]:
    """Return the lines of the table by site from the sites.csv that femur_eval wrote."""
    with (tables / "sites.csv").open(newline="", encoding="utf-8") as handle:
        rows = [row for row in csv.DictReader(handle) if row["sex"] == "all" and row["metric"] in SHOWN_METRICS]
    body = [(row["site"], row["metric"], row["n"], row["n_missed"],
             *(f"{float(row[column]):.3f}" for column in ("mean", "sd", "min", "max"))) for row in rows]
    return format_table(("site", "metric", "n", "missed", "mean", "sd", "min", "max"), body)


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = make_parser("femur_demo", "Run the main job from raw scans to report CSVs on a synthetic two-site "
                         "cohort. Run again, it goes on where it stopped.", "femur_demo --out demo_run",
                         out="folder for everything the demo makes", jobs=True, device=True, seed=1)
    parser.add_argument("--tier", choices=("none", "mild", "moderate", "severe"), default="moderate",
                        help="how far Rochester lies from Tulane (default: moderate)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``femur_demo``."""
    return run_command(build_parser(), _run, argv)


def _run(arguments: argparse.Namespace) -> CommandResult:
    started = time.monotonic()
    folder = arguments.out.resolve()
    record = RunRecord("femur_demo", vars(arguments), seed=arguments.seed)
    with hold_folder(folder) as lock:
        runner = StepRunner(folder, quiet=arguments.quiet, held=(lock,))
        runner.run(demo_steps(folder, seed=arguments.seed, tier=arguments.tier, jobs=worker_count(arguments.jobs),
                              device=arguments.device))
        tables = folder / "evaluation"
        record.details = {"step_seconds": {name: round(seconds, 1) for name, seconds in runner.seconds.items()}}
        record.add_outputs(sorted(tables.glob("*.csv")))
        # femur_eval ends with 1 where a case was missed: that is told, and its table stands.
        code = ExitCode(runner.codes.get("evaluate", 0))
        record.write(folder, exit_code=code)
    minutes = (time.monotonic() - started) / 60
    lines = ["", "Unseen hips, by site (synthetic cohort; sites as they are, participants as the unit):",
             *site_table(tables), "", "CSVs: " + ", ".join(str(path) for path in sorted(tables.glob("*.csv"))),
             f"Time: {minutes:.1f} minutes; by step in seconds: "
             + ", ".join(f"{name} {seconds:.0f}" for name, seconds in runner.seconds.items())]
    return CommandResult(code, lines=lines, summary={"seconds": record.details["step_seconds"], "tables": str(tables)})
