"""Time, memory and disk of a cohort of the real shape: written, converted and planned, at growing numbers of scans.

    python benchmarks/cohort_scale.py --scans 88 352 1408

The largest is the two studies' size: 1,024 scans of one site and 384 of the other. Each step is the command that a user
types, on all processors. Processor time includes all workers and does not grow with other work on the machine, as wall
time does. Peak memory is the sum over the command and its workers, looked at four times a second. Growth is linear if
the processor seconds a scan stay equal. Cohorts are removed again unless ``--keep`` names a folder.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from bench_support import RESULTS, publish

from femur_nnunet.env_command import nnunet_environment

SHARE_TULANE = 1024 / 1408
_LOOK_EVERY_S = 0.25


def tree_mib(root_pid: int) -> float:
    """Memory of a process and its descendants in MiB, shared pages counted once (Linux alone)."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    total, waiting = 0.0, [root_pid]
    while waiting:
        pid = waiting.pop()
        waiting += children.get(pid, [])
        try:
            status = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
        except OSError:
            continue
        # Forked workers share pages: each is counted in proportion.
        total += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("Pss:")) / 1024
    return total


def run_measured(command: list[str], environment: dict[str, str]) -> tuple[float, float, float]:
    """Run a command and return its wall seconds, processor seconds and peak memory in MiB."""
    started, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen([str(Path(sys.executable).parent / command[0]), *command[1:]],
                                   env={**os.environ, **environment}, stdout=output, stderr=subprocess.STDOUT)
        peak = 0.0
        finished = threading.Event()

        def look() -> None:
            nonlocal peak
            while not finished.wait(_LOOK_EVERY_S):
                peak = max(peak, tree_mib(process.pid))

        watcher = threading.Thread(target=look)
        watcher.start()
        code = process.wait()
        finished.set()
        watcher.join()
        if code:
            output.seek(0)
            raise SystemExit(f"{command[0]} ended with {code}:\n{output.read()[-3000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime - used.ru_utime + after.ru_stime - used.ru_stime
    return time.perf_counter() - started, processor, peak


def folder_mib(folder: Path) -> float:
    """Size of all files of a folder in MiB."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20


def measure_scans(scans: int, size: str, folder: Path, jobs: int) -> list[dict[str, object]]:
    """Write, convert and plan one cohort; a row for each step and one for all of them."""
    tulane = round(scans * SHARE_TULANE)
    sites, raw = folder / "sites", folder / "nnUNet_raw"
    environment = nnunet_environment(folder)
    common = ["--jobs", str(jobs), "--quiet"]
    steps = {
        "phantom": (["femur_phantom", "--out", str(sites), "--preset", "dual-site", "--n", str(tulane),
                     str(scans - tulane), "--size", size, "--seed", "1", *common], sites),
        "convert": (["convert_qct_sites", "--tulane", str(sites / "tulane"), "--rochester", str(sites / "rochester"),
                     "--out", str(raw), "--dataset-id", "501", "--unlabelled-site", "rochester", "--key-seed", "1",
                     *common], raw),
        "plan": (["femur_plan", "-d", "501", "--preset", "cpu", *common], folder / "nnUNet_preprocessed"),
    }
    measured = {}
    for step, (command, made) in steps.items():
        measured[step] = (*run_measured(command, environment), folder_mib(made))
    seconds, processor, peaks, disk = zip(*measured.values(), strict=True)
    measured["all"] = (sum(seconds), sum(processor), max(peaks), sum(disk))
    return [{"scans": scans, "size": size, "jobs": jobs, "step": step, "seconds": round(wall, 1),
             "processor_seconds": round(used, 1), "processor_seconds_a_scan": round(used / scans, 3),
             "peak_mib": round(peak), "disk_mib": round(mib)}
            for step, (wall, used, peak, mib) in measured.items()]


def main() -> None:
    """Print the table and write it as CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the CSV (default: benchmarks/results)")
    parser.add_argument("--scans", type=int, nargs="+", default=[88, 352, 1408], help="numbers of scans")
    parser.add_argument("--size", default="small", help="size of the scans (default: small)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a processor)")
    parser.add_argument("--keep", type=Path, help="folder in which the cohorts are left")
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    for scans in options.scans:
        folder = (options.keep or Path(tempfile.mkdtemp())) / f"scans_{scans}"
        try:
            rows += measure_scans(scans, options.size, folder, options.jobs)
        finally:
            if options.keep is None:
                shutil.rmtree(folder.parent)
        publish("cohort_scale.csv", rows, options.out, threads="default")


if __name__ == "__main__":
    main()
