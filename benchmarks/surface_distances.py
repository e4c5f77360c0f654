"""Time of surface distances and of a whole case, beside google-deepmind's surface-distance and distance transforms.

    python benchmarks/surface_distances.py --out results

needs ``pip install surface-distance-based-measures`` for the side-by-side column; without it that column stays
out. Every method runs in one thread on the same masks (512 x 512 x 200 voxels, 0.7 x 0.7 x 1.0 mm), in turn, and
the median of the runs is given.
"""

from __future__ import annotations

import argparse
import csv
import functools
import importlib.util
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from femur_nnunet.cohort import ScanRecord
from femur_nnunet.command_line import format_table
from femur_nnunet.evaluation.case_evaluation import CaseJob, evaluate_case
from femur_nnunet.evaluation.overlap import bounding_box, union_box
from femur_nnunet.evaluation.surface_distance import SurfaceDistances, border_voxels, surface_distances

Mask = NDArray[np.bool_]
Numbers = dict[str, float]
SPACING_MM_ZYX = (1.0, 0.7, 0.7)
SHAPE_ZYX = (200, 512, 512)


def femur(shape_zyx: tuple[int, int, int] = SHAPE_ZYX) -> Mask:
    """A shaft that leaves the image at the bottom, a neck and a head: a proximal femur in size and shape."""
    z, y, x = (np.arange(n, dtype=np.float32) * s for n, s in zip(shape_zyx, SPACING_MM_ZYX, strict=True))
    z, y, x = z[:, None, None], y[None, :, None], x[None, None, :]
    centre_y, centre_x = shape_zyx[1] * SPACING_MM_ZYX[1] / 2, shape_zyx[2] * SPACING_MM_ZYX[2] / 2
    shaft = ((y - centre_y) ** 2 + (x - centre_x) ** 2 <= 16.0**2) & (z < 140)
    head = (z - 165) ** 2 + (y - centre_y) ** 2 + (x - centre_x + 45) ** 2 <= 24.0**2
    along = np.clip(((x - centre_x) * -45 + (z - 130) * 35) / (45**2 + 35**2), 0, 1)
    neck = (x - centre_x + 45 * along) ** 2 + (y - centre_y) ** 2 + (z - 130 - 35 * along) ** 2 <= 15.0**2
    return np.asarray(shaft | head | neck)


def disturbed(mask: Mask, kind: str, seed: int = 0) -> Mask:
    """A prediction: ``good`` (under a voxel off), ``shifted`` by 4 voxels, or ``speckled`` with far islands."""
    if kind == "shifted":
        return np.roll(mask, 4, axis=1)
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=mask.shape).astype(np.float32), 3)
    good = ndimage.gaussian_filter(mask.astype(np.float32), 1.0) + 0.2 * noise / noise.std() > 0.5
    good &= ndimage.binary_dilation(mask, iterations=3)
    return good | (rng.random(mask.shape) < 1e-5) if kind == "speckled" else good


def by_tree(reference: Mask, prediction: Mask) -> Numbers:
    """This package: crop, borders, k-d trees."""
    box = union_box(bounding_box(reference), bounding_box(prediction))
    assert box is not None
    return _numbers(surface_distances(reference[box], prediction[box], SPACING_MM_ZYX))


def by_transform(reference: Mask, prediction: Mask) -> Numbers:
    """The same definition by two exact distance transforms of the cropped box."""
    box = union_box(bounding_box(reference), bounding_box(prediction))
    assert box is not None
    borders = [border_voxels(mask[box]) for mask in (reference, prediction)]
    to_border = [ndimage.distance_transform_edt(~border, sampling=SPACING_MM_ZYX) for border in borders]
    return _numbers(SurfaceDistances(to_border[1][borders[0]], to_border[0][borders[1]]))


def by_deepmind(reference: Mask, prediction: Mask) -> Numbers:
    """google-deepmind's surface-distance: surface elements weighed by area."""
    import surface_distance

    found = surface_distance.compute_surface_distances(reference, prediction, SPACING_MM_ZYX)
    means = surface_distance.compute_average_surface_distance(found)
    areas = [found["surfel_areas_gt"].sum(), found["surfel_areas_pred"].sum()]
    return {"hd95_mm": float(surface_distance.compute_robust_hausdorff(found, 95)),
            "assd_mm": float(np.average(means, weights=areas)),
            "surface_dice_1mm": float(surface_distance.compute_surface_dice_at_tolerance(found, 1.0))}


def _numbers(distances: SurfaceDistances) -> Numbers:
    return {"hd95_mm": distances.hausdorff_95_mm, "assd_mm": distances.average_symmetric_mm,
            "surface_dice_1mm": distances.surface_dice(1.0)}


def interleaved(methods: dict[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """Median wall seconds of each method over runs in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(runs):
        for name, method in methods.items():
            started = time.perf_counter()
            method()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def compare_methods(runs: int) -> list[dict[str, object]]:
    """Rows of the side-by-side table of computing alone."""
    methods = {"femur_nnunet (k-d tree)": by_tree, "distance transforms": by_transform}
    if importlib.util.find_spec("surface_distance"):
        methods["surface-distance"] = by_deepmind
    reference = femur()
    rows: list[dict[str, object]] = []
    for kind in ("good", "shifted", "speckled"):
        prediction = disturbed(reference, kind)
        pair = {name: functools.partial(method, reference, prediction) for name, method in methods.items()}
        seconds = interleaved(pair, runs)
        own = seconds["femur_nnunet (k-d tree)"]
        for name, method in methods.items():
            numbers = {key: round(value, 4) for key, value in method(reference, prediction).items()}
            rows.append({"masks": kind, "method": name, "seconds": round(seconds[name], 4),
                         "times_ours": round(seconds[name] / own, 2), **numbers})
    return rows


def whole_case(runs: int) -> list[dict[str, object]]:
    """Rows for all metrics of a case from its files, beside reading the two files alone."""
    case = "tulane_0000000a_v01_l"
    record = ScanRecord(case, "sub-0000000a", "tulane", 1, "left", False, True, "test")
    reference = femur()
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("reference.nii.gz", "prediction.nii.gz")]
        for path, mask in zip(paths, (reference, disturbed(reference, "good")), strict=True):
            image = sitk.GetImageFromArray(mask.astype(np.uint8))
            image.SetSpacing(SPACING_MM_ZYX[::-1])
            sitk.WriteImage(image, str(path))
        job = CaseJob(case, record, paths[:1], paths[1:], arm="benchmark")
        seconds = interleaved({"reading alone": lambda: [sitk.ReadImage(str(path)) for path in paths],
                               "whole case": lambda: evaluate_case(job)}, runs)
    return [{"masks": "good", "method": name, "seconds": round(value, 4),
             "times_reading": round(value / seconds["reading alone"], 2)} for name, value in seconds.items()]


def main() -> None:
    """Print both tables and write them as CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the CSV files")
    parser.add_argument("--runs", type=int, default=5, help="runs of each method (default: 5)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    # The library imports from namespaces that scipy has renamed, and warns of it on every call.
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="surface_distance")
    for name, rows in (("surface_distances.csv", compare_methods(options.runs)),
                       ("whole_case.csv", whole_case(options.runs))):
        with (options.out / name).open("w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        print("\n".join(format_table(list(rows[0]), [list(row.values()) for row in rows])), end="\n\n")


if __name__ == "__main__":
    main()
