"""``femur_plan``: fingerprint, the fixed 3d_fullres plan, preprocessing, splits and cohort table in place."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from femur_nnunet.cohort import SCANS_TABLE_NAME, read_scans_table
from femur_nnunet.command_line import CommandResult, get_logger, make_parser, run_command, worker_count
from femur_nnunet.files import hold_folder, read_json, write_json
from femur_nnunet.nnunet_folders import find_dataset, require_folder
from femur_nnunet.planners.femur_planner import CONFIGURATION, FemurPlanner
from femur_nnunet.planners.fingerprint import FemurFingerprintExtractor
from femur_nnunet.planners.preprocess import preprocess_labelled, preprocess_unlabelled, put_tables_in_place
from femur_nnunet.planners.presets import DEFAULT_PRESET, PRESETS, settings_for
from femur_nnunet.provenance import RunRecord

LOG = get_logger(__name__)
STOCK_PLANS_NAME = "nnUNetPlans"


@dataclass(frozen=True)
class PlanOptions:
    """What femur_plan is asked for; see the command's help."""

    dataset_id: int
    architecture: str = "transunet"
    preset: str = DEFAULT_PRESET
    spacing_mm_zyx: tuple[float, ...] | None = None
    epochs: int | None = None
    seed: int | None = None
    jobs: int = 1
    preprocess: bool = True
    quiet: bool = False

    @property
    def plans_name(self) -> str:
        """Name of the plan: FemurPlans, with the architecture and preset where they are not the default."""
        stem = {"transunet": "FemurPlans", "unet": "FemurUNetPlans"}[self.architecture]
        return stem if self.preset == DEFAULT_PRESET else f"{stem}_{self.preset}"

    @property
    def data_identifier(self) -> str:
        """Folder of preprocessed data: one a spacing, shared by all plans of that spacing."""
        spacing = self.spacing_mm_zyx or PRESETS[self.preset].spacing_mm_zyx
        if spacing is None:
            return f"FemurPlans_{CONFIGURATION}"
        return "FemurPlans_" + "x".join(f"{value:g}" for value in spacing) + f"mm_{CONFIGURATION}"


def make_plan(options: PlanOptions) -> dict[str, Any]:
    """Do all that femur_plan does and return the plan.

    Raises
    ------
    UsageError
        A folder of nnU-Net or the dataset is missing.
    FemurError
        The converted dataset is broken or has no labelled training case.
    """
    raw = find_dataset(require_folder("nnUNet_raw"), options.dataset_id)
    require_folder("nnUNet_results")
    preprocessed = require_folder("nnUNet_preprocessed") / raw.name
    records = read_scans_table(raw / SCANS_TABLE_NAME)
    settings = settings_for(options.preset, options.architecture, epochs=options.epochs, seed=options.seed)
    record = RunRecord("femur_plan", vars(options), seed=settings.schedule.seed)
    with hold_folder(preprocessed):
        extractor = FemurFingerprintExtractor(options.dataset_id, num_processes=options.jobs)
        extractor.show_progress_bar = not options.quiet
        # An existing fingerprint would be reused without a word, of whatever data it is.
        extractor.run(overwrite_existing=True)
        planner = FemurPlanner(options.dataset_id, preset=PRESETS[options.preset], settings=settings,
                               plans_name=options.plans_name, data_identifier=options.data_identifier,
                               spacing_mm_zyx=options.spacing_mm_zyx)
        plan = planner.plan_experiment()
        stock_written = _write_under_stock_name(preprocessed, plan)
        tables = put_tables_in_place(raw, preprocessed)
        unlabelled: list[str] = []
        if options.preprocess:
            preprocess_labelled(raw, preprocessed, options.plans_name, options.dataset_id, jobs=options.jobs)
            unlabelled = preprocess_unlabelled(raw, preprocessed, options.plans_name, records, jobs=options.jobs,
                                               quiet=options.quiet)
        record.counts = {"labelled": len(extractor.dataset), "unlabelled": len(unlabelled)}
        record.details = {"also_written_as_nnUNetPlans": stock_written}
        record.add_outputs([preprocessed / f"{options.plans_name}.json", *tables])
        record.add_inputs([raw / "dataset.json", raw / SCANS_TABLE_NAME])
        record.write(preprocessed, exit_code=0)
    return plan


def _write_under_stock_name(preprocessed: Path, plan: dict[str, Any]) -> bool:
    """Write the plan as nnUNetPlans.json too, so that ``-p`` may be left out, unless a stock plan is there."""
    path = preprocessed / f"{STOCK_PLANS_NAME}.json"
    if path.exists():
        present = read_json(path, what="a plans file", action="remove it and run femur_plan again")
        if present.get("experiment_planner_used") != FemurPlanner.__name__:
            LOG.warning("%s.json is nnU-Net's own plan and stays: train with -p %s", STOCK_PLANS_NAME,
                        plan["plans_name"])
            return False
    write_json(path, {**plan, "plans_name": STOCK_PLANS_NAME})
    return True


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = make_parser("femur_plan", "Plan and preprocess a converted dataset: nnU-Net's fingerprint and "
                         "preprocessing, one fixed 3d_fullres plan, unlabelled scans beside the labelled ones.",
                         'eval "$(femur_env --root DIR)"; femur_plan -d 501 --preset gpu24', jobs=True)
    parser.add_argument("-d", "--dataset-id", type=int, required=True, metavar="N", help="nnU-Net's dataset number")
    parser.add_argument("--architecture", choices=("transunet", "unet"), default="transunet",
                        help="network that the plan sizes (default: transunet)")
    parser.add_argument("--preset", choices=tuple(PRESETS), default=DEFAULT_PRESET,
                        help=f"machine that the plan is sized for (default: {DEFAULT_PRESET})")
    parser.add_argument("--spacing", type=_spacing, metavar="Z,Y,X", help="spacing in mm in place of the preset's")
    parser.add_argument("--epochs", type=int, metavar="N", help="epochs in place of the preset's")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of training, written into the plan (default: 1)")
    parser.add_argument("--no-preprocess", action="store_true", help="write the plan alone")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``femur_plan``."""
    return run_command(build_parser(), _run, argv)


def _run(arguments: argparse.Namespace) -> CommandResult:
    options = PlanOptions(arguments.dataset_id, arguments.architecture, arguments.preset, arguments.spacing,
                          arguments.epochs, arguments.seed, worker_count(arguments.jobs),
                          not arguments.no_preprocess, arguments.quiet or arguments.json)
    plan = make_plan(options)
    configuration = plan["configurations"][CONFIGURATION]
    lines = [f"plan {options.plans_name}: spacing {_times(configuration['spacing'])} mm, patch "
             f"{_times(configuration['patch_size'])}, batch {configuration['batch_size']}, "
             f"{options.architecture}, features {configuration['architecture']['arch_kwargs']['features_per_stage']}",
             f"next: nnUNetv2_train {options.dataset_id} {CONFIGURATION} 0 -tr TransUNetDATrainer "
             f"-p {options.plans_name}"]
    return CommandResult(lines=lines, summary={"plans_name": options.plans_name,
                                               "patch_size": list(configuration["patch_size"]),
                                               "batch_size": configuration["batch_size"]})


def _times(values: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)


def _spacing(text: str) -> tuple[float, ...]:
    parts = re.split(r"[,x ]+", text.strip())
    try:
        values = tuple(float(part) for part in parts)
    except ValueError:
        values = ()
    if len(values) != 3 or any(value <= 0 for value in values):
        raise argparse.ArgumentTypeError(f"needs three lengths in mm above 0, as in 3,1,1; got {text!r}")
    return values


