from __future__ import annotations

from pathlib import Path

import pytest

from femur_nnunet.evaluation.agreement import AGREEMENT_COLUMNS
from femur_nnunet.evaluation.case_status import STATUS_RULES
from femur_nnunet.evaluation.metric_catalogue import METRIC_NAMES, METRICS_SCHEMA

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_every_metric_is_defined_on_the_page(name):
    assert f"`{name}`" in PAGE


def test_every_status_stands_on_the_page_with_what_it_does():
    for status, rule in STATUS_RULES.items():
        (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{status.value}` |")]
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[2:] == [rule.outcome.value.replace("_", " "), "yes" if rule.counts_as_missed else "",
                             "yes" if rule.is_failure else ""], status


def test_every_statistic_of_agreement_is_defined_on_the_page():
    statistics = [column for column in AGREEMENT_COLUMNS[7:] if "_ci95_" not in column]
    assert all(f"`{column}`" in PAGE for column in statistics)


def test_the_page_names_the_version_of_its_definitions():
    assert f"(now {METRICS_SCHEMA})" in PAGE
