"""How well box models segment renderings of subjects that they never saw, one factor at a time, as femur_segment does.

    python benchmarks/box_model.py --box box_1 box_2 ... --label-maps DIR --work DIR

Each folder of ``--box`` was made with other subjects held out (``--held-out-group``): together they are a subject-wise
cross-validation. For every level of every factor the same renderings of the held-out subjects are made with that
factor fixed and all else as it was; one row a level holds Dice, HD95 and ASSD as femur_eval defines them, of what
femur_segment writes with the box's own bundle (without its second view); a scan that it refuses counts as missed.
``box_model_hips.csv`` has every hip. Renderings that are there are not made again.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_support import RESULTS, publish

from femur_nnunet.command_line import progress
from femur_nnunet.drivers.box_model import BUNDLE_NAME
from femur_nnunet.errors import FemurError
from femur_nnunet.evaluation.case_metrics import measure
from femur_nnunet.files import read_json, sha256_of_file
from femur_nnunet.randomised.pool import POOL_FILE_NAME, PoolSpec, grow_pool
from femur_nnunet.randomised.subjects import Subjects
from femur_nnunet.segmentation.model import SegmentationModel
from femur_nnunet.segmentation.segment import LABEL_OF_SIDE, segment_volume
from femur_nnunet.volume_io import read_mask, read_volume

# Beside the factor nothing is easy or hard on purpose: all other draws are those of the ranges.
SCAN = {"resampled_copy": False}
WHOLE = {"field": "pelvis", "field_of_view_factor": 1.42, "field_margin_mm": 40.0, "bottom_below_heads_mm": 180.0}
FACTORS: dict[str, dict[str, dict[str, Any]]] = {
    "all drawn": {"as drawn": {}},
    "slice": {f"{mm:g} mm": {**SCAN, "slice_spacing_mm": mm, "thickness_over_spacing": 1.0}
              for mm in (0.8, 1.5, 3.0, 5.0)},
    "density": {name: {"trabecular_factor": spongy, "cortex_factor": cortex, "cortical_density_factor": dense}
                for name, spongy, cortex, dense in (("low", 0.5, 0.6, 0.8), ("middle", 1.0, 1.0, 1.0),
                                                    ("high", 1.5, 1.4, 1.2))},
    "kernel": {name: {"psf_fwhm_mm": width, "edge_enhancement": gain} for name, width, gain in (
        ("soft", 2.6, 0.0), ("middle", 1.2, 0.2), ("sharp", 0.6, 1.0))},
    "dose": {f"{noise} HU of noise": {"noise_hu": float(noise)} for noise in (5, 20, 60)},
    "truncation": {"none": WHOLE, "circle": {**WHOLE, "field_of_view_factor": 0.75},
                   "frame": {**WHOLE, "field_margin_mm": -35.0},
                   "top and bottom": {**WHOLE, "top_above_heads_mm": 30.0, "bottom_below_heads_mm": 50.0},
                   "one hip": {**WHOLE, "field": "left hip"}},
    "head": {"shell and gap": {"head_plate_mm": 1.0, "head_plate_spread": 0.16, "joint_narrowing_mm": 0.0,
                               "bone_clearance_mm": 1.8, "head_rim_rise": 0.28},
             "neither": {"head_plate_mm": 0.15, "head_plate_spread": 0.16, "joint_narrowing_mm": 2.0,
                         "bone_clearance_mm": 0.6, "head_rim_rise": -0.2}},
    "metal": {"none": {**WHOLE, "metal": False}, "in the other hip": {**WHOLE, "metal": True}},
}
# The level that speaks for all has so many times the renderings of the others.
AS_DRAWN, TIMES_AS_DRAWN = "all drawn", 4
METRICS = ("dice", "hd95_mm", "assd_mm")


def levels(factors: Sequence[str] = tuple(FACTORS)) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Yield factor, level, the site's name of the level, and what is fixed."""
    for number, (factor, by_level) in enumerate(FACTORS.items()):
        if factor not in factors:
            continue
        for order, (level, fixed) in enumerate(by_level.items()):
            yield factor, level, f"f{number}l{order}", fixed


def render(box: Path, label_maps: Path, work: Path, *, per_level: int, finest_mm: float, seed: int, jobs: int,
           map_cache: Path | None, factors: Sequence[str]) -> list[dict[str, str]]:
    """Render every level and return a row a scan."""
    pool = read_json(box / "pool" / POOL_FILE_NAME, what="a pool's description", action="make the model first")
    held_out = pool["held_out"]
    if not held_out:
        raise SystemExit(f"{box.name} held no subject out: there is nobody to test on")
    rows = []
    for factor, _, site, fixed in levels(factors):
        # The numbers of a test are the seed's own: the training's renderings have another one.
        spec = PoolSpec(label_maps, Subjects(tuple(held_out)), seed, finest_mm, fixed=tuple(fixed.items()))
        count = per_level * (TIMES_AS_DRAWN if factor == AS_DRAWN else 1)
        summary = grow_pool(spec, count, work / site, jobs=jobs, map_cache=map_cache or work / "maps")
        rows += [{**row, "site": site, **{part: f"{site}/{row[part]}" for part in ("image", "mask")}}
                 for row in summary.rows]
    return rows


def segment(work: Path, rows: list[dict[str, str]], model: SegmentationModel) -> Iterator[dict[str, Any]]:
    """Segment every scan as femur_segment does and yield one row a hip that has a reference."""
    for row in progress(rows, description="segmenting", quiet=False):
        scan = read_volume(work / row["image"])
        truth = read_mask(work / row["mask"], scan.grid)
        # Of a field of one hip it is known which; its mask holds 0 and 1.
        side: Any = row["side"] if row["side"] in LABEL_OF_SIDE else None
        if side:
            truth = truth * np.uint8(LABEL_OF_SIDE[side])
        try:
            mask = segment_volume(scan, model, side=side, second_view=False).mask
        except FemurError as error:
            print(f"{row['image']}: {error}", flush=True)
            mask = np.zeros_like(truth)
        x_mm, y_mm, z_mm = scan.grid.spacing_mm_ijk
        for name, label in LABEL_OF_SIDE.items():
            if not (truth == label).any():
                continue
            # The pool's axes run along LPS, as the metrics want them.
            status, values = measure(truth == label, mask == label, (z_mm, y_mm, x_mm))
            yield {"site": row["site"], "participant_id": row["participant_id"],
                   "image": f"{work.name}/{row['image']}", "side": name,
                   "status": status.value, "swapped": bool((truth[mask == label] == 3 - label).any()),
                   **{metric: round(values[metric], 4) for metric in METRICS}}


def table(cases: list[dict[str, Any]], factors: Sequence[str] = tuple(FACTORS)) -> list[dict[str, object]]:
    """Return one row a level: mean, median and worst of each metric over the hips, and how many were missed."""
    rows: list[dict[str, object]] = []
    for factor, level, site, fixed in levels(factors):
        own = [case for case in cases if case["site"] == site]
        row: dict[str, object] = {"factor": factor, "level": level, "hips": len(own),
                                  "subjects": len({case["participant_id"] for case in own}),
                                  "missed": sum(case["status"] == "missed" for case in own),
                                  "swapped": sum(bool(case["swapped"]) for case in own)}
        for metric in METRICS:
            values = [value for case in own if math.isfinite(value := float(case[metric]))]
            worst = min if metric == "dice" else max
            for name, of in (("mean", statistics.fmean), ("median", statistics.median), ("worst", worst)):
                row[f"{metric}_{name}"] = round(of(values), 4) if values else ""
        row["bundle_sha256"] = " ".join(sorted({case["bundle_sha256"] for case in own}))
        row["fixed"] = " ".join(f"{name}={value}" for name, value in fixed.items())
        rows.append(row)
    return rows


def main() -> None:
    """Render, predict, evaluate and publish the table."""
    parser = argparse.ArgumentParser(description="Box models on renderings of subjects that they never saw.")
    parser.add_argument("--box", type=Path, nargs="+", required=True, help="folders that femur_box_model made")
    parser.add_argument("--label-maps", type=Path, required=True, help="folder of label maps")
    parser.add_argument("--work", type=Path, required=True, help="folder for renderings and predictions")
    parser.add_argument("--factors", nargs="+", choices=tuple(FACTORS), default=tuple(FACTORS), metavar="FACTOR",
                        help=f"some of {', '.join(FACTORS)} (default: all)")
    parser.add_argument("--per-level", type=int, default=4,
                        help="renderings a level and box, four times as many of all drawn (default: 4)")
    parser.add_argument("--finest", type=float, default=1.5, help="finest voxel in mm (default: 1.5)")
    parser.add_argument("--seed", type=int, default=7, help="seed of the test renderings (default: 7)")
    parser.add_argument("--jobs", type=int, default=1, help="worker processes (default: 1)")
    parser.add_argument("--device", default="cpu", help="where networks run (default: cpu)")
    parser.add_argument("--map-cache", type=Path, help="folder of prepared label maps")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the CSV")
    arguments = parser.parse_args()
    cases: list[dict[str, Any]] = []
    for box in arguments.box:
        work = (arguments.work / box.resolve().name).resolve()
        rows = render(box.resolve(), arguments.label_maps, work, per_level=arguments.per_level,
                      finest_mm=arguments.finest, seed=arguments.seed, jobs=arguments.jobs,
                      map_cache=arguments.map_cache, factors=arguments.factors)
        model = SegmentationModel.of_bundle(box / BUNDLE_NAME, device=arguments.device)
        bundle = {"bundle_sha256": sha256_of_file(box / BUNDLE_NAME)[:12]}
        cases += [{**case, **bundle} for case in segment(work, rows, model)]
    threads = torch.get_num_threads()
    publish("box_model_hips.csv", cases, arguments.out, threads=threads)
    publish("box_model.csv", table(cases, arguments.factors), arguments.out, threads=threads)


if __name__ == "__main__":
    main()
