"""Draw slices of both synthetic sites beside a real CT: same window, level and pixel.

Usage::

    python benchmarks/synthetic_beside_real.py --real pelvis.nii.gz --out docs/images/synthetic_beside_real.png

The real CT is the test file ``pelvis`` of github wasserth/TotalSegmentator (Apache-2.0), 3 mm isotropic. The
synthetic scans are rendered at full size and averaged to 3 mm, so that no picture is sharper than another.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from femur_nnunet.phantom.cohort_plan import CohortSpec, plan_scans
from femur_nnunet.phantom.cohort_writing import render_planned
from femur_nnunet.phantom.render import RenderedScan

PIXEL_MM = 3.0
SOFT_WINDOW, BONE_WINDOW = (-160, 240), (-250, 750)
# Slices of the real CT: at the heads' middle, above them, and near the lower end of the pubic symphysis.
ROWS = (("heads", 0.0, 13, SOFT_WINDOW), ("above the heads", 27.0, 22, SOFT_WINDOW),
        ("trochanters", -36.0, 2, SOFT_WINDOW), ("heads, bone window", 0.0, 13, BONE_WINDOW))
WIDTH, HEIGHT = 128, 92


def main() -> None:
    """Render, resample and draw."""
    parser = argparse.ArgumentParser(description="Draw synthetic slices beside a real CT.")
    parser.add_argument("--real", type=Path, required=True, help="real pelvic CT, 3 mm isotropic")
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    parser.add_argument("--seed", type=int, default=100, help="seed of the synthetic cohort (default: 100)")
    arguments = parser.parse_args()
    real_image = sitk.DICOMOrient(sitk.ReadImage(str(arguments.real)), "LPS")
    real = sitk.GetArrayFromImage(real_image)
    spec = CohortSpec(size="full", seed=arguments.seed)
    figure = Figure(figsize=(12.6, 12.4), facecolor="black", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(ROWS), 3)
    columns = [("real CT (TotalSegmentator test file, Apache-2.0)", None)]
    for site in ("tulane", "rochester"):
        planned = next(scan for scan in plan_scans(spec) if scan.site == site)
        columns.append((f"synthetic, {site}", render_planned(spec, planned)))
    for row, (name, above_mm, real_slice, window) in zip(axes, ROWS, strict=True):
        for axis, (title, scan) in zip(row, columns, strict=True):
            plane = real[real_slice] if scan is None else at_3_mm(scan, above_mm)
            axis.imshow(_centred(plane), cmap="gray", vmin=window[0], vmax=window[1], interpolation="nearest")
            axis.set_title(f"{title}: {name}", color="white", fontsize=8)
            axis.set_axis_off()
    figure.savefig(arguments.out, dpi=80)


def at_3_mm(scan: RenderedScan, above_head_mm: float) -> np.ndarray:
    """Return an axial slab of 3 mm at this height above the left head's centre, on pixels of 3 mm."""
    image = sitk.GetImageFromArray(scan.hu.astype(np.float32))
    image.SetSpacing(scan.grid.spacing_mm_ijk)
    image.SetOrigin(scan.grid.origin_mm_lps)
    head = scan.truth["sides"]["left"]["head_centre_mm_lps"]
    # A box of the size of the target's voxel before sampling: averaging, not picking.
    radius = [max(round(PIXEL_MM / step / 2 - 0.5), 0) for step in scan.grid.spacing_mm_ijk]
    image = sitk.Mean(sitk.Clamp(image, lowerBound=-1024.0), radius)
    extent = [count * step for count, step in zip(scan.grid.size_ijk, scan.grid.spacing_mm_ijk, strict=True)]
    target = sitk.Image([int(extent[0] / PIXEL_MM), int(extent[1] / PIXEL_MM), 1], sitk.sitkFloat32)
    target.SetSpacing([PIXEL_MM] * 3)
    target.SetOrigin([scan.grid.origin_mm_lps[0], scan.grid.origin_mm_lps[1], head[2] + above_head_mm])
    return sitk.GetArrayFromImage(sitk.Resample(image, target, sitk.Transform(), sitk.sitkLinear, -1024.0))[0]


def _centred(plane: np.ndarray) -> np.ndarray:
    """Return a window of fixed size around the body."""
    body = np.argwhere(plane > -300)
    middle = (body.min(axis=0) + body.max(axis=0)) // 2
    padded = np.pad(plane, ((HEIGHT, HEIGHT), (WIDTH, WIDTH)), constant_values=-1024)
    top, left = middle[0] + HEIGHT - HEIGHT // 2, middle[1] + WIDTH - WIDTH // 2
    return padded[top:top + HEIGHT, left:left + WIDTH]


if __name__ == "__main__":
    main()
