"""The preflight page: one HTML file that needs no network and prints well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from femur_nnunet._version import __version__
from femur_nnunet.dataset_conversion.preflight.findings import Verdict
from femur_nnunet.dataset_conversion.preflight.scan_check import ScanReport
from femur_nnunet.files import write_text
from femur_nnunet.html_report.rendering import render


def write_page(path: Path, reports: Sequence[ScanReport], counts: Mapping[str, int], warnings: Sequence[str]) -> None:
    """Write the page, readable by its owner alone since it holds pictures of patients.

    Parameters
    ----------
    path : Path
        The file.
    reports : sequence of ScanReport
        Worst first.
    counts : mapping
        Number of rows by verdict.
    warnings : sequence of str
        Remarks on the tables.
    """
    write_text(path, render("preflight.html", reports=reports, counts=counts, warnings=warnings, go=Verdict.GO,
                            version=__version__), private=True)
