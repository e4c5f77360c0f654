"""The command ``convert_qct_sites``."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from femur_nnunet.argument_types import count
from femur_nnunet.calibration.scan_calibration import CALIBRATION_MODES
from femur_nnunet.command_line import CommandResult, add_dataset_id, format_table, make_parser, run_command
from femur_nnunet.dataset_conversion.conversion_options import ConversionOptions, parse_mask_labels
from femur_nnunet.dataset_conversion.convert import ConversionSummary, convert
from femur_nnunet.dataset_conversion.preflight.check import PAGE_NAME, check_sites
from femur_nnunet.dataset_conversion.preflight.findings import Verdict
from femur_nnunet.errors import FemurError

_EXAMPLE = ("convert_qct_sites --tulane /data/tulane --rochester /data/rochester --unlabelled-site rochester "
            "\\\n      --out /data/nnUNet_raw --dataset-id 501")


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``convert_qct_sites`` and return its exit code."""
    return run_command(build_parser(), _convert, argv)


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
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
    add_dataset_id(target, default=501)
    target.add_argument("--dataset-name", default="ProximalFemur", metavar="NAME",
                        help="name of the dataset (default: ProximalFemur)")
    target.add_argument("--prune", action="store_true",
                        help="remove cases of earlier runs whose rows the tables no longer have")
    target.add_argument("--check", action="store_true",
                        help="convert nothing: look at every scan and write preflight.html and preflight.csv with go, "
                        "look or stop, reason and mend, into DIR/preflight_N; exit code 1 if any scan is to be stopped")
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
    rules.add_argument("--resample-irregular", action="store_true",
                       help="bring unevenly spaced slices onto their finest spacing by linear interpolation, masks by "
                       "nearest neighbour (default: such a series is refused)")
    rules.add_argument("--correct-tilt", action="store_true",
                       help="bring slices sheared by gantry tilt onto a grid with right angles (default: refused)")
    rules.add_argument("--row-minutes", type=float, default=30.0, metavar="M",
                       help="give a row up after so many minutes (default: 30)")
    density = parser.add_argument_group("density")
    density.add_argument("--calibrate", choices=CALIBRATION_MODES, default="auto",
                         help="where slope and intercept come from; auto: the table's values, else the phantom's rods "
                         "found in the image; table: the table alone; rods: the rods alone; tissue: as auto, else the "
                         "patient's own air, fat and muscle (default: auto)")
    density.add_argument("--phantom-table", type=Path, metavar="FILE",
                         help="JSON table of further calibration phantoms (docs/calibration.md)")
    rules.add_argument("--strict", action="store_true", help="stop at the first failure")
    rules.add_argument("--key-file", type=Path, metavar="FILE",
                       help="secret key of the ids, made if it is not there (default: beside the dataset's folder)")
    rules.add_argument("--key-seed", type=count, metavar="N",
                       help="take the key from a number, for synthetic cohorts alone: it keeps nothing secret")
    rules.add_argument("--own-ids", type=Path, metavar="FILE",
                       help="your own ids in place of keyed hashes: a table with the columns site, participant_id, id; "
                       "an id is 1 to 8 of the digits 0-9 and a-f")
    rules.add_argument("--identifiable", action="store_true",
                       help="let messages quote cells of the tables, which may name patients")
    return parser


def _convert(arguments: argparse.Namespace) -> CommandResult:
    options = _options(arguments)
    if arguments.check:
        return _check(options)
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


def _check(options: ConversionOptions) -> CommandResult:
    summary = check_sites(options)
    lines = []
    for report in summary.reports:
        if report.verdict > Verdict.GO:
            names = " and ".join(report.case_ids) or "no case id"
            lines.append(f"{report.verdict.word:5} {report.source} row {report.number} ({names})")
            lines += [f"      {finding.verdict.word}: {finding.check}: {finding.reason}" for finding in report.findings
                      if finding.verdict > Verdict.GO]
    counts = ", ".join(f"{number} {word}" for word, number in summary.counts.items())
    return CommandResult(summary.exit_code, [
        *lines, f"{summary.folder / PAGE_NAME}: {counts}"], {
        "folder": summary.folder.name, "counts": summary.counts, "warnings": summary.warnings,
        "rows": [{"source": report.source, "manifest_row": report.number, "case_ids": report.case_ids,
                  "verdict": report.verdict.word,
                  "findings": [{"check": finding.check, "verdict": finding.verdict.word, "reason": finding.reason,
                                "mend": finding.mend} for finding in report.findings
                               if finding.verdict > Verdict.GO]} for report in summary.reports]})


def _options(arguments: argparse.Namespace) -> ConversionOptions:
    return ConversionOptions(
        out=arguments.out, dataset_id=arguments.dataset_id, dataset_name=arguments.dataset_name,
        tulane=arguments.tulane, rochester=arguments.rochester, manifest=arguments.manifest,
        unlabelled_sites=tuple(arguments.unlabelled_site),
        mask_labels=None if arguments.mask_labels is None else parse_mask_labels(arguments.mask_labels),
        keep_unlabelled_hip=arguments.keep_unlabelled_hip, keep_bilateral=arguments.keep_bilateral,
        strict=arguments.strict, prune=arguments.prune, test_fraction=arguments.test_fraction,
        calibrate=arguments.calibrate, phantom_table=arguments.phantom_table,
        key_file=arguments.key_file, key_seed=arguments.key_seed, jobs=arguments.jobs, seed=arguments.seed,
        quiet=arguments.quiet, identifiable=arguments.identifiable,
        resample_irregular=arguments.resample_irregular, correct_tilt=arguments.correct_tilt, own_ids=arguments.own_ids,
        isolated=True, row_limit_s=60 * arguments.row_minutes)


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
