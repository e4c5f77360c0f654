"""Every committed table of numbers stands on docs/results.md with where it came from."""

from __future__ import annotations

import csv
import re

import pytest
from markdown_pages import ROOT, Page

PAGE = Page(ROOT / "docs" / "results.md")
CASES_OF_A_RUN = {"site_gap_cases.csv"}
TABLES = sorted((ROOT / "benchmarks" / "results").glob("*.csv"))


def listed() -> dict[str, list[str]]:
    """Return the cells of the row that names each file."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")]
            for line in PAGE.text.split("## All tables")[1].split("\n## ")[0].splitlines() if line.startswith("| ")]
    return {name: cells for cells in rows for name in re.findall(r"`(\w+\.csv)`", cells[2])}


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.name)
def test_a_committed_table_is_listed_with_command_commit_and_date(path):
    assert path.name in listed(), f"add {path.name} to the tables of docs/results.md"
    _, figures, _, command, commit, date = listed()[path.name]
    assert re.match(r"\[.+\]\(.+\)", figures)
    assert re.fullmatch(r"`python benchmarks/\w+\.py`", command)
    assert re.fullmatch(r"2\d{3}-\d\d-\d\d( to \d\d)?", date)
    with path.open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    for row in rows:
        assert row["commit"].removesuffix("-dirty") in [word.removesuffix("-dirty") for word in commit.split(", ")]
        # The rows of single cases are those of a run whose command stands in its table of means.
        if "command" in row or path.name not in CASES_OF_A_RUN:
            assert row["command"].startswith(command.strip("`"))


def test_no_table_is_listed_that_is_not_there():
    assert set(listed()) == {path.name for path in TABLES}
