"""docs/file_formats.md names the columns that the code writes, each once and in its order."""

from __future__ import annotations

import ast
import re
from dataclasses import fields

import pytest
from file_columns import PAGE, documented
from markdown_pages import ROOT

from femur_nnunet.cohort import SCAN_COLUMNS
from femur_nnunet.dataset_conversion.preflight import check as preflight
from femur_nnunet.dataset_conversion.private_files import ID_MAP_COLUMNS
from femur_nnunet.dataset_conversion.report import ReportLine
from femur_nnunet.drivers.probe import ProbeRow
from femur_nnunet.drivers.study import fold_table, study_table
from femur_nnunet.evaluation.agreement import AGREEMENT_COLUMNS
from femur_nnunet.evaluation.case_table import CASE_COLUMNS
from femur_nnunet.evaluation.compare_table import COMPARE_COLUMNS
from femur_nnunet.evaluation.density.density_row import DENSITY_COLUMNS
from femur_nnunet.evaluation.gap_table import GAP_COLUMNS
from femur_nnunet.evaluation.metric_catalogue import METRIC_NAMES
from femur_nnunet.evaluation.site_table import SITE_COLUMNS
from femur_nnunet.evaluation.texture.radiomics_agreement import SUMMARY_COLUMNS
from femur_nnunet.evaluation.texture.radiomics_row import RADIOMICS_COLUMNS

# The page says of a family of columns in words what they are called.
WRITTEN = {
    "scans.tsv": SCAN_COLUMNS,
    "conversion_report.csv": [item.name for item in fields(ReportLine)],
    "preflight.csv": preflight.FOUND_COLUMNS,
    "femur_id_map_N.tsv": ID_MAP_COLUMNS,
    "cases.csv": [name for name in CASE_COLUMNS if name not in METRIC_NAMES],
    "sites.csv": SITE_COLUMNS,
    "gap.csv": GAP_COLUMNS,
    "compare.csv": COMPARE_COLUMNS,
    "agreement.csv": [name for name in AGREEMENT_COLUMNS if "_ci95_" not in name],
    "density.csv": DENSITY_COLUMNS,
    "radiomics.csv": RADIOMICS_COLUMNS,
    "radiomics_summary.csv": SUMMARY_COLUMNS,
    "probe.csv": [item.name for item in fields(ProbeRow)],
    "folds.csv": [name for name in fold_table.FOLD_COLUMNS if name not in fold_table._VALUES],
    "grid.csv": fold_table.GRID_COLUMNS,
    "study.csv": [name for name in study_table.STUDY_COLUMNS if not name.endswith(("_mean", "_sd"))],
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_table_has_the_columns_that_the_page_names(name):
    assert documented(name) == list(WRITTEN[name])


def test_the_log_of_adaptation_has_the_columns_that_the_page_names():
    # Read from the source: importing the trainers would bring torch.
    tree = ast.parse((ROOT / "trainers" / "adaptation_log.py").read_text(encoding="utf-8"))
    (columns,) = [node.value for node in tree.body if isinstance(node, ast.Assign)
                  and getattr(node.targets[0], "id", "") == "COLUMNS"]
    assert documented("adaptation.csv") == list(ast.literal_eval(columns))


def test_every_section_is_a_table_of_somebody():
    assert set(re.findall(r"^## (\S+)$", PAGE.text, re.MULTILINE)) == {
        *WRITTEN, "adaptation.csv", "participants.tsv", "balance.csv"}
