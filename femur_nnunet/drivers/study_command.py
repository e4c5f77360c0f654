"""``femur_study``: cross-validation, a declared grid, one use of the locked test set, one table."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from pathlib import Path

from femur_nnunet.argument_types import count, positive_count, positive_number
from femur_nnunet.command_line import CommandResult, ExitCode, add_dataset_id, make_parser, run_command, worker_count
from femur_nnunet.drivers.study.commands import RunSettings
from femur_nnunet.drivers.study.fold_table import GRID_NAME, read_folds
from femur_nnunet.drivers.study.grid import Changes, grid_of_options, read_grid_file
from femur_nnunet.drivers.study.protocol import StudyData, arms_of, load_study_data
from femur_nnunet.drivers.study.runner import OutOfTimeError, StudyRunner
from femur_nnunet.drivers.study.slurm import array_script
from femur_nnunet.drivers.study.study_table import (
    CSV_NAME,
    MARKDOWN_NAME,
    StudyRow,
    write_study_csv,
    write_study_markdown,
)
from femur_nnunet.errors import UsageError
from femur_nnunet.files import hold_folder, write_text
from femur_nnunet.planners.plan_options import PlanOptions
from femur_nnunet.planners.presets import DEFAULT_PRESET, PRESETS
from femur_nnunet.provenance import RunRecord, package_versions

DEFAULT_TRAINER = "VNetDiceL2Trainer"
_COHORTS = ("all", "women", "men")


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = make_parser(
        "femur_study",
        "Run the protocol of a study on a converted dataset with folds: train and validate every fold, choose among\n"
        "declared settings on cross-validation alone, then predict the locked test set once by the ensemble of the\n"
        "folds, and write one table. Run again, it does what is missing. Needs the exports of femur_env.",
        "femur_study -d 501 --preset cpu --out study --grid vnet.l2_weight=1e-6,1e-5", out="folder for the tables",
        jobs=True, device=True)
    add_dataset_id(parser)
    parser.add_argument("--trainer", action="append", default=[], dest="trainers", metavar="TRAINER[:PLANS]",
                        help="trainer to study, with a plan made for it, or one that is there already; may be "
                        f"repeated (default: {DEFAULT_TRAINER})")
    parser.add_argument("--cohorts", type=_cohorts, default=(), metavar="LIST",
                        help="list of all, women, men (default: all that femur_splits drew)")
    parser.add_argument("-num_gpus", "--num-gpus", type=positive_count, default=1, metavar="N",
                        help="GPUs of one training (default: 1)")
    parser.add_argument("--npz", action="store_true",
                        help="keep validation probabilities, for nnUNetv2_find_best_configuration")
    parser.add_argument("--again", action="store_true",
                        help="let another choice than the recorded one see the test set; the table says so")
    parser.add_argument("--max-minutes", type=positive_number, metavar="M",
                        help="begin no fold that would end later, judged by the folds that are done")
    parser.add_argument("--tier-hash", metavar="SHA256", help="hash of the synthetic tier, written into the tables")
    plan = parser.add_argument_group("plan (see femur_plan)")
    plan.add_argument("--preset", choices=tuple(PRESETS), default=DEFAULT_PRESET,
                      help=f"machine that the plan is sized for (default: {DEFAULT_PRESET})")
    plan.add_argument("--epochs", type=positive_count, metavar="N", help="epochs in place of the preset's")
    plan.add_argument("--seed", type=count, metavar="N", help="seed of training, written into the plan (default: 1)")
    plan.add_argument("--set", action="append", default=[], dest="changes", metavar="BLOCK.KEY=VALUE",
                      help="change one setting of every plan; may be repeated")
    plan.add_argument("--name", type=_name, default="study", help="part of the plans' names (default: study)")
    grid = parser.add_argument_group("grid, chosen by the mean validation Dice over the folds")
    grid.add_argument("--grid", action="append", default=[], metavar="BLOCK.KEY=V1,V2",
                      help="values to try; repeated, all combinations")
    grid.add_argument("--grid-file", type=Path, metavar="JSON",
                      help="a grid as an object of lists, or as a list of candidates")
    instead = parser.add_argument_group("instead of running")
    instead.add_argument("--dry-run", action="store_true", help="print the commands of what is missing")
    instead.add_argument("--slurm", type=Path, metavar="FILE", help="write an array script that trains what is missing")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``femur_study``."""
    return run_command(build_parser(), _run, argv)


def _run(arguments: argparse.Namespace) -> CommandResult:
    if arguments.num_gpus > 1 and arguments.device != "cuda":
        raise UsageError(f"-num_gpus {arguments.num_gpus} with --device {arguments.device}", expected="--device cuda",
                         action="add it, or leave -num_gpus out")
    out = arguments.out.resolve()
    runner = _runner(arguments, out)
    if arguments.dry_run:
        lines = runner.shell_lines()
        return CommandResult(lines=lines, summary={"commands": lines}, essential=True)
    if arguments.slurm is not None:
        return _write_slurm(runner, arguments.slurm)
    record = RunRecord("femur_study", vars(arguments), seed=arguments.seed)
    with hold_folder(out) as lock:
        runner.held = (lock,)
        stopped = ""
        try:
            runner.run_all()
        except OutOfTimeError as over:
            stopped = f"stopped in time: {over}; run the same command again to go on"
        rows = [*runner.validation_rows(), *runner.test_rows]
        write_study_csv(out / CSV_NAME, rows)
        write_study_markdown(out / MARKDOWN_NAME, rows, runner.scores, _facts(arguments, runner, stopped))
        missed = sum(row.n_missed for row in rows if row.site == "all" and (row.sex == "all" or row.cohort != "all"))
        code = ExitCode.SOME_FAILED if missed else ExitCode.OK
        record.counts = {"finished_folds": len(read_folds(runner.folds_path)), "missing_folds":
                         len(runner.missing_folds()), "test_rows": len(runner.test_rows), "missed": missed}
        record.warnings = [stopped] if stopped else []
        record.add_outputs([path for name in (CSV_NAME, MARKDOWN_NAME, GRID_NAME) if (path := out / name).exists()])
        record.add_outputs([runner.folds_path] if runner.folds_path.exists() else [])
        record.write(out, exit_code=code)
    lines = [*(_line(row) for row in rows), *([stopped] if stopped else []), f"tables: {out / MARKDOWN_NAME}, "
             f"{out / CSV_NAME}, {runner.folds_path}"]
    return CommandResult(code, lines, {"complete": not stopped, "stopped": stopped or None, **record.counts})


def _runner(arguments: argparse.Namespace, out: Path) -> StudyRunner:
    base = PlanOptions(arguments.dataset_id, preset=arguments.preset, epochs=arguments.epochs, seed=arguments.seed,
                       changes=tuple(arguments.changes), name=arguments.name)
    arms = arms_of(arguments.trainers or [DEFAULT_TRAINER], base, _grid(arguments))
    run = RunSettings(arguments.dataset_id, arguments.device, arguments.num_gpus, arguments.npz,
                      worker_count(arguments.jobs), arguments.tier_hash)
    return StudyRunner(load_study_data(arguments.dataset_id, out, arguments.cohorts), arms, run,
                       arguments.max_minutes, arguments.again, arguments.quiet)


def _grid(arguments: argparse.Namespace) -> list[Changes]:
    if arguments.grid and arguments.grid_file:
        raise UsageError("--grid and --grid-file", expected="one of them", action="put all into the file")
    return read_grid_file(arguments.grid_file) if arguments.grid_file else grid_of_options(arguments.grid)


def _write_slurm(runner: StudyRunner, path: Path) -> CommandResult:
    folds, plans = runner.folds_to_train(), runner.plan_lines()
    if not folds:
        raise UsageError("no fold to train", expected="at least one", action="run femur_study without --slurm")
    with hold_folder(runner.data.folders.out):
        for arm, fold in folds:
            runner.prepare_training(arm, fold)
    write_text(path, array_script(folds, runner.run, runner.data.folders, plans))
    path.chmod(0o755)
    return CommandResult(lines=["Run:", *plans, f"sbatch {path}",
                                "and then the same femur_study command without --slurm."],
                         summary={"tasks": len(folds), "before": plans, "script": str(path)}, essential=True)


def _facts(arguments: argparse.Namespace, runner: StudyRunner, stopped: str) -> list[str]:
    data: StudyData = runner.data
    versions = package_versions()
    folds = ", ".join(f"{cohort.name}: folds {cohort.folds[0]}-{cohort.folds[-1]}, {len(cohort.test)} test cases"
                      for cohort in data.cohorts)
    return [f"{data.folders.raw.name}, {data.splits.index[0]['scheme']} ({folds}); folds and test list "
            f"{data.splits.sha256[:12]}",
            f"preset {arguments.preset}" + (f", {arguments.epochs} epochs" if arguments.epochs else "")
            + "".join(f", {change}" for change in arguments.changes)
            + f"; device {arguments.device}"
            + (f", {arguments.num_gpus} GPU(s) a training" if arguments.device == "cuda" else ""),
            f"femur-nnunet {versions['femur-nnunet']}, nnunetv2 {versions['nnunetv2']}, torch {versions['torch']}",
            *([f"**Incomplete**: {stopped}"] if stopped else [])]


def _line(row: StudyRow) -> str:
    spread = "" if math.isnan(row.sd["dice"]) else f" ± {row.sd['dice']:.4f}"
    return (f"{row.trainer}  {row.part}  trained on {row.cohort}, evaluated on sex {row.sex}, site {row.site}  "
            f"n = {row.n} {row.unit}  Dice {row.mean['dice']:.4f}{spread}  R2 {row.mean['r2']:.4f}")


def _cohorts(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not set(names) <= set(_COHORTS):
        raise argparse.ArgumentTypeError(f"needs a list of {', '.join(_COHORTS)}; got {text!r}")
    return names


def _name(text: str) -> str:
    if not re.fullmatch("[A-Za-z0-9]+", text):
        raise argparse.ArgumentTypeError(f"needs letters and digits alone; got {text!r}")
    return text
