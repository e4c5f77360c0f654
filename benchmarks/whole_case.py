"""Time and memory of a whole case, from its two files to its row of cases.csv, beside reading the files alone.

    python benchmarks/whole_case.py

Masks of 512 x 512 x 200 voxels (0.7 x 0.7 x 1.0 mm) in .nii.gz, every column of cases.csv. "Reading alone" is
SimpleITK's ReadImage of both files, without any check. One thread each, in turn, medians of the rounds. Peak memory is
that of a fresh process, so that it is what one worker of ``femur_eval --jobs`` takes.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import SimpleITK as sitk
from bench_support import RESULTS, disturbed, femur, interleaved, median_ratio, one_thread, publish, write_mask

from femur_nnunet.cohort import ScanRecord
from femur_nnunet.evaluation.case_evaluation import CaseJob, evaluate_case

CASE_ID = "tulane_0000000a_v01_l"
PARTS = ("imports", "reading alone", "whole case")


def run_part(part: str, paths: list[Path]) -> None:
    """Do one of ``PARTS``."""
    if part == "reading alone":
        for image in [sitk.ReadImage(str(path)) for path in paths]:
            image.GetSize()
    elif part == "whole case":
        record = ScanRecord(CASE_ID, "sub-0000000a", "tulane", 1, "left", False, True, "test")
        (row,) = evaluate_case(CaseJob(CASE_ID, record, paths[:1], paths[1:], arm="benchmark"))
        assert row.status.value == "ok"


def peak_mib(part: str, paths: list[Path]) -> float:
    """Peak resident memory of a fresh process that does one part."""
    command = [sys.executable, __file__, "--measure", part, *(str(path) for path in paths)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def own_peak_mib() -> float:
    """Peak resident memory of this process."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Linux's getrusage begins with the peak of the process that started this one; the high-water mark does not.
        (line,) = [line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 1024
    # macOS counts in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)


def measure_cases(runs: int) -> list[dict[str, object]]:
    """Rows of the table: each part on a good prediction and on one with far islands."""
    reference = femur()
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("reference.nii.gz", "prediction.nii.gz")]
        write_mask(paths[0], reference)
        for kind in ("good", "islands"):
            write_mask(paths[1], disturbed(reference, kind))
            seconds = interleaved({"reading alone": lambda: run_part("reading alone", paths),
                                   "whole case": lambda: run_part("whole case", paths)}, runs)
            for part in PARTS:
                timed = seconds.get(part)
                rows.append({
                    "prediction": kind, "part": part, "runs": runs,
                    "seconds": round(statistics.median(timed), 3) if timed else "n/a",
                    "times_reading": round(median_ratio(timed, seconds["reading alone"]), 2) if timed else "n/a",
                    "peak_mib": round(peak_mib(part, paths))})
    return rows


def main() -> None:
    """Print the table and write it as CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the CSV (default: benchmarks/results)")
    parser.add_argument("--runs", type=int, default=5, help="rounds (default: 5)")
    parser.add_argument("--measure", nargs=3, metavar=("PART", "REFERENCE", "PREDICTION"),
                        help="do one part and print this process's peak memory in MiB")
    options = parser.parse_args()
    with one_thread():
        if options.measure:
            run_part(options.measure[0], [Path(text) for text in options.measure[1:]])
            print(own_peak_mib())
            return
        publish("whole_case.csv", measure_cases(options.runs), options.out)


if __name__ == "__main__":
    main()
