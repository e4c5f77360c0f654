"""The command ``convert_qct_sites``."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from femur_nnunet.command_line import CommandResult, format_table, make_parser, run_command
from femur_nnunet.dataset_conversion.conversion_options import ConversionOptions, parse_mask_labels
from femur_nnunet.dataset_conversion.convert import ConversionSummary, convert
from femur_nnunet.errors import FemurError

_EXAMPLE = ("convert_qct_sites --tulane /data/tulane --rochester /data/rochester --unlabelled-site rochester "
            "\\\n      --out /data/nnUNet_raw --dataset-id 501")


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``convert_qct_sites`` and return its exit code."""
    return run_command(_parser(), _convert, argv)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "convert_qct_sites",
        "Convert QCT scans of several hospitals into one nnU-Net dataset: one hip a case, all of them like left "
        "hips,\nwith a cohort table, a locked test set and folds. The same command goes on after an interruption.",
        _EXAMPLE, out="the folder nnUNet_raw", jobs=True, seed=0)
    sources = parser.add_argument_group("sources (at least one)")
    sources.add_argument("--tulane", type=Path, metavar="DIR", help="folder of the site tulane, with its metadata.csv")
    sources.add_argument("--rochester", type=Path, metavar="DIR",
                         help="folder of the site rochester, with its metadata.csv")
    sources.add_argument("--manifest", type=Path, metavar="FILE",
                         help="CSV or TSV with the columns site, participant_id, image, ... of any sites")
    target = parser.add_argument_group("dataset")
    target.add_argument("--dataset-id", type=int, default=501, metavar="N", help="number of the dataset (default: 501)")
    target.add_argument("--dataset-name", default="ProximalFemur", metavar="NAME",
                        help="name of the dataset (default: ProximalFemur)")
    target.add_argument("--prune", action="store_true",
                        help="remove cases of earlier runs whose rows the tables no longer have")
    masks = parser.add_argument_group("masks and hips")
    masks.add_argument("--unlabelled-site", action="append", default=[], metavar="SITE",
                       help="treat the site's masks as absent in training; they serve its test scans (may be repeated)")
    masks.add_argument("--mask-labels", metavar="MEANINGS",
                       help="meaning of the masks' values: left, right, femur, background, as in left=1,right=2")
    masks.add_argument("--keep-unlabelled-hip", action="store_true",
                       help="keep a hip without a mask in a scan with one, as an unlabelled case")
    masks.add_argument("--keep-bilateral", action="store_true",
                       help="write whole scans (left = 1, right = 2) in place of one case a hip")
    rules = parser.add_argument_group("rules")
    rules.add_argument("--test-fraction", type=float, default=0.1, metavar="F",
                       help="share of participants drawn into the locked test set where the table gives no role "
                       "(default: 0.1)")
    rules.add_argument("--strict", action="store_true", help="stop at the first failure")
    rules.add_argument("--key-file", type=Path, metavar="FILE",
                       help="secret key of the ids, made if it is not there (default: beside the dataset's folder)")
    rules.add_argument("--key-seed", type=int, metavar="N",
                       help="take the key from a number, for synthetic cohorts alone: it keeps nothing secret")
    rules.add_argument("--identifiable", action="store_true",
                       help="let messages quote cells of the tables, which may name patients")
    return parser


def _convert(arguments: argparse.Namespace) -> CommandResult:
    options = _options(arguments)
    try:
        summary = convert(options)
    except OSError as error:
        # The rows' own failures never come here: this is the target, the key or the map of ids.
        raise FemurError(f"a failure to read or write ({error.strerror or type(error).__name__})",
                         expected="a target folder, a key file and a map of ids that can be written, and room on "
                         "their disk", action="mend it and run the same command again") from None
    return CommandResult(summary.exit_code, _lines(summary), {
        "dataset": summary.dataset_folder.name, "cases": len(summary.records), "counts": summary.counts,
        "errors": summary.errors, "warnings": summary.warnings})


def _options(arguments: argparse.Namespace) -> ConversionOptions:
    return ConversionOptions(
        out=arguments.out, dataset_id=arguments.dataset_id, dataset_name=arguments.dataset_name,
        tulane=arguments.tulane, rochester=arguments.rochester, manifest=arguments.manifest,
        unlabelled_sites=tuple(arguments.unlabelled_site),
        mask_labels=None if arguments.mask_labels is None else parse_mask_labels(arguments.mask_labels),
        keep_unlabelled_hip=arguments.keep_unlabelled_hip, keep_bilateral=arguments.keep_bilateral,
        strict=arguments.strict, prune=arguments.prune, test_fraction=arguments.test_fraction,
        key_file=arguments.key_file, key_seed=arguments.key_seed, jobs=arguments.jobs, seed=arguments.seed,
        quiet=arguments.quiet, identifiable=arguments.identifiable)


def _lines(summary: ConversionSummary) -> list[str]:
    kinds = Counter((record.site, record.role, record.labelled) for record in summary.records)
    persons = {site: len({record.participant_id for record in summary.records if record.site == site})
               for site in sorted({record.site for record in summary.records})}
    rows = [[site, count, *(kinds[site, role, labelled] for role in ("train", "test") for labelled in (True, False))]
            for site, count in persons.items()]
    table = format_table(["site", "participants", "train labelled", "train unlabelled", "test labelled",
                          "test unlabelled"], rows)
    counts = ", ".join(f"{number} {status}" for status, number in summary.counts.items())
    return [*(table if rows else []), f"{summary.dataset_folder}: {counts or 'nothing'} (conversion_report.csv)"]
