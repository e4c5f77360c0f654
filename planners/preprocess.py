"""nnU-Net's own preprocessing for labelled cases, and the same for unlabelled ones beside them."""

from __future__ import annotations

import shutil
from pathlib import Path

from joblib import Parallel, delayed
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from femur_nnunet.cohort import SCANS_TABLE_NAME, ScanRecord, read_scans_table
from femur_nnunet.command_line import progress
from femur_nnunet.files import read_json
from femur_nnunet.loading.training_cases import UNLABELLED_SUFFIX, unlabelled_cases
from femur_nnunet.planners.plan_options import CONFIGURATION
from femur_nnunet.splits import read_splits, write_splits

_IMAGE_SUFFIX = "_0000.nii.gz"


def preprocess_labelled(raw: Path, preprocessed: Path, plans_name: str, dataset_id: int, *, jobs: int,
                        quiet: bool) -> None:
    """Run nnU-Net's preprocessor on imagesTr and put the reference masks beside its output."""
    manager = PlansManager(str(preprocessed / f"{plans_name}.json"))
    preprocessor = manager.get_configuration(CONFIGURATION).preprocessor_class(verbose=False)
    preprocessor.show_progress_bar = not quiet
    preprocessor.run(dataset_id, CONFIGURATION, plans_name, num_processes=jobs)
    references = preprocessed / "gt_segmentations"
    references.mkdir(exist_ok=True)
    for mask in sorted((raw / "labelsTr").glob("*.nii.gz")):
        shutil.copyfile(mask, references / mask.name)


def preprocess_unlabelled(raw: Path, preprocessed: Path, plans_name: str, records: list[ScanRecord], *, jobs: int,
                          quiet: bool) -> None:
    """Preprocess the unlabelled training cases with the same plan.

    They lie in a folder of their own, so that stock trainers, splits and validation never see them.
    """
    manager = PlansManager(str(preprocessed / f"{plans_name}.json"))
    identifier = manager.get_configuration(CONFIGURATION).data_identifier
    target = preprocessed / (identifier + UNLABELLED_SUFFIX)
    shutil.rmtree(target, ignore_errors=True)
    cases = unlabelled_cases(records)
    if not cases:
        return
    target.mkdir(parents=True)
    work = [delayed(_preprocess_one)(raw / "imagesUn" / f"{case}{_IMAGE_SUFFIX}", target / case,
                                     preprocessed / f"{plans_name}.json") for case in cases]
    done = Parallel(n_jobs=jobs, return_as="generator")(work)
    for _ in progress(done, description="preprocessing unlabelled", total=len(cases), quiet=quiet):
        pass


def _preprocess_one(image: Path, target: Path, plans_file: Path) -> None:
    manager = PlansManager(str(plans_file))
    configuration = manager.get_configuration(CONFIGURATION)
    dataset_json = read_json(plans_file.with_name("dataset.json"), what="the dataset's dataset.json",
                             action="run femur_plan again")
    configuration.preprocessor_class(verbose=False).run_case_save(
        str(target), [str(image)], None, manager, configuration, dataset_json)


def put_tables_in_place(raw: Path, preprocessed: Path) -> list[Path]:
    """Copy scans.tsv and the folds (as splits_final.json) beside the preprocessed data, replacing older ones.

    nnU-Net copies folds only where none are, and stops without a word when they changed.
    """
    shutil.copyfile(raw / SCANS_TABLE_NAME, preprocessed / SCANS_TABLE_NAME)
    splits = read_splits(raw)
    splits.check_against(read_scans_table(raw / SCANS_TABLE_NAME))
    write_splits(preprocessed, splits, nnunet_name=True)
    return [preprocessed / SCANS_TABLE_NAME, preprocessed / "splits_final.json"]
