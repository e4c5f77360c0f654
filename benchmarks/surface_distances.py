"""Time of surface distances beside google-deepmind's surface-distance and exact distance transforms.

    python benchmarks/surface_distances.py

HD95, surface Dice at 1 mm and ASSD of the same masks (512 x 512 x 200 voxels, 0.7 x 0.7 x 1.0 mm), without reading.
Every method has one thread; methods run in turn; medians of the rounds are given. Needs
``pip install surface-distance-based-measures edt`` for two of the columns; without a package its rows stay out.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import statistics
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bench_support import (
    RESULTS,
    SPACING_MM_ZYX,
    Mask,
    box,
    disturbed,
    femur,
    interleaved,
    median_ratio,
    one_thread,
    publish,
)
from numpy.typing import NDArray
from scipy import ndimage

from femur_nnunet.evaluation.overlap import bounding_box, union_box
from femur_nnunet.evaluation.surface_distance import SurfaceDistances, border_voxels, surface_distances

Numbers = dict[str, float]
OURS = "femur_nnunet"


def by_tree(reference: Mask, prediction: Mask) -> Numbers:
    """This package: crop, borders, k-d trees."""
    return _numbers(surface_distances(*_cropped(reference, prediction), SPACING_MM_ZYX))


def by_scipy_transform(reference: Mask, prediction: Mask) -> Numbers:
    """The same definition by two exact distance transforms of the cropped box."""
    return _by_transform(reference, prediction,
                         lambda border: ndimage.distance_transform_edt(~border, sampling=SPACING_MM_ZYX))


def by_edt_package(reference: Mask, prediction: Mask) -> Numbers:
    """The same definition by the distance transforms of the edt package."""
    import edt

    return _by_transform(reference, prediction,
                         lambda border: edt.edt(~border, anisotropy=SPACING_MM_ZYX, black_border=False, parallel=1))


def by_deepmind(reference: Mask, prediction: Mask) -> Numbers:
    """google-deepmind's surface-distance: surface elements weighed by area."""
    import surface_distance

    found = surface_distance.compute_surface_distances(reference, prediction, SPACING_MM_ZYX)
    means = surface_distance.compute_average_surface_distance(found)
    areas = [found["surfel_areas_gt"].sum(), found["surfel_areas_pred"].sum()]
    return {"hd95_mm": float(surface_distance.compute_robust_hausdorff(found, 95)),
            "assd_mm": float(np.average(means, weights=areas)),
            "surface_dice_1mm": float(surface_distance.compute_surface_dice_at_tolerance(found, 1.0))}


def _by_transform(reference: Mask, prediction: Mask, transform: Callable[[Mask], NDArray[np.floating]]) -> Numbers:
    borders = [border_voxels(mask) for mask in _cropped(reference, prediction)]
    to_border = [transform(border) for border in borders]
    return _numbers(SurfaceDistances(to_border[1][borders[0]], to_border[0][borders[1]]))


def _cropped(reference: Mask, prediction: Mask) -> tuple[Mask, Mask]:
    around = union_box(bounding_box(reference), bounding_box(prediction))
    assert around is not None
    return reference[around], prediction[around]


def _numbers(distances: SurfaceDistances) -> Numbers:
    return {"hd95_mm": distances.hausdorff_95_mm, "assd_mm": distances.average_symmetric_mm,
            "surface_dice_1mm": distances.surface_dice(1.0)}


def compare_methods(runs: int) -> list[dict[str, object]]:
    """Rows of the table: every method on every pair of masks."""
    methods = {OURS: by_tree, "scipy distance transform": by_scipy_transform}
    for name, module, method in (("edt distance transform", "edt", by_edt_package),
                                 ("surface-distance", "surface_distance", by_deepmind)):
        if importlib.util.find_spec(module):
            methods[name] = method
    rows: list[dict[str, object]] = []
    for shape, kind in (("femur", "good"), ("femur", "shifted"), ("femur", "islands"), ("box", "shifted")):
        reference = femur() if shape == "femur" else box()
        prediction = disturbed(reference, kind)
        seconds = interleaved({name: functools.partial(method, reference, prediction)
                               for name, method in methods.items()}, runs)
        for name, method in methods.items():
            numbers = {key: round(value, 4) for key, value in method(reference, prediction).items()}
            rows.append({"masks": f"{shape}, {kind}", "method": name, "runs": runs,
                         "seconds": round(statistics.median(seconds[name]), 4),
                         "times_ours": round(median_ratio(seconds[name], seconds[OURS]), 2), **numbers})
    return rows


def main() -> None:
    """Print the table and write it as CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the CSV (default: benchmarks/results)")
    parser.add_argument("--runs", type=int, default=5, help="rounds (default: 5)")
    options = parser.parse_args()
    # The library imports from namespaces that scipy has renamed, and warns of it on every call.
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="surface_distance")
    with one_thread():
        publish("surface_distances.csv", compare_methods(options.runs), options.out)


if __name__ == "__main__":
    main()
