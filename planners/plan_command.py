"""``femur_plan``: fingerprint, the fixed 3d_fullres plan, preprocessing, splits and cohort table in place."""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
from collections.abc import Sequence

from femur_nnunet.argument_types import count, positive_count
from femur_nnunet.command_line import CommandResult, add_dataset_id, make_parser, run_command, worker_count
from femur_nnunet.planners.plan_options import CONFIGURATION, PlanOptions
from femur_nnunet.planners.presets import DEFAULT_PRESET, PRESETS

_TRAINERS = {"transunet": "TransUNetDATrainer", "vnet": "VNetDiceL2Trainer", "unet": "FemurTrainer"}
# Each worker imports torch and holds a scan: on a machine with many cores memory ends before they do.
_MOST_WORKERS = 8


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = make_parser("femur_plan", "Plan and preprocess a converted dataset: nnU-Net's fingerprint and "
                         "preprocessing, one fixed 3d_fullres plan, unlabelled scans beside the labelled ones.",
                         'eval "$(femur_env --root DIR)"; femur_plan -d 501 --preset gpu24', jobs=True)
    add_dataset_id(parser)
    parser.add_argument("--architecture", choices=tuple(_TRAINERS), default="transunet",
                        help="network that the plan sizes (default: transunet)")
    parser.add_argument("--preset", choices=tuple(PRESETS), default=DEFAULT_PRESET,
                        help=f"machine that the plan is sized for (default: {DEFAULT_PRESET})")
    parser.add_argument("--spacing", type=_spacing, metavar="Z,Y,X", help="spacing in mm in place of the preset's")
    parser.add_argument("--epochs", type=positive_count, metavar="N", help="epochs in place of the preset's")
    parser.add_argument("--seed", type=count, metavar="N", help="seed of training, written into the plan (default: 1)")
    parser.add_argument("--set", action="append", default=[], dest="changes", metavar="BLOCK.KEY=VALUE",
                        help="change one setting of the plan, as in adaptation.mmd_weight=0.3; may be repeated")
    parser.add_argument("--name", type=_name, default="", help="added to the plan's name, so that plans that differ by "
                        "--set stand side by side on the same data")
    parser.add_argument("--no-preprocess", action="store_true", help="write the plan alone")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``femur_plan``."""
    return run_command(build_parser(), _run, argv)


def _run(arguments: argparse.Namespace) -> CommandResult:
    # Imported here: it brings torch and nnU-Net, seconds that --help and a wrong option need not wait for.
    from femur_nnunet.nnunet_folders import require_folder
    from femur_nnunet.planners.memory import memory_line, memory_of_plan
    from femur_nnunet.planners.plan import make_plan

    options = PlanOptions(arguments.dataset_id, arguments.architecture, arguments.preset, arguments.spacing,
                          arguments.epochs, arguments.seed, tuple(arguments.changes), arguments.name,
                          arguments.jobs or min(worker_count(0), _MOST_WORKERS),
                          not arguments.no_preprocess, arguments.quiet)
    # nnU-Net prints as it goes; standard output belongs to the result.
    with contextlib.redirect_stdout(sys.stderr):
        plan = make_plan(options)
        memory = memory_of_plan(plan, require_folder("nnUNet_preprocessed") / plan["dataset_name"])
    configuration = plan["configurations"][CONFIGURATION]
    lines = [f"plan {options.plans_name}: spacing {_times(configuration['spacing'])} mm, patch "
             f"{_times(configuration['patch_size'])}, batch {configuration['batch_size']}, "
             f"{options.architecture}, features {configuration['architecture']['arch_kwargs']['features_per_stage']}",
             memory_line(memory),
             f"next: nnUNetv2_train {options.dataset_id} {CONFIGURATION} 0 -tr {_TRAINERS[options.architecture]} "
             f"-p {options.plans_name}"]
    return CommandResult(lines=lines, summary={"plans_name": options.plans_name,
                                               "patch_size": list(configuration["patch_size"]),
                                               "batch_size": configuration["batch_size"],
                                               "training_step_memory_mib": memory})


def _times(values: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)


def _name(text: str) -> str:
    if not re.fullmatch("[A-Za-z0-9]*", text):
        raise argparse.ArgumentTypeError(f"needs letters and digits alone; got {text!r}")
    return text


def _spacing(text: str) -> tuple[float, ...]:
    parts = re.split(r"[,x ]+", text.strip())
    try:
        values = tuple(float(part) for part in parts)
    except ValueError:
        values = ()
    if len(values) != 3 or any(value <= 0 for value in values):
        raise argparse.ArgumentTypeError(f"needs three lengths in mm above 0, as in 3,1,1; got {text!r}")
    return values


