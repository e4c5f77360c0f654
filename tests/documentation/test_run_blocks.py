"""Blocks of a page that are tagged ``run`` are run, those tagged ``run long`` too where time does not matter."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from file_columns import documented
from markdown_pages import ROOT, Page, all_pages

from femur_nnunet.cohort import read_scans_table

FIRST, THIRD = Page(ROOT / "docs" / "get_started.md"), Page(ROOT / "docs" / "howto_third_site.md")


def run_blocks(page: Page, folder: Path, *, long: bool = False) -> None:
    """Run a page's tagged blocks as one script, in the folder that its reader would be in."""
    wanted = [("run",), *([("run", "long")] if long else [])]
    script = "\n".join(block.text for block in page.code_blocks if block.tags in wanted)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("nnUNet_", "PYTHONPATH"))}
    environment |= {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
                    "OMP_NUM_THREADS": "1"}
    done = subprocess.run(["bash", "-e", "-u", "-o", "pipefail"], input=script, cwd=folder, env=environment, text=True,
                          capture_output=True, check=False)
    assert done.returncode == 0, f"{page.name} in {folder}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def pages_with(*tags: str) -> list[Page]:
    return [page for page in all_pages() if page.path != FIRST.path
            and any(block.tags == tags for block in page.code_blocks)]


@pytest.fixture(scope="module")
def first_run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("reader")
    run_blocks(FIRST, folder)
    return folder


@pytest.fixture(scope="module")
def third_site(first_run) -> Path:
    run_blocks(THIRD, first_run)
    return first_run


def cases(folder: Path, dataset: str) -> Counter[tuple[str, str, bool]]:
    records = read_scans_table(folder / "study" / "nnUNet_raw" / dataset / "scans.tsv")
    return Counter((record.site, record.role, record.labelled) for record in records)


def test_the_first_run_makes_the_dataset_that_it_speaks_of(first_run):
    # Three and two scans of both hips, one participant of each site in the test set; Rochester's training masks unused.
    assert cases(first_run, "Dataset501_ProximalFemur") == {
        ("tulane", "train", True): 4, ("tulane", "test", True): 2,
        ("rochester", "train", False): 2, ("rochester", "test", True): 2}


def test_no_other_page_has_quick_blocks():
    assert [page.name for page in pages_with("run")] == [THIRD.name], "run them here too"


def test_a_third_site_is_in_the_dataset_of_its_page(third_site):
    assert cases(third_site, "Dataset503_ProximalFemur") == {
        ("tulane", "train", True): 2, ("lyon", "train", True): 2, ("rochester", "train", False): 2}


@pytest.mark.long
def test_the_long_blocks_run_behind_the_first_run(tmp_path):
    run_blocks(FIRST, tmp_path, long=True)
    assert (tmp_path / "evaluation" / "report.html").is_file()
    assert pages_with("run", "long")
    for page in pages_with("run", "long"):
        run_blocks(page, tmp_path, long=True)


def test_tags_of_blocks_are_run_and_long_alone():
    tags = {block.tags for page in all_pages() for block in page.code_blocks}
    assert tags <= {(), ("run",), ("run", "long")}
    assert ("run",) in tags


@pytest.mark.parametrize(("name", "separator"), [("participants.tsv", "\t"), ("conversion_report.csv", ","),
                                                 ("balance.csv", ",")])
def test_files_of_the_run_have_the_columns_of_their_page(name, separator, third_site):
    dataset = third_site / "study" / "nnUNet_raw" / "Dataset501_ProximalFemur"
    if name == "balance.csv":
        # Written by femur_splits, which the third site's page runs.
        dataset = dataset.with_name("Dataset503_ProximalFemur")
    header = (dataset / name).read_text(encoding="utf-8").splitlines()[0].split(separator)
    assert [column for column in header if not column.startswith("n_")] == documented(name)
