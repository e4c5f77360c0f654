"""Measure femora and joints on label maps of real hips: the figures from which the synthetic kit draws.

    python benchmarks/measure_hips.py --label-maps DIR --out benchmarks/results/hip_anatomy.csv

One row a hip in the CSV; mean, SD, n, correlations and differences of sides in a JSON file beside it and as Markdown
on the screen. What a map does not hold is empty in the CSV and left out of the summary.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import joblib
import numpy as np
from bench_support import short_provenance

from femur_nnunet.phantom.anatomy import SIDES
from femur_nnunet.phantom.hip_measurement import measure_hips
from femur_nnunet.phantom.label_maps import LabelNumbers, list_label_maps, read_label_map

Row = dict[str, object]
FEMUR_COLUMNS = ("head_radius_mm", "head_residual_mm", "head_cap_share", "neck_narrowest_mm", "neck_half_minor_mm",
                 "neck_half_major_mm", "shaft_length_mm", "neck_shaft_angle_deg", "anteversion_deg", "offset_mm",
                 "neck_length_mm", "shaft_radius_mm", "bow_radius_mm", "trochanter_height_mm", "trochanter_width_mm",
                 "lesser_trochanter_below_mm", "lesser_trochanter_reach_mm")
COLUMNS = ("map", "sha256", "side", "head_distance_mm", "joint_gap_mm", "narrowest_gap_mm", "axial_version_deg",
           *FEMUR_COLUMNS, "shaft_axis_x", "shaft_axis_y", "shaft_axis_z", "flags")
SUMMARISED = ("head_radius_mm", "head_distance_mm", "joint_gap_mm", "axial_version_deg", "neck_narrowest_mm",
              "neck_half_minor_mm", "neck_half_major_mm", "neck_shaft_angle_deg", "anteversion_deg", "offset_mm",
              "neck_length_mm", "shaft_radius_mm", "trochanter_height_mm", "trochanter_width_mm",
              "lesser_trochanter_below_mm", "lesser_trochanter_reach_mm", "shaft_axis_x", "shaft_axis_y",
              "shaft_axis_z")
# One value a subject, written in the rows of both hips.
OF_BOTH_HIPS = ("head_distance_mm",)
# What varus or valgus moves, besides size.
WITH_ANGLE = ("offset_mm", "trochanter_height_mm")


def measured_rows(path: Path, numbers: LabelNumbers) -> list[Row]:
    """Measure both hips of one map."""
    hips = read_label_map(path, numbers)
    found = measure_hips(hips)
    rows: list[Row] = []
    for side in SIDES:
        femur = found.femora[side]
        # Written as of a left femur: x to the lateral side.
        axis = None if femur.shaft_axis is None else femur.shaft_axis * ((1 if side == "left" else -1), 1, 1)
        row: Row = {"map": found.name, "sha256": hips.sha256, "side": side,
                    "head_distance_mm": found.head_distance_mm, "joint_gap_mm": found.joint_gap_mm[side],
                    "narrowest_gap_mm": found.narrowest_gap_mm[side],
                    "axial_version_deg": found.axial_version_deg[side],
                    **{name: getattr(femur, name) for name in FEMUR_COLUMNS},
                    **{f"shaft_axis_{name}": None if axis is None else float(axis[index])
                       for index, name in enumerate("xyz")}}
        row = {key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()}
        rows.append({**row, "flags": "; ".join(femur.flags)})
    return rows


def values_by_subject(rows: Sequence[Row], name: str) -> dict[str, float]:
    """Mean of both sides of each subject that has the quantity."""
    values: dict[str, list[float]] = {}
    for row in rows:
        if row[name] not in (None, ""):
            values.setdefault(str(row["map"]), []).append(float(str(row[name])))
    return {key: statistics.fmean(found) for key, found in values.items()}


def summarise(rows: Sequence[Row]) -> dict[str, dict[str, float | int | None]]:
    """Return mean, SD and n over subjects, correlation with the head radius, and mean and SD of left less right."""
    radius = values_by_subject(rows, "head_radius_mm")
    angle = values_by_subject(rows, "neck_shaft_angle_deg")
    summary: dict[str, dict[str, float | int | None]] = {}
    for name in SUMMARISED:
        subjects = values_by_subject(rows, name)
        numbers = np.array(list(subjects.values()))
        pairs = [(float(str(left[name])), float(str(right[name]))) for left in rows for right in rows
                 if left["map"] == right["map"] and (left["side"], right["side"]) == ("left", "right")
                 and None not in (left[name], right[name])]
        # Both rows of a subject hold the same value of what belongs to both hips.
        differences = np.array([] if name in OF_BOTH_HIPS else [left - right for left, right in pairs])
        hips = [float(str(row[name])) for row in rows if row[name] is not None]
        several = len(differences) > 2
        summary[name] = {
            "mean": round(float(numbers.mean()), 3), "sd": round(float(numbers.std(ddof=1)), 3),
            "n_subjects": len(numbers), "n_hips": None if name in OF_BOTH_HIPS else len(hips),
            "min": round(min(hips), 3), "max": round(max(hips), 3),
            "r_with_head_radius": None if name == "head_radius_mm" else _correlation(radius, subjects),
            "r_with_neck_shaft_angle": _correlation(angle, subjects) if name in WITH_ANGLE else None,
            "n_pairs": len(differences) if several else None,
            "mean_left_less_right": round(float(differences.mean()), 3) if several else None,
            "sd_left_less_right": round(float(differences.std(ddof=1)), 3) if several else None}
    return summary


def _correlation(first: dict[str, float], second: dict[str, float]) -> float:
    common = [key for key in second if key in first]
    return round(float(np.corrcoef([first[key] for key in common], [second[key] for key in common])[0, 1]), 3)


def markdown(summary: dict[str, dict[str, float | int | None]]) -> str:
    """Return the summary as a table."""
    lines = ["| quantity | mean | SD | subjects | hips | range | r with head radius | "
             "mean of left less right | SD of it | pairs |",
             "|---|---|---|---|---|---|---|---|---|---|"]
    for name, values in summary.items():
        if not name.startswith("shaft_axis"):
            blank = {key: "" if value is None else value for key, value in values.items()}
            lines.append(f"| {name} | {values['mean']:.1f} | {values['sd']:.1f} | {values['n_subjects']} | "
                         f"{blank['n_hips']} | {values['min']:.1f} to {values['max']:.1f} | "
                         f"{blank['r_with_head_radius']} | {_signed(values['mean_left_less_right'])} | "
                         f"{blank['sd_left_less_right']} | {blank['n_pairs']} |")
    return "\n".join(lines)


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"


def main(argv: Sequence[str] | None = None) -> None:
    """Write CSV and JSON, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--label-maps", type=Path, required=True, help="folder with one label map a subject")
    parser.add_argument("--out", type=Path, required=True, help="CSV to write; the summary goes beside it as .json")
    parser.add_argument("--labels", default="", help="label numbers, e.g. right_femur=1,left_femur=2")
    parser.add_argument("--subjects", nargs="+", help="measure these maps alone")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    arguments = parser.parse_args(argv)
    numbers = LabelNumbers.parse(arguments.labels)
    paths = list_label_maps(arguments.label_maps, arguments.subjects)
    found = joblib.Parallel(n_jobs=arguments.jobs)(joblib.delayed(measured_rows)(path, numbers) for path in paths)
    rows = [row for pair in found for row in pair]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with arguments.out.open("w", newline="", encoding="utf-8") as handle:
        made = short_provenance()
        writer = csv.DictWriter(handle, [*COLUMNS, *made], lineterminator="\n")
        writer.writeheader()
        writer.writerows([{**row, **made} for row in rows])
    summary = summarise(rows)
    arguments.out.with_suffix(".json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print(markdown(summary))


if __name__ == "__main__":
    main()
