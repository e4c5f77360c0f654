"""What texture costs, and what slices, kernels and masks do to it.

    python benchmarks/texture_cost.py

A femur in a whole scan (512 x 512 x 200 voxels, 0.7 x 0.7 x 1.0 mm) at the default 1 mm, without reading, one thread;
medians of the rounds. CPU seconds beside wall seconds: on a machine with other work they are what the code needs. Then
the same femur after what another scanner or a prediction would do to it: how far features move.
"""

from __future__ import annotations

import argparse
import statistics
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bench_support import RESULTS, SPACING_MM_ZYX, Mask, disturbed, femur, one_thread, publish
from numpy.typing import NDArray
from scipy import ndimage

from femur_nnunet.evaluation.texture import glcm, glrlm, glszm, intensity_histogram, intensity_statistics, morphology
from femur_nnunet.evaluation.texture.autocorrelation import spatial_autocorrelation
from femur_nnunet.evaluation.texture.directions import LevelField
from femur_nnunet.evaluation.texture.discretisation import levels_of_fixed_width
from femur_nnunet.evaluation.texture.options import DEFAULT_BIN_WIDTH_HU, LOWEST_HU
from femur_nnunet.evaluation.texture.radiomics import FEATURES, TextureStatus, measure_radiomics
from femur_nnunet.evaluation.texture.radiomics_agreement import measure_radiomics_agreement
from femur_nnunet.evaluation.texture.radiomics_row import RadiomicsRow
from femur_nnunet.evaluation.texture.resampling import bounds_of, interpolate, isotropic_box

Image = NDArray[np.float64]
PARTICIPANTS = 400
KERNEL_SD_MM = 0.6
THICK_MM = 3.0
LARGE_CHANGE = 0.1


def tissue(mask: Mask, seed: int = 0) -> Image:
    """A cortex of 900 HU, spongy bone of 150 HU with a texture of its own, soft tissue of 40 HU; without noise."""
    rng = np.random.default_rng(seed)
    spongy = ndimage.gaussian_filter(rng.normal(size=mask.shape), [1.2 / s for s in SPACING_MM_ZYX])
    inner = ndimage.binary_erosion(mask, iterations=3, border_value=1)
    return np.where(inner, 150 + 60 * spongy / spongy.std(), np.where(mask, 900.0, 40.0))


def scanned(image: Image, *, kernel_sd_mm: float = 0.0, slices: int = 1, noise_hu: float = 30.0,
            seed: int = 1) -> Image:
    """The image through a kernel in plane, with noise, in slices that are the mean of several."""
    noisy: Image = image + np.random.default_rng(seed).normal(0, noise_hu, image.shape)
    if kernel_sd_mm:
        noisy = ndimage.gaussian_filter(noisy, (0, *(kernel_sd_mm / s for s in SPACING_MM_ZYX[1:])))
    whole = noisy[: len(noisy) // slices * slices]
    return whole.reshape(-1, slices, *whole.shape[1:]).mean(axis=1)


def steps(mask: Mask, image: Image) -> dict[str, Callable[[], object]]:
    """Each part of the work by itself, on what the parts before it leave."""
    axes = isotropic_box(mask.shape, SPACING_MM_ZYX, 1.0, bounds_of(mask))
    inside, hu = interpolate(mask, axes) >= 0.5, np.rint(interpolate(image, axes))
    levels = np.zeros(inside.shape, dtype=np.int16)
    levels[inside] = levels_of_fixed_width(hu[inside], DEFAULT_BIN_WIDTH_HU, LOWEST_HU)
    field, spacing = LevelField.of(levels), (1.0, 1.0, 1.0)
    return {
        "interpolation": lambda: (interpolate(mask, axes), interpolate(image, axes)),
        "intensity_statistics, intensity_histogram": lambda: (
            intensity_statistics.intensity_statistics(hu[inside]),
            intensity_histogram.intensity_histogram(levels[inside])),
        "morphology, shape": lambda: morphology.shape_features(inside, spacing),
        "morphology, Moran and Geary": lambda: spatial_autocorrelation(inside, hu, spacing),
        "glcm": lambda: glcm.glcm(field), "glrlm": lambda: glrlm.glrlm(field), "glszm": lambda: glszm.glszm(levels),
        "all 123 features": lambda: measure_radiomics(mask, image, SPACING_MM_ZYX)}


def participants(count: int) -> list[RadiomicsRow]:
    """Rows of a cohort of two sites, with values by chance."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(count):
        site = ("tulane", "rochester")[number % 2]
        truth = rng.normal(100, 10, len(FEATURES))
        for source, values in (("reference", truth), ("prediction", truth + rng.normal(0, 1, len(FEATURES)))):
            rows += [RadiomicsRow("model", f"{site}_{number:08x}_v01_l", f"sub-{number}", site, "F", "left", source,
                                  feature.family, feature.name, feature.ibsi_code, float(value), feature.unit,
                                  TextureStatus.OK) for feature, value in zip(FEATURES, values, strict=True)]
    return rows


def timed(work: Callable[[], object], runs: int) -> dict[str, object]:
    """Median wall and CPU seconds, and the largest memory that Python's allocator saw in one more round."""
    wall, cpu = [], []
    for _ in range(runs):
        started = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - started[0])
        cpu.append(time.process_time() - started[1])
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"runs": runs, "wall_seconds": round(statistics.median(wall), 3),
            "cpu_seconds": round(statistics.median(cpu), 3), "peak_mb": round(peak / 1e6)}


def changes(mask: Mask) -> list[dict[str, object]]:
    """How far features move from those of the reference mask in the sharp, thin scan."""
    image = tissue(mask)
    thin = scanned(image)
    thick_spacing = (THICK_MM, *SPACING_MM_ZYX[1:])
    thick_mask = mask[1::3][: len(thin) // 3]
    variants = {
        "another noise": (mask, scanned(image, seed=2), SPACING_MM_ZYX),
        "prediction, under a voxel off": (disturbed(mask, "good"), thin, SPACING_MM_ZYX),
        f"kernel of {KERNEL_SD_MM:g} mm SD": (mask, scanned(image, kernel_sd_mm=KERNEL_SD_MM), SPACING_MM_ZYX),
        f"slices of {THICK_MM:g} mm": (thick_mask, scanned(image, slices=3), thick_spacing)}
    before = {one.feature: one.value for one in measure_radiomics(mask, thin, SPACING_MM_ZYX)}
    rows = []
    for name, (own_mask, own_image, spacing) in variants.items():
        moved = {one.feature: abs(one.value / before[one.feature] - 1)
                 for one in measure_radiomics(own_mask, own_image, spacing) if before[one.feature]}
        for family in dict.fromkeys(feature.family for feature in FEATURES):
            own = [change for feature, change in moved.items() if feature.family == family]
            rows.append({"change": name, "family": family, "features": len(own),
                         "median_change": round(statistics.median(own), 4), "largest_change": round(max(own), 3),
                         "share_above_10_percent": round(sum(one > LARGE_CHANGE for one in own) / len(own), 3)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    mask = femur()
    volume_ml = float(mask.sum()) * float(np.prod(SPACING_MM_ZYX)) / 1000
    with one_thread():
        parts = steps(mask, scanned(tissue(mask)))
        rows_of_cohort = participants(PARTICIPANTS)
        parts[f"agreement of {PARTICIPANTS} participants, 2,000 resamples"] = (
            lambda: measure_radiomics_agreement(rows_of_cohort, resamples=2000, seed=0))
        rows = [{"what": name, "femur_ml": round(volume_ml), **timed(work, arguments.runs)}
                for name, work in parts.items()]
        publish("texture_cost.csv", rows, arguments.out)
        publish("texture_changes.csv", changes(mask), arguments.out)


if __name__ == "__main__":
    main()
