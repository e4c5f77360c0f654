"""From a converted dataset to preprocessed data: fingerprint, plan, preprocessing, tables in place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from femur_nnunet.cohort import SCANS_TABLE_NAME, ScanRecord, read_scans_table
from femur_nnunet.command_line import get_logger
from femur_nnunet.files import hold_folder, read_json, write_json
from femur_nnunet.loading.preprocessed_data import (
    files_side,
    is_up_to_date,
    plan_side,
    record_path,
    write_record,
)
from femur_nnunet.loading.training_cases import unlabelled_cases
from femur_nnunet.nnunet_folders import find_dataset, require_folder
from femur_nnunet.plan_changes import with_changes
from femur_nnunet.planners.femur_planner import FemurPlanner
from femur_nnunet.planners.fingerprint import FemurFingerprintExtractor
from femur_nnunet.planners.memory import memory_of_plan
from femur_nnunet.planners.plan_options import CONFIGURATION, PlanOptions
from femur_nnunet.planners.preprocess import preprocess_labelled, preprocess_unlabelled, put_tables_in_place
from femur_nnunet.planners.presets import PRESETS, settings_for
from femur_nnunet.provenance import RunRecord

LOG = get_logger(__name__)
STOCK_PLANS_NAME = "nnUNetPlans"
COPY_KEY = "femur_nnunet_copy_of"


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
    settings = with_changes(settings_for(options.preset, options.architecture, epochs=options.epochs,
                                         seed=options.seed), options.changes)
    record = RunRecord("femur_plan", vars(options), seed=settings.schedule.seed)
    with hold_folder(preprocessed):
        extractor = FemurFingerprintExtractor(options.dataset_id, num_processes=options.jobs)
        extractor.show_progress_bar = not options.quiet
        # An existing fingerprint would be reused without a word, of whatever data it is.
        extractor.run(overwrite_existing=True)
        sites = {scan.site for scan in records if scan.role == "train"}
        planner = FemurPlanner(options.dataset_id, preset=PRESETS[options.preset], settings=settings,
                               plans_name=options.plans_name, data_identifier=options.data_identifier,
                               spacing_mm_zyx=options.spacing_mm_zyx, n_sites=len(sites))
        plan = planner.plan_experiment()
        stock_written = _write_under_stock_name(preprocessed, plan)
        tables = put_tables_in_place(raw, preprocessed)
        state = "left as it was" if not options.preprocess else _preprocess(raw, preprocessed, plan, records, options)
        record.counts = {"labelled": len(extractor.dataset), "unlabelled": len(unlabelled_cases(records)),
                         "sites": len(sites)}
        record.details = {"also_written_as_nnUNetPlans": stock_written, "preprocessed_data": state,
                          "training_step_memory_mib": memory_of_plan(plan, preprocessed)}
        record.add_outputs([preprocessed / f"{options.plans_name}.json", *tables])
        record.add_inputs([raw / "dataset.json", raw / SCANS_TABLE_NAME])
        record.write(preprocessed, exit_code=0)
    return plan


def _preprocess(raw: Path, preprocessed: Path, plan: dict[str, Any], records: list[ScanRecord],
                options: PlanOptions) -> str:
    """Preprocess, unless the folder holds just these data: a training may be reading it for another plan."""
    configuration = plan["configurations"][CONFIGURATION]
    folder = preprocessed / configuration["data_identifier"]
    side, files = plan_side(plan, configuration), files_side(raw)
    if is_up_to_date(folder, side, files):
        LOG.info("%s is up to date and stays", folder.name)
        return "up to date"
    record_path(folder).unlink(missing_ok=True)
    preprocess_labelled(raw, preprocessed, options.plans_name, options.dataset_id, jobs=options.jobs,
                        quiet=options.quiet)
    preprocess_unlabelled(raw, preprocessed, options.plans_name, records, jobs=options.jobs, quiet=options.quiet)
    write_record(folder, side, files)
    return "written"


def _write_under_stock_name(preprocessed: Path, plan: dict[str, Any]) -> bool:
    """Write the plan as nnUNetPlans.json too, so that ``-p`` may be left out.

    A plan of that name that is nnU-Net's own, or a copy of another plan of ours, stays: results without
    ``-p`` share one folder, and folds of different plans must not meet there.
    """
    path = preprocessed / f"{STOCK_PLANS_NAME}.json"
    if path.exists():
        present = read_json(path, what="a plans file", action="remove it and run femur_plan again")
        origin = present.get(COPY_KEY, "nnU-Net itself")
        if origin != plan["plans_name"]:
            LOG.warning("%s.json is a plan of %s and stays: train with -p %s, or remove it and plan again",
                        STOCK_PLANS_NAME, origin, plan["plans_name"])
            return False
    write_json(path, {**plan, "plans_name": STOCK_PLANS_NAME, COPY_KEY: plan["plans_name"]})
    return True
