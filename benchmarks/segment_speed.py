"""How much the box around each femur saves, in one run: the same code, network, fold and patch step on whole halves.

    python benchmarks/segment_speed.py --model model.zip [--scan pelvis.nii.gz --mask femora.nii.gz] [--runs 5]

Without ``--scan`` a pelvis of the synthetic kit is rendered, 512 x 512 x 250 voxels of 0.78 x 0.78 x 1 mm. Both ways
take turns in one process; processor seconds are beside wall seconds since other work on a machine disturbs those. Peak
memory is the resident maximum during a call above what the process held before it, the scan itself included in neither.
A third way, whole halves with patches at other places (step 0.4 in place of 0.5), is run once: what it differs by from
the second is the network's own doubt, not the box's. Dice are given between the ways, and to the truth where known.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_support import RESULTS, median_ratio, publish

from femur_nnunet.phantom.anatomy import draw_participant
from femur_nnunet.phantom.pose import draw_pose
from femur_nnunet.phantom.render import render_scan
from femur_nnunet.phantom.scan_grid import ScanSize
from femur_nnunet.phantom.tiers import load_tiers
from femur_nnunet.segmentation.model import SegmentationModel
from femur_nnunet.segmentation.segment import Segmentation, segment_volume
from femur_nnunet.volume_io import Volume, read_mask, read_volume

PELVIS = ScanSize(512, 512, 0.78125, 1.0, 250.0)
SEED = 150
WAYS = ("box", "whole halves")
OTHER_PATCHES = "whole halves, step 0.4"


def pelvis() -> tuple[Volume, np.ndarray]:
    """A woman's pelvis of the kit, from 90 mm above the heads' centres downwards."""
    tiers, rng = load_tiers(), np.random.default_rng(SEED)
    participant = draw_participant("F", tiers.population, rng)
    pose = replace(draw_pose(tiers.positioning, rng), scan_top_mm=90.0)
    scan = render_scan(participant, pose, tiers.scanner, size=PELVIS, noise_seed=SEED + 1)
    return Volume(scan.hu, scan.grid), scan.mask


def measured(scan: Volume, model: SegmentationModel, way: str) -> tuple[Segmentation, float, float, float]:
    """Segment once; return the result, wall and processor seconds, and MiB above what was held before."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # starts the resident maximum anew
    before = memory_mib("VmRSS")
    started, processor = time.perf_counter(), time.process_time()
    result = segment_volume(scan, model, localise=way == "box", second_view=False,
                            step=0.4 if way == OTHER_PATCHES else 0.5)
    return (result, time.perf_counter() - started, time.process_time() - processor, memory_mib("VmHWM") - before)


def memory_mib(field: str) -> float:
    """A line of /proc/self/status."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {field} in /proc/self/status")


def dice(first: np.ndarray, second: np.ndarray | None) -> list[object]:
    """Dice of the left and the right femur of two masks."""
    if second is None:
        return ["n/a", "n/a"]
    return [round(float(2 * np.count_nonzero((first == value) & (second == value))
                        / (np.count_nonzero(first == value) + np.count_nonzero(second == value))), 4)
            for value in (1, 2)]


def main() -> None:
    """Measure both ways in turn and publish the table."""
    parser = argparse.ArgumentParser(description="What the box around each femur saves.")
    parser.add_argument("--model", type=Path, required=True, help="model bundle; its first fold is used")
    parser.add_argument("--scan", type=Path, help="scan to segment (default: a rendered pelvis)")
    parser.add_argument("--mask", type=Path, help="its femora, 1 left and 2 right")
    parser.add_argument("--runs", type=int, default=5, help="rounds (default: 5)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the CSV")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    scan, truth = (read_volume(arguments.scan), None) if arguments.scan else pelvis()
    if arguments.scan and arguments.mask:
        truth = read_mask(arguments.mask, scan.grid)
    loaded = SegmentationModel.of_bundle(arguments.model)
    model = replace(loaded, networks=loaded.networks[:1], folds=loaded.folds[:1])
    figures: dict[str, list[tuple[float, float, float]]] = {way: [] for way in WAYS}
    results: dict[str, Segmentation] = {}
    for number in range(arguments.runs + 1):
        for way in WAYS:
            results[way], *figure = measured(scan, model, way)
            print(f"{way}: {figure[0]:.1f} s, processor {figure[1]:.1f} s, {figure[2]:.0f} MiB, "
                  f"{results[way].seconds}", flush=True)
            if number:
                figures[way].append((figure[0], figure[1], figure[2]))
    results[OTHER_PATCHES], *other = measured(scan, model, OTHER_PATCHES)
    figures[OTHER_PATCHES] = [(other[0], other[1], other[2])]
    rows: list[dict[str, Any]] = []
    for way, result in results.items():
        wall, processor, memory = zip(*figures[way], strict=True)
        once = way == OTHER_PATCHES
        ratios = ["n/a" if once else round(median_ratio(own, box), 2) for own, box in
                  zip((wall, processor, memory), zip(*figures["box"], strict=True), strict=True)]
        between, true = dice(result.mask, results["whole halves"].mask), dice(result.mask, truth)
        rows.append({
            "way": way, "patches": sum(femur.patches for femur in result.femora),
            "wall_seconds": round(statistics.median(wall), 2),
            "processor_seconds": round(statistics.median(processor), 2), "peak_mib": round(statistics.median(memory)),
            "wall_ratio": ratios[0], "processor_ratio": ratios[1], "memory_ratio": ratios[2],
            "dice_left_to_whole": between[0], "dice_right_to_whole": between[1], "dice_left_to_truth": true[0],
            "dice_right_to_truth": true[1], "model": model.manifest.name,
            "spacing_mm": "x".join(f"{value:g}" for value in model.facts.spacing_mm),
            "patch": "x".join(map(str, model.facts.patch_size)), "rounds": len(wall)})
    publish("segment_speed.csv", rows, arguments.out, threads=arguments.threads)


if __name__ == "__main__":
    main()
