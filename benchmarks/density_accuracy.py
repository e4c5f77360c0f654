"""How near landmarks, regions, densities and cortical thickness come to the synthetic kit's truth.

    python benchmarks/density_accuracy.py --out benchmarks/results

writes density_landmarks.csv (a row a hip) and density_accuracy.csv (a row a hip and region) and prints the tables of
docs/density.md. With ``--tables`` it only prints them from files written before.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from bench_support import short_provenance

from femur_nnunet.evaluation.density.measurement import measure_femur
from femur_nnunet.evaluation.density.quantities import QUANTITIES
from femur_nnunet.phantom.anatomy import SIDES, Participant, draw_participant
from femur_nnunet.phantom.one_hip import render_hip
from femur_nnunet.phantom.pose import Pose, draw_pose
from femur_nnunet.phantom.tiers import SiteTiers, TierName, load_tiers
from femur_nnunet.regions import Region

TIERS: tuple[TierName, ...] = ("none", "mild", "moderate")
VOXELS_MM = ((1.0, 1.0), (0.9, 2.0), (0.8, 3.0))
KEYS = ("seed", "tier", "side", "pixel_mm", "slice_mm")
LANDMARKS = ("head_centre_mm", "head_radius_mm", "neck_axis_deg", "shaft_axis_deg", "neck_shaft_angle_deg")
TRUE_NAMES = {"vbmd_integral": "vbmd_integral_mg_cc", "vbmd_cortical": "vbmd_cortical_mg_cc",
              "vbmd_trabecular": "vbmd_trabecular_mg_cc"}
Row = dict[str, str | float]
Error = Callable[[Row, str], float]


def hips(seeds: list[int]) -> Iterator[tuple[Row, Participant, Pose, SiteTiers]]:
    # Both sides of each person, in turn on each kind of voxels.
    number = 0
    for seed in seeds:
        for tier in TIERS:
            tiers = load_tiers(scanner=tier, population=tier, positioning=tier)
            rng = np.random.default_rng(seed)
            person = draw_participant("F" if seed % 2 else "M", tiers.population, rng)
            pose = draw_pose(tiers.positioning, rng)
            for side in SIDES:
                pixel, spacing = VOXELS_MM[number % len(VOXELS_MM)]
                number += 1
                yield ({"seed": seed, "tier": tier, "side": side, "pixel_mm": pixel, "slice_mm": spacing}, person, pose,
                       tiers)
            number += seed % 2


def measure(key: Row, person: Participant, pose: Pose, tiers: SiteTiers) -> tuple[Row, list[Row]]:
    scan = render_hip(person, pose, tiers.scanner, key["side"], pixel_mm=key["pixel_mm"],
                      slice_spacing_mm=key["slice_mm"], noise_seed=int(key["seed"]))
    found = measure_femur(scan.hu, scan.mask, scan.spacing_mm_zyx, side=scan.side, calibration=scan.calibration)
    marks, truth = found.regions.landmarks, scan.truth
    centre = marks.head_centre_mm + np.asarray(scan.grid.origin_mm_lps)
    landmarks = {
        **key, "head_centre_mm": float(np.linalg.norm(centre - truth["head_centre_mm_lps"])),
        "head_radius_mm": marks.head_radius_mm - truth["head_radius_mm"],
        "neck_axis_deg": angle_deg(marks.neck_axis, truth["neck_axis_lps"]),
        "shaft_axis_deg": angle_deg(marks.shaft_axis, truth["shaft_axis_lps"]),
        "neck_shaft_angle_deg": marks.neck_shaft_angle_deg - truth["neck_shaft_angle_deg"]}
    rows = []
    for row in found.rows:
        true = truth["regions"][row.region.value]
        pairs = {name: (getattr(row, name), true[TRUE_NAMES.get(name, name)]) for name in QUANTITIES}
        rows.append({**key, "region": row.region.value, "status": row.status.value,
                     **{f"{name}{suffix}": float(value) for name, pair in pairs.items()
                        for suffix, value in zip(("", "_true"), pair, strict=True)}})
    return landmarks, rows


def angle_deg(first: np.ndarray, second: list[float]) -> float:
    return float(np.degrees(np.arccos(np.clip(first @ np.asarray(second), -1, 1))))


def write(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: f"{value:.5g}" if isinstance(value, float) else value for key, value in row.items()}
                         for row in rows)


def read(path: Path) -> list[Row]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def summary(values: list[float], unit: str) -> str:
    known = np.array([value for value in values if np.isfinite(value)])
    worst = known[np.argmax(np.abs(known))]
    return f"{known.mean():+.2f} {unit} | {worst:+.2f} {unit} | {len(known)}"


def print_tables(landmarks: list[Row], rows: list[Row]) -> None:
    print("| quantity | mean error | worst | n |\n|---|---|---|---|")
    for name in LANDMARKS:
        print(f"| {name} | {summary([float(row[name]) for row in landmarks], '')} |")
    for region in Region:
        errors = [relative(row, "volume_ml") for row in rows if row["region"] == region.value]
        print(f"| volume, {region.value} | {summary(errors, '%')} |")
    errors_of: dict[str, Error] = {"bmc_mg": relative, "vbmd_integral": relative, "vbmd_cortical": relative,
                                   "vbmd_trabecular": absolute, "cortical_thickness_mm": absolute}
    for name, error in errors_of.items():
        unit = "%" if error is relative else ""
        print(f"\n{name}\n| tier, slices | " + " | ".join(region.value for region in Region) + " |")
        print("|---|" + "---|" * len(Region))
        for tier in TIERS:
            for _, spacing in VOXELS_MM:
                own = [row for row in rows if row["tier"] == tier and float(row["slice_mm"]) == spacing]
                print(f"| {tier}, {spacing:g} mm | " + " | ".join(
                    mean_and_worst([error(row, name) for row in own if row["region"] == region.value], unit)
                    for region in Region) + " |")


def mean_and_worst(values: list[float], unit: str) -> str:
    known = np.array([value for value in values if np.isfinite(value)])
    if not len(known):
        return "n/a"
    digits = 1 if unit == "%" or np.abs(known).max() > 5 else 2
    worst = known[np.argmax(np.abs(known))]
    return f"{known.mean():+.{digits}f}{unit} ({worst:+.{digits}f})"


def relative(row: Row, name: str) -> float:
    return 100.0 * (float(row[name]) / float(row[f"{name}_true"]) - 1.0)


def absolute(row: Row, name: str) -> float:
    return float(row[name]) - float(row[f"{name}_true"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103, 104])
    parser.add_argument("--tables", action="store_true", help="print the tables of files written before")
    options = parser.parse_args()
    files = options.out / "density_landmarks.csv", options.out / "density_accuracy.csv"
    if not options.tables:
        made = short_provenance()
        landmarks: list[Row] = []
        rows: list[Row] = []
        for hip in hips(options.seeds):
            own, regions = measure(*hip)
            landmarks.append({**own, **made})
            rows += [{**row, **made} for row in regions]
            # Written anew each time: a run that is stopped leaves what it has.
            write(files[0], landmarks)
            write(files[1], rows)
    print_tables(read(files[0]), read(files[1]))


if __name__ == "__main__":
    main()
