"""Time and memory of rendering one scan with everything, by size.

    python benchmarks/render_speed.py

Wall and processor seconds are medians of the rounds in a fresh process with one thread; the processor's time is what
counts on a machine that others use. Peak memory is the process's resident maximum, imports included.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench_support import RESULTS, publish

from femur_nnunet.phantom.cohort_plan import CohortSpec, plan_scans
from femur_nnunet.phantom.cohort_writing import render_planned
from femur_nnunet.phantom.scan_grid import SCAN_SIZES


def measure(size: str, runs: int) -> dict[str, object]:
    """Render the first scan of a cohort ``runs`` times in this process."""
    spec = CohortSpec(size=size, seed=100)
    scan = plan_scans(spec)[0]
    wall, processor = [], []
    shape: tuple[int, ...] = ()
    for _ in range(runs):
        started, cpu = time.perf_counter(), time.process_time()
        shape = render_planned(spec, scan).hu.shape
        wall.append(time.perf_counter() - started)
        processor.append(time.process_time() - cpu)
    return {"size": size, "voxels": " x ".join(str(count) for count in shape[::-1]), "runs": runs,
            "cpu_seconds": round(statistics.median(processor), 2), "cpu_seconds_least": round(min(processor), 2),
            "wall_seconds": round(statistics.median(wall), 2),
            "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)}


def main() -> None:
    """Measure every size in a process of its own and publish the table."""
    parser = argparse.ArgumentParser(description="Time and memory of rendering a synthetic scan.")
    parser.add_argument("--runs", type=int, default=5, help="rounds a size (default: 5)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the CSV")
    parser.add_argument("--measure", choices=sorted(SCAN_SIZES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.runs)))
        return
    rows = []
    for size in SCAN_SIZES:
        done = subprocess.run([sys.executable, __file__, "--measure", size, "--runs", str(arguments.runs)], check=True,
                              capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        rows.append(json.loads(done.stdout))
    publish("render_speed.csv", rows, arguments.out)


if __name__ == "__main__":
    main()
