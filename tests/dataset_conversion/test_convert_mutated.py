"""Damaged files in worker processes: each row is converted or refused with a reason, and the run comes to its end."""

from __future__ import annotations

import csv
import json
import multiprocessing
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from mutated_scans import SYNTHETIC, Builder, real_stack, write_mutated_rows
from real_data import real_data
from tiny_cohort import assert_only_complete_cases, convert_and_peak_mib, tiny_options

MEMORY_LIMIT_MIB = 1500
ROW_LIMIT_S = 60.0


def convert_mutated(folder: Path, builders: dict[str, Builder], n_rows: int, seed: int) -> dict[str, object]:
    """Convert mutated rows and check that each is listed; return what became of them."""
    table = write_mutated_rows(folder / "site", builders, n_rows, seed)
    before = {path: path.read_bytes() for path in (folder / "site").rglob("*") if path.is_file()}
    options = replace(tiny_options(table, folder / "raw"), jobs=2, isolated=True, row_limit_s=ROW_LIMIT_S)
    started = time.monotonic()

    # In a process of its own: the peak is then that of this run's workers and of no other test's processes.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
        exit_code, peak_mib = alone.submit(convert_and_peak_mib, options).result()

    seconds = time.monotonic() - started
    with (options.dataset_folder / "conversion_report.csv").open(encoding="utf-8", newline="") as handle:
        report = list(csv.DictReader(handle))
    status = {int(line["manifest_row"]): line["status"] for line in report}
    assert set(status) == set(range(2, n_rows + 2))
    assert set(status.values()) <= {"converted", "failed"}
    assert all(line["reason"].startswith("found ") for line in report if line["status"] == "failed")
    assert not [line for line in report if str(folder) in line["reason"]]
    assert_only_complete_cases(options.dataset_folder)
    assert {path: path.read_bytes() for path in (folder / "site").rglob("*") if path.is_file()} == before
    lost = [line["reason"].split(";")[0] for line in report
            if "worker process" in line["reason"] or "no end" in line["reason"]]
    defects = sorted({line["reason"].split(";")[0] for line in report if "defect of this program" in line["reason"]})
    assert not defects
    return {"rows": n_rows, "status": dict(Counter(status.values())), "lost workers": dict(Counter(lost)),
            "seconds": round(seconds), "peak MiB of a worker": round(peak_mib), "exit": exit_code}


def test_two_hundred_mutated_files_are_each_listed(tmp_path: Path) -> None:
    told = convert_mutated(tmp_path, SYNTHETIC, 200, seed=100)

    status = told["status"]
    assert isinstance(status, dict)
    assert min(status["converted"], status["failed"]) > 20
    assert told["peak MiB of a worker"] < MEMORY_LIMIT_MIB  # type: ignore[operator]


@pytest.mark.long
def test_two_thousand_mutated_headers_and_pixels_neither_hang_nor_crash_the_run(tmp_path: Path) -> None:
    folder = real_data("dicom", "one_slice_many_transfer_syntaxes")
    real = {path.name: real_stack(path) for path in sorted(folder.iterdir())}
    told = [convert_mutated(tmp_path / "synthetic", SYNTHETIC, 1600, seed=101),
            convert_mutated(tmp_path / "real", real, 400, seed=102)]

    print(json.dumps(told))
    for part in told:
        assert part["peak MiB of a worker"] < MEMORY_LIMIT_MIB  # type: ignore[operator]
