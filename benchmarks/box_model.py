"""How well models of femur_box_model segment renderings of subjects that they never saw, one factor at a time.

    python benchmarks/box_model.py --box box_1 box_2 ... --label-maps DIR --work DIR

Each folder of ``--box`` was made with other subjects held out (``--held-out-group``): together they are a subject-wise
cross-validation. For every level of every factor the same renderings of the held-out subjects are made with that
factor fixed and all else as it was; one row a level holds Dice, HD95 and ASSD as femur_eval defines them. A level is a
site of its own, so that femur_eval's own tables are by level. Run again, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench_support import RESULTS, publish

from femur_nnunet.drivers.box_model import DATASET_FOLDER, TRAINER
from femur_nnunet.drivers.steps import Step, StepRunner
from femur_nnunet.env_command import nnunet_environment
from femur_nnunet.files import read_json
from femur_nnunet.randomised.pool import MANIFEST_NAME, POOL_FILE_NAME, PoolSpec, grow_pool
from femur_nnunet.randomised.subjects import Subjects

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
    "metal": {"none": {**WHOLE, "metal": False}, "in the other hip": {**WHOLE, "metal": True}},
}
METRICS = ("dice", "hd95_mm", "assd_mm")


def levels(factors: Sequence[str] = tuple(FACTORS)) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Yield factor, level, the site's name of the level, and what is fixed."""
    for number, (factor, by_level) in enumerate(FACTORS.items()):
        if factor not in factors:
            continue
        for order, (level, fixed) in enumerate(by_level.items()):
            yield factor, level, f"f{number}l{order}", fixed


def render(box: Path, label_maps: Path, work: Path, *, per_level: int, finest_mm: float, seed: int, jobs: int,
           map_cache: Path | None, factors: Sequence[str]) -> Path:
    """Render every level and write one manifest of all of them."""
    pool = read_json(box / "pool" / POOL_FILE_NAME, what="a pool's description", action="make the model first")
    held_out = pool["held_out"]
    if not held_out:
        raise SystemExit(f"{box.name} held no subject out: there is nobody to test on")
    rows = []
    for _, _, site, fixed in levels(factors):
        # The numbers of a test are the seed's own: the training's renderings have another one.
        spec = PoolSpec(label_maps, Subjects(tuple(held_out)), seed, finest_mm, fixed=tuple(fixed.items()))
        summary = grow_pool(spec, per_level, work / site, jobs=jobs, map_cache=map_cache or work / "maps")
        rows += [{**row, "site": site, "role": "test", **{part: f"{site}/{row[part]}" for part in ("image", "mask")}}
                 for row in summary.rows]
    path = work / MANIFEST_NAME
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def evaluate(box: Path, work: Path, manifest: Path, *, fold: str, jobs: int, device: str) -> list[dict[str, str]]:
    """Convert, predict and evaluate; return femur_eval's cases."""
    environment = nnunet_environment(work)
    models = sorted((box / "nnUNet_results" / DATASET_FOLDER).glob(f"{TRAINER}__*__3d_fullres"))
    if not models:
        raise SystemExit(f"no trained network in {box.name}")
    dataset = work / "nnUNet_raw" / "Dataset521_BoxTest"
    StepRunner(work, quiet=False).run([
        Step("convert", "Convert the test renderings",
             ("convert_qct_sites", "--manifest", str(manifest), "--calibrate", "table", "--key-seed", "1", "--out",
              str(work / "nnUNet_raw"), "--dataset-id", "521", "--dataset-name", "BoxTest", "--jobs", str(jobs)),
             environment),
        Step("predict", "Predict them",
             ("nnUNetv2_predict_from_modelfolder", "-i", str(dataset / "imagesTs"), "-o", str(work / "predictions"),
              "-m", str(models[0]), "-f", fold, "-device", device, "-npp", "1", "-nps", "1",
              "--continue_prediction"),
             environment, bar_pattern=r"^Predicting "),
        Step("evaluate", "Evaluate by level",
             ("femur_eval", str(work / "predictions"), str(dataset / "labelsTs"), "--scans", str(dataset / "scans.tsv"),
              "--out", str(work / "evaluation"), "--arm", "box", "--jobs", str(jobs)), environment,
             accepted_codes=(0, 1))])
    with (work / "evaluation" / "cases.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def table(cases: list[dict[str, str]], factors: Sequence[str] = tuple(FACTORS)) -> list[dict[str, object]]:
    """Return one row a level: mean, median and worst of each metric over the hips, and how many were missed."""
    rows: list[dict[str, object]] = []
    for factor, level, site, fixed in levels(factors):
        own = [case for case in cases if case["site"] == site]
        row: dict[str, object] = {"factor": factor, "level": level, "hips": len(own),
                                  "subjects": len({case["participant_id"] for case in own}),
                                  "missed": sum(case["status"] == "missed" for case in own)}
        for metric in METRICS:
            values = [value for case in own if math.isfinite(value := float(case[metric] or "nan"))]
            worst = min if metric == "dice" else max
            for name, of in (("mean", statistics.fmean), ("median", statistics.median), ("worst", worst)):
                row[f"{metric}_{name}"] = round(of(values), 4) if values else ""
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
    parser.add_argument("--per-level", type=int, default=8, help="renderings a level and box (default: 8)")
    parser.add_argument("--finest", type=float, default=1.2, help="finest voxel in mm (default: 1.2)")
    parser.add_argument("--fold", default="all", help="fold of the networks (default: all)")
    parser.add_argument("--seed", type=int, default=7, help="seed of the test renderings (default: 7)")
    parser.add_argument("--jobs", type=int, default=1, help="worker processes (default: 1)")
    parser.add_argument("--device", default="cpu", help="where networks run (default: cpu)")
    parser.add_argument("--map-cache", type=Path, help="folder of prepared label maps")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the CSV")
    arguments = parser.parse_args()
    cases = []
    for box in arguments.box:
        work = (arguments.work / box.resolve().name).resolve()
        manifest = render(box.resolve(), arguments.label_maps, work, per_level=arguments.per_level,
                          finest_mm=arguments.finest, seed=arguments.seed, jobs=arguments.jobs,
                          map_cache=arguments.map_cache, factors=arguments.factors)
        cases += evaluate(box.resolve(), work, manifest, fold=arguments.fold, jobs=arguments.jobs,
                          device=arguments.device)
    publish("box_model.csv", table(cases, arguments.factors), arguments.out)


if __name__ == "__main__":
    main()
