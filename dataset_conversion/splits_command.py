"""The command ``femur_splits``."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Sequence
from pathlib import Path

from femur_nnunet.cohort import SCANS_TABLE_NAME, ScanRecord, read_scans_table
from femur_nnunet.command_line import CommandResult, add_dataset_id, format_table, make_parser, run_command
from femur_nnunet.dataset_conversion.balance import balance_rows, largest_difference, shown, write_balance
from femur_nnunet.dataset_conversion.default_splits import DEFAULT_FOLDS
from femur_nnunet.dataset_conversion.extended_folds import extend_split_set
from femur_nnunet.dataset_conversion.femur_volumes import VOLUMES_NAME, femur_volumes_ml
from femur_nnunet.dataset_conversion.folds import (
    LEAVE_SITE_OUT,
    alone_in_stratum,
    build_split_set,
    parse_cohorts,
    parse_scheme,
)
from femur_nnunet.dataset_conversion.strata import some_of
from femur_nnunet.errors import UsageError
from femur_nnunet.files import hold_folder
from femur_nnunet.nnunet_folders import find_dataset, require_folder
from femur_nnunet.provenance import RunRecord
from femur_nnunet.splits import (
    HASH_NAME,
    INDEX_NAME,
    NNUNET_SPLITS_NAME,
    SPLITS_NAME,
    SplitSet,
    read_splits,
    write_splits,
)

RUN_NAME = "splits_run.json"


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``femur_splits`` and return its exit code."""
    return run_command(build_parser(), _draw, argv)


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = make_parser(
        "femur_splits",
        "Draw folds over the training participants of a converted dataset: all visits and both hips of a person\n"
        "together, balanced by site, sex and age band. The locked test set stays as it is.",
        "femur_splits -d 501 --scheme kfold10 --cohorts all,women,men --seed 1", seed=0)
    add_dataset_id(parser)
    parser.add_argument("--raw", type=Path, metavar="DIR",
                        help="the folder nnUNet_raw (default: the environment variable nnUNet_raw)")
    parser.add_argument("--scheme", help="kfoldN with N of at least 2, or leave-site-out: each site with masks "
                        f"validates once (default: kfold{DEFAULT_FOLDS})")
    parser.add_argument("--cohorts", metavar="LIST",
                        help="list of all, women, men; folds are numbered in this order (default: all)")
    parser.add_argument("--allow-single-strata", action="store_true",
                        help="draw kfoldN also where a participant is the only one of its site and sex")
    parser.add_argument("--extend", action="store_true",
                        help="keep every participant in the present folds where it is and add the new ones")
    parser.add_argument("--drop-vanished", action="store_true",
                        help="with --extend: go on without participants that the dataset no longer has")
    return parser


def _draw(arguments: argparse.Namespace) -> CommandResult:
    if arguments.drop_vanished and not arguments.extend:
        raise UsageError("--drop-vanished without --extend", expected="both", action="add --extend, or leave it out")
    parse_scheme(arguments.scheme or f"kfold{DEFAULT_FOLDS}")
    parse_cohorts(arguments.cohorts or "all")
    dataset = find_dataset(arguments.raw or require_folder("nnUNet_raw"), arguments.dataset_id)
    run = RunRecord("femur_splits", {**vars(arguments), "raw": dataset.parent}, seed=arguments.seed, hide_paths=True)
    with hold_folder(dataset):
        run.add_inputs([dataset / SCANS_TABLE_NAME])
        records = read_scans_table(dataset / SCANS_TABLE_NAME)
        splits, lines = (_extended if arguments.extend else _drawn)(arguments, dataset, records)
        # Before anything is written: a mask that cannot be read must not leave new folds without their table.
        volumes = femur_volumes_ml(dataset, records, quiet=arguments.quiet)
        rows = balance_rows(records, splits, volumes)
        write_splits(dataset, splits)
        placed = _replace_placed_folds(dataset.name, splits)
        outputs = write_balance(dataset, rows)
        run.add_outputs([*(dataset / name for name in (SPLITS_NAME, INDEX_NAME, HASH_NAME)), *outputs,
                         *(path for path in [dataset / VOLUMES_NAME] if path.exists())])
        run.counts = {"folds": len(splits.folds), "test_cases": len(splits.test)}
        run.write(dataset, exit_code=0, name=RUN_NAME)
    largest = largest_difference(rows)
    where = " and beside the preprocessed data" if placed else "; femur_plan puts them beside the preprocessed data"
    lines = [*format_table(*shown(rows)), *lines, f"{dataset / SPLITS_NAME}: {len(splits.folds)} folds{where}"]
    return CommandResult(lines=lines, summary={
        "dataset": dataset.name, "folds": len(splits.folds), "sha256": splits.sha256,
        "largest_smd": None if math.isnan(largest) else round(largest, 4)})


def _drawn(arguments: argparse.Namespace, dataset: Path, records: list[ScanRecord]) -> tuple[SplitSet, list[str]]:
    cohorts, scheme = parse_cohorts(arguments.cohorts or "all"), arguments.scheme or f"kfold{DEFAULT_FOLDS}"
    splits = build_split_set(records, scheme=scheme, cohorts=cohorts, seed=arguments.seed)
    alone = alone_in_stratum(records, cohorts)
    if alone and scheme != LEAVE_SITE_OUT and not arguments.allow_single_strata:
        raise UsageError(f"{len(alone)} participant(s) alone of their site and sex: {some_of(alone)}",
                         expected="at least two labelled training participants of each site and sex",
                         action="convert more of them, correct site or sex in the manifest, or give "
                         "--allow-single-strata: such a participant then validates one fold and trains the others")
    return splits, []


def _extended(arguments: argparse.Namespace, dataset: Path, records: list[ScanRecord]) -> tuple[SplitSet, list[str]]:
    present = read_splits(dataset)
    scheme = str(present.index[0]["scheme"])
    cohorts = tuple(dict.fromkeys(str(entry["cohort"]) for entry in present.index))
    for option, asked, there in (("--scheme", arguments.scheme, scheme),
                                 ("--cohorts", arguments.cohorts and parse_cohorts(arguments.cohorts), cohorts)):
        if asked and asked != there:
            raise UsageError(f"{option} {asked} beside --extend", expected=f"{there}, as the present folds have it",
                             action=f"leave {option} out, or draw anew without --extend")
    extended = extend_split_set(records, present, seed=arguments.seed, drop_vanished=arguments.drop_vanished)
    return extended.splits, [f"{len(extended.joined)} participants joined, {len(extended.vanished)} left, all others "
                             "stay where they were"]


def _replace_placed_folds(dataset_name: str, splits: SplitSet) -> bool:
    """Replace splits_final.json where femur_plan has put it: nnU-Net would go on with the old folds."""
    root = os.environ.get("nnUNet_preprocessed")
    folder = Path(root) / dataset_name if root else None
    if folder is None or not (folder / NNUNET_SPLITS_NAME).is_file():
        return False
    write_splits(folder, splits, nnunet_name=True)
    return True
