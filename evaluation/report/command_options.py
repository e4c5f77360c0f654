"""The options of ``femur_eval`` that ask for pages, and what they do; figures are loaded only when asked for."""

from __future__ import annotations

import argparse
from pathlib import Path

from femur_nnunet.errors import UsageError
from femur_nnunet.evaluation.report.picture_sources import PictureSources, sources_of_run
from femur_nnunet.evaluation.report.result_tables import read_result
from femur_nnunet.files import hold_folder


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--report``, ``--methods``, ``--training`` and ``--report-only``."""
    pages = parser.add_argument_group("pages, made from the tables")
    pages.add_argument("--report", action="store_true",
                       help="also write report.html: summary, tables and figures in one file for any browser")
    pages.add_argument("--methods", action="store_true",
                       help="also write methods.md: a methods paragraph, with references, of what was run")
    pages.add_argument("--training", type=Path, nargs="+", default=[], metavar="DIR",
                       help="folders of trained folds or arms (adaptation.csv) and of femur_probe (probe.csv) for "
                            "both pages")
    pages.add_argument("--report-only", action="store_true",
                       help="evaluate nothing: make report.html anew from the tables in --out; PRED, REF, --compare, "
                            "--references and --images name the pictures' folders anew where they have moved")


def write_pages(arguments: argparse.Namespace) -> dict[str, Path]:
    """Write the pages that were asked for into ``--out`` and return their paths by name.

    Raises
    ------
    UsageError
        ``--out`` holds no result, or PRED is given for a result of several arms.
    FemurError
        A table is broken.
    """
    files: dict[str, Path] = {}
    if arguments.report or arguments.report_only:
        # Imported here: matplotlib takes as long to load as a small evaluation.
        from femur_nnunet.evaluation.report.page import ReportOptions, write_report

        with hold_folder(arguments.out):
            path = write_report(arguments.out, ReportOptions(
                named_sources(arguments), arguments.training, arguments.jobs, arguments.quiet))
        files[path.name] = path
    if arguments.methods:
        from femur_nnunet.evaluation.report.methods_text import write_methods

        path = write_methods(arguments.out, read_result(arguments.out), arguments.training)
        files[path.name] = path
    return files


def named_sources(arguments: argparse.Namespace) -> PictureSources:
    """Return the folders that the command line names; run.json tells those that it does not.

    Raises
    ------
    UsageError
        One folder of predictions for a result of several arms.
    """
    arms = dict(arguments.compare or ())
    if arguments.predictions is not None:
        known = read_result(arguments.out).arms
        if len(known) != 1:
            raise UsageError(f"one folder of predictions for a result of {len(known)} arms", expected="a folder an arm",
                             action="name them with --compare ARM=DIR ...", subject=str(arguments.out))
        arms = {known[0]: arguments.predictions}
    references = arguments.references or arguments.common_references
    given = {"arms": {arm: str(path) for arm, path in arms.items()},
             "references": str(references) if references else None,
             "images": str(arguments.images) if arguments.images else None}
    return sources_of_run(arguments.out, {"arguments": given})
