"""A model bundle on real scans: one femur with two references, and scans without any femur.

    python benchmarks/box_real_scans.py --ct pelvis.nii.gz --femur-free abdomen_folder head_folder

The references of the CT's right, intact femur lie in benchmarks/references and were drawn with hand tools by two AI
annotators, apart from each other, before any prediction of a model in the box on that scan was looked at
(references/README.md). Their agreement is the
ceiling of what can be shown. Femur-free: the given scans, and the CT's own slices from 15 mm above the right head
upwards. For those the table holds what the networks call femur in the whole image before any filter, and what
femur_segment makes of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_support import RESULTS, publish
from numpy.typing import NDArray
from scipy import ndimage

from femur_nnunet.errors import FemurError
from femur_nnunet.evaluation.case_metrics import measure
from femur_nnunet.files import sha256_of_file
from femur_nnunet.segmentation.hip_prediction import PredictionOptions, predict_hip
from femur_nnunet.segmentation.model import box_model_path
from femur_nnunet.segmentation.scan_sides import find_sides
from femur_nnunet.segmentation.segment import LABEL_OF_SIDE, Segmentation, ready_model, segment_volume
from femur_nnunet.volume_io import Grid, ReadingRules, Volume, orient_to_lps, read_mask, read_volume
from femur_nnunet.volume_io.orientation import best_axis_mapping

REFERENCES = Path(__file__).with_name("references")
NAMES = ("reference_a.nii.gz", "reference_b.nii.gz")
# The roof of the acetabulum is some 10 mm thick above the head.
ABOVE_HEAD_MM = 15.0
METRICS = ("dice", "sensitivity", "precision", "hd95_mm", "assd_mm", "contour_distance_mm", "volume_ref_ml",
           "volume_pred_ml")
SOUND_RULES = ReadingRules(resample_irregular=True, correct_tilt=True)


def on_lps(mask: NDArray[Any], grid: Grid) -> NDArray[np.bool_]:
    """A mask on the scan's grid, z to Superior as the metrics want it."""
    return np.asarray(best_axis_mapping(grid.direction_matrix).apply(mask)) > 0


def compared(name: str, reference: NDArray[np.bool_], other: NDArray[np.bool_],
             spacing_zyx: tuple[float, float, float]) -> dict[str, object]:
    """One row of distances between two masks."""
    _, values = measure(reference, other, spacing_zyx)
    return {"compared": name, **{metric: round(values[metric], 4) for metric in METRICS}}


def reference_rows(scan: Volume, result: Segmentation) -> tuple[list[dict[str, object]], NDArray[np.bool_]]:
    """Rows of the right femur against both references, of the references against each other, and reference A."""
    first, second = (on_lps(read_mask(REFERENCES / name, scan.grid), scan.grid) for name in NAMES)
    predicted = on_lps(result.mask == LABEL_OF_SIDE["right"], scan.grid)
    x_mm, y_mm, z_mm = orient_to_lps(scan)[0].grid.spacing_mm_ijk
    spacing = (z_mm, y_mm, x_mm)
    return [compared("reference A and reference B", first, second, spacing),
            compared("reference A and the model", first, predicted, spacing),
            compared("reference B and the model", second, predicted, spacing)], first


def above_the_joint(scan: Volume, femur: NDArray[np.bool_]) -> Volume:
    """The scan's slices above the right head, as a scan of their own."""
    oriented = orient_to_lps(scan)[0]
    z_mm = oriented.grid.spacing_mm_ijk[2]
    first = int(np.nonzero(femur.any(axis=(1, 2)))[0].max()) + 1 + round(ABOVE_HEAD_MM / z_mm)
    x, y, z = oriented.grid.origin_mm_lps
    array = np.ascontiguousarray(oriented.array[first:])
    grid = replace(oriented.grid, origin_mm_lps=(x, y, z + first * z_mm),
                   size_ijk=(array.shape[2], array.shape[1], array.shape[0]))
    return Volume(array, grid)


def networks_alone(scan: Volume, model: Any) -> Iterator[NDArray[np.bool_]]:
    """What the networks call femur in each half of a scan, or in all of it where it is narrow."""
    mapping = best_axis_mapping(scan.grid.direction_matrix)
    oriented = orient_to_lps(scan)[0]
    try:
        hips = find_sides(oriented, scan.grid, mapping, None).hips
    except FemurError:
        hips = find_sides(oriented, scan.grid, mapping, "left").hips
    for hip in hips:
        yield predict_hip(scan, hip.record, None, model,
                          PredictionOptions(localise=False, second_view=False)).raw_mask


def femur_free_row(name: str, scan: Volume, model: Any) -> dict[str, object]:
    """What is called femur where there is none."""
    voxel_ml = float(np.prod(scan.grid.spacing_mm_ijk)) / 1000
    volumes = [float(size) * voxel_ml for mask in networks_alone(scan, model)
               for size in np.bincount(ndimage.label(mask, np.ones((3, 3, 3)))[0].ravel())[1:]]
    try:
        result = segment_volume(scan, model)
        written = sum(femur.volume_ml for femur in result.femora)
        outcome = "; ".join([*(["no mask"] if not result.found_any else []),
                             *(finding.caution.value for finding in result.findings)])
    except FemurError as error:
        written, outcome = 0.0, f"no mask: {error}"
    return {"scan": name, "slices": scan.array.shape[0], "before_any_filter_ml": round(sum(volumes), 2),
            "islands": len(volumes), "largest_island_ml": round(max(volumes, default=0.0), 2),
            "written_ml": round(written, 2), "outcome": outcome}


def main() -> None:
    """Measure and publish both tables."""
    parser = argparse.ArgumentParser(description="A model bundle on real scans.")
    parser.add_argument("--model", type=Path, help="model bundle (default: the model in the box)")
    parser.add_argument("--ct", type=Path, required=True, help="the CT of the references")
    parser.add_argument("--femur-free", type=Path, nargs="*", default=[], help="scans that hold no femur")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the CSVs")
    arguments = parser.parse_args()
    model, scan = ready_model(arguments.model), read_volume(arguments.ct)
    result = segment_volume(scan, model)
    print(*(f"{femur.side}: {femur.volume_ml:.1f} ml, {femur.looked_at}" for femur in result.femora),
          *map(str, result.findings), sep="\n", flush=True)
    rows, femur = reference_rows(scan, result)
    source = {"bundle_sha256": sha256_of_file(arguments.model or box_model_path())[:12]}
    threads = torch.get_num_threads()
    publish("box_real_ct.csv", [{**row, **source} for row in rows], arguments.out, threads=threads)
    free = [("the CT above the joint", above_the_joint(scan, femur))]
    free += [(path.name, read_volume(path, rules=SOUND_RULES)) for path in arguments.femur_free]
    publish("box_femur_free.csv", [{**femur_free_row(name, volume, model), **source} for name, volume in free],
            arguments.out, threads=threads)


if __name__ == "__main__":
    main()
