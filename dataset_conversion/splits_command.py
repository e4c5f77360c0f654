"""The command ``femur_splits``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from femur_nnunet.cohort import SCANS_TABLE_NAME, read_scans_table
from femur_nnunet.command_line import CommandResult, format_table, make_parser, progress, run_command
from femur_nnunet.dataset_conversion.folds import build_split_set, parse_cohorts, parse_scheme
from femur_nnunet.dataset_conversion.strata import participants_of
from femur_nnunet.files import hold_folder
from femur_nnunet.nnunet_folders import find_dataset, require_folder
from femur_nnunet.provenance import RunRecord
from femur_nnunet.splits import HASH_NAME, INDEX_NAME, NNUNET_SPLITS_NAME, SPLITS_NAME, SplitSet, write_splits

RUN_NAME = "splits_run.json"


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``femur_splits`` and return its exit code."""
    return run_command(_parser(), _draw, argv)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "femur_splits",
        "Draw folds over the training participants of a converted dataset: all visits and both hips of a person\n"
        "together, balanced by site, sex and age band. The locked test set stays as it is.",
        "femur_splits -d 501 --scheme kfold10 --cohorts all,women,men --seed 1", seed=0)
    parser.add_argument("-d", "--dataset-id", type=int, required=True, metavar="N", help="number of the dataset")
    parser.add_argument("--raw", type=Path, metavar="DIR",
                        help="the folder nnUNet_raw (default: the environment variable nnUNet_raw)")
    parser.add_argument("--scheme", default="kfold5", help="kfoldN with N of at least 2 (default: kfold5)")
    parser.add_argument("--cohorts", default="all", metavar="LIST",
                        help="list of all, women, men; folds are numbered in this order (default: all)")
    return parser


def _draw(arguments: argparse.Namespace) -> CommandResult:
    parse_scheme(arguments.scheme)
    cohorts = parse_cohorts(arguments.cohorts)
    dataset = find_dataset(arguments.raw or require_folder("nnUNet_raw"), arguments.dataset_id)
    run = RunRecord("femur_splits", {**vars(arguments), "raw": dataset.parent}, seed=arguments.seed, hide_paths=True)
    with hold_folder(dataset):
        run.add_inputs([dataset / SCANS_TABLE_NAME])
        records = read_scans_table(dataset / SCANS_TABLE_NAME)
        splits = build_split_set(records, scheme=arguments.scheme, cohorts=cohorts, seed=arguments.seed)
        write_splits(dataset, splits)
        placed = _replace_placed_folds(dataset.name, splits)
        by_case = {record.case_id: record for record in records}
        rows = []
        for number, (fold, entry) in progress(list(enumerate(zip(splits.folds, splits.index, strict=True))),
                                              description="folds", quiet=arguments.quiet):
            people = participants_of(by_case[case] for case in fold["val"])
            rows.append([number, entry["cohort"], entry["k"], len(fold["train"]), len(fold["val"]), len(people),
                         sum(person.sex == "F" for person in people), sum(person.sex == "M" for person in people)])
        run.add_outputs([dataset / name for name in (SPLITS_NAME, INDEX_NAME, HASH_NAME)])
        run.counts = {"folds": len(splits.folds), "test_cases": len(splits.test)}
        run.write(dataset, exit_code=0, name=RUN_NAME)
    header = ["fold", "cohort", "k", "train cases", "val cases", "val participants", "women", "men"]
    where = " and beside the preprocessed data" if placed else "; femur_plan puts them beside the preprocessed data"
    return CommandResult(lines=[*format_table(header, rows), f"{dataset / SPLITS_NAME}: {len(rows)} folds{where}"],
                         summary={"dataset": dataset.name, "folds": len(rows), "sha256": splits.sha256})


def _replace_placed_folds(dataset_name: str, splits: SplitSet) -> bool:
    """Replace splits_final.json where femur_plan has put it: nnU-Net would go on with the old folds."""
    root = os.environ.get("nnUNet_preprocessed")
    folder = Path(root) / dataset_name if root else None
    if folder is None or not (folder / NNUNET_SPLITS_NAME).is_file():
        return False
    write_splits(folder, splits, nnunet_name=True)
    return True
