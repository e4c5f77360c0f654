"""``femur_eval``: predictions and references in, tables of metrics out."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from femur_nnunet.argument_types import count, positive_number
from femur_nnunet.command_line import CommandResult, make_parser, run_command
from femur_nnunet.errors import UsageError
from femur_nnunet.evaluation.bootstrap import DEFAULT_RESAMPLES
from femur_nnunet.evaluation.compare import DEFAULT_BASES, DEFAULT_ORACLE, CompareOptions, compare
from femur_nnunet.evaluation.density.significant_change import parse_override
from femur_nnunet.evaluation.evaluate import EvaluationSummary, evaluate
from femur_nnunet.evaluation.fe_export.options import DEFAULT_SPACING_MM, FeExportOptions
from femur_nnunet.evaluation.options import DEFAULT_ARM, EvaluationOptions, StatisticsOptions
from femur_nnunet.evaluation.report.command_options import add_report_options, write_pages
from femur_nnunet.evaluation.site_table import SiteRow
from femur_nnunet.evaluation.texture.command_options import add_texture_options, texture_options

_DESCRIPTION = ("Compare predicted with reference masks and write cases.csv, sites.csv, gap.csv, agreement.csv and\n"
                "run.json; with --compare also compare.csv, with --report report.html. Distances are in mm; the unit\n"
                "of statistics is the participant.")
_EXAMPLE = ("femur_eval predictions labelsTs --scans nnUNet_raw/Dataset501_ProximalFemur/scans.tsv --out evaluation")


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``femur_eval`` and return its exit code."""
    return run_command(build_parser(), _body, argv)


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = make_parser("femur_eval", _DESCRIPTION, _EXAMPLE, out="folder for the tables", jobs=True, seed=0)
    parser.add_argument("predictions", type=Path, metavar="PRED", nargs="?",
                        help="folder of predictions named <case_id>.nii.gz (also .nii, .mha, .nrrd; DICOM-SEG as "
                             "<case_id>.dcm or a folder <case_id>)")
    parser.add_argument("references", type=Path, metavar="REF", nargs="?", help="folder of references named likewise")
    parser.add_argument("--scans", type=Path, metavar="TSV",
                        help="the cohort's scans.tsv (needed unless --report-only)")
    parser.add_argument("--role", choices=("test", "train", "all"), default="test",
                        help="which scans are evaluated; train is for validation predictions of cross-validation "
                             "(default: test)")
    parser.add_argument("--source-site", nargs="+", default=[], metavar="SITE",
                        help="sites whose labels were trained on (default: sites of labelled training rows)")
    parser.add_argument("--bootstrap", type=count, default=DEFAULT_RESAMPLES, metavar="N",
                        help=f"bootstrap resamples over participants (default: {DEFAULT_RESAMPLES})")
    parser.add_argument("--tost-margin-ml", type=positive_number, metavar="ML",
                        help="margin of the equivalence test of volumes")
    parser.add_argument("--images", type=Path, metavar="DIR",
                        help="folder of the scans, <case_id>_0000.nii.gz or <case_id>.nii.gz: adds the tables that "
                             "need them")
    parser.add_argument("--lsc", type=_lsc, nargs="+", default=[], metavar="QUANTITY[:REGION]=PERCENT",
                        help="least significant changes for the equivalence tests of densities (default: "
                             "docs/density.md)")

    one = parser.add_argument_group("one arm")
    one.add_argument("--arm", default=DEFAULT_ARM, help=f"name of the model in the tables (default: {DEFAULT_ARM})")
    one.add_argument("--fold", help="fold of the model, written into cases.csv")
    one.add_argument("--tier-hash", metavar="SHA256",
                     help="hash of the synthetic tier that the cases were made with, written into cases.csv")

    add_texture_options(parser)
    parser.add_argument("--fe-export", type=Path, metavar="DIR",
                        help="write each predicted femur for finite elements: mask, regions, density map and closed "
                             "surface on an isotropic grid (needs --images; docs/density.md)")
    parser.add_argument("--fe-spacing", type=positive_number, default=DEFAULT_SPACING_MM, metavar="MM",
                        help=f"spacing of that grid (default: {DEFAULT_SPACING_MM:g})")

    several = parser.add_argument_group("several arms, in place of PRED and REF")
    several.add_argument("--compare", type=_arm, nargs="+", metavar="ARM=DIR",
                         help="arms with their folders: results of femur_eval, or predictions")
    several.add_argument("--references", type=Path, metavar="REF", dest="common_references",
                         help="folder of references, where a folder of --compare holds predictions")
    several.add_argument("--base", nargs="+", default=list(DEFAULT_BASES), metavar="ARM",
                         help=f"arms that gap closed is given against (default: {' '.join(DEFAULT_BASES)})")
    several.add_argument("--oracle", default=DEFAULT_ORACLE, metavar="ARM",
                         help=f"arm trained with the target's labels (default: {DEFAULT_ORACLE})")
    add_report_options(parser)
    return parser


def _body(arguments: argparse.Namespace) -> CommandResult:
    if arguments.report_only:
        pages = {name: str(path) for name, path in write_pages(arguments).items()}
        return CommandResult(lines=[f"pages: {', '.join(pages.values())}"], summary={"files": pages})
    if arguments.scans is None:
        raise UsageError("no --scans", expected="the cohort's scans.tsv", action="name it with --scans")
    statistics = StatisticsOptions(arguments.bootstrap, arguments.seed, tuple(arguments.source_site),
                                   arguments.tost_margin_ml, dict(arguments.lsc))
    if arguments.compare:
        summary = _compare(arguments, statistics)
    elif arguments.predictions is None or arguments.references is None:
        raise UsageError("no folder of predictions and no --compare", expected="PRED and REF, or --compare ARM=DIR ...",
                         action="see femur_eval --help")
    else:
        summary = evaluate(EvaluationOptions(
            predictions=arguments.predictions, references=arguments.references, scans=arguments.scans,
            out=arguments.out, arm=arguments.arm, fold=arguments.fold, role=arguments.role, statistics=statistics,
            tier_hash=arguments.tier_hash, jobs=arguments.jobs, quiet=arguments.quiet, images=arguments.images,
            texture=texture_options(arguments), fe_export=_fe_export(arguments)))
    summary.files.update(write_pages(arguments))
    return CommandResult(summary.exit_code, _lines(summary), _json(summary))


def _fe_export(arguments: argparse.Namespace) -> FeExportOptions | None:
    if arguments.fe_export is None:
        return None
    if arguments.images is None:
        raise UsageError("--fe-export without --images", expected="the folder of the scans beside it",
                         action="add --images")
    return FeExportOptions(arguments.fe_export, arguments.fe_spacing)


def _compare(arguments: argparse.Namespace, statistics: StatisticsOptions) -> EvaluationSummary:
    if arguments.predictions is not None:
        raise UsageError("both PRED and --compare", expected="one of them",
                         action="name the references of --compare with --references")
    if arguments.fe_export is not None:
        raise UsageError("--fe-export with --compare", expected="the export of one arm",
                         action="evaluate that arm alone with --fe-export")
    arms = dict(arguments.compare)
    if len(arms) < len(arguments.compare):
        raise UsageError("an arm named twice", expected="one folder an arm", action="give each arm its own name")
    summary, _ = compare(CompareOptions(
        arms=arms, references=arguments.common_references, scans=arguments.scans, out=arguments.out,
        bases=tuple(arguments.base), oracle=arguments.oracle, role=arguments.role, statistics=statistics,
        jobs=arguments.jobs, quiet=arguments.quiet, images=arguments.images, texture=texture_options(arguments)))
    return summary


def _lines(summary: EvaluationSummary) -> list[str]:
    counts = ", ".join(f"{count} {status}" for status, count in summary.status_counts.items())
    return [*summary.table_lines(), "n: participants with a value (mean ± SD over participants); n_missed: "
            "participants with a missed hip", f"rows: {counts}",
            f"files: {', '.join(str(path) for path in summary.files.values())}"]


def _json(summary: EvaluationSummary) -> dict[str, Any]:
    shown = [site for site in summary.sites if site.sex == "all" and site.metric in ("dice", "hd95_mm", "assd_mm")]
    return {"rows": len(summary.rows), "status": summary.status_counts,
            "files": {name: str(path) for name, path in summary.files.items()},
            "sites": [_site(site) for site in shown]}


def _site(site: SiteRow) -> dict[str, Any]:
    values = {"arm": site.arm, "site": site.site, "metric": site.metric, "n": site.n, "n_missed": site.n_missed,
              "mean": site.mean, "sd": site.sd, "ci95_low": site.ci95_low, "ci95_high": site.ci95_high}
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in values.items()}


def _arm(text: str) -> tuple[str, Path]:
    name, separator, folder = text.partition("=")
    if not (name and separator and folder):
        raise argparse.ArgumentTypeError(f"needs ARM=DIR; got {text!r}")
    return name, Path(folder)


def _lsc(text: str) -> tuple[str, float]:
    try:
        return parse_override(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
