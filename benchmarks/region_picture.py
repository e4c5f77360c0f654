"""Regions of real femora seen from the front: docs/images/femur_regions.png.

    python benchmarks/region_picture.py --label-maps DIR --subjects a70 a80 s12 a84 --out docs/images/femur_regions.png

DIR holds hip_labels of github MICCAI2022-155/AuToSeg (MIT): 1 right femur, 2 left femur.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from femur_nnunet.landmarks.femur_regions import FemurRegions, find_regions, neck_ends_mm
from femur_nnunet.regions import REGION_MAP_LABELS, Region
from femur_nnunet.volume_io.orientation import best_axis_mapping

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# Okabe and Ito's colours, which people with any colour vision tell apart.
COLOURS = {Region.HEAD: "#0072B2", Region.NECK: "#E69F00", Region.TROCHANTERIC: "#009E73", Region.SHAFT: "#CC79A7"}


def front_view(labels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return an RGB picture (z, x, 3) of the foremost voxels, the darker the more their surface turns away."""
    solid = labels > 0
    depth = np.argmax(solid, axis=1)
    seen = np.take_along_axis(labels, depth[:, None, :], axis=1)[:, 0]
    slope = np.hypot(*np.gradient(depth.astype(float)))
    light = np.where(solid.any(axis=1), 1.0 / np.sqrt(1.0 + 0.35 * np.minimum(slope, 4.0) ** 2), 1.0)
    picture = np.ones((*seen.shape, 3))
    for region, label in REGION_MAP_LABELS.items():
        picture[seen == label] = matplotlib.colors.to_rgb(COLOURS[region])
    return picture * light[:, :, None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--label-maps", type=Path, required=True)
    parser.add_argument("--subjects", nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    figure, axes = plt.subplots(2, len(options.subjects), figsize=(2.6 * len(options.subjects), 7.2))
    for column, subject in enumerate(options.subjects):
        path = next(options.label_maps.glob(f"*{subject}*.nii.gz"))
        image = sitk.ReadImage(str(path))
        mapping = best_axis_mapping(np.asarray(image.GetDirection()).reshape(3, 3))
        whole = np.asarray(mapping.apply(sitk.GetArrayFromImage(image)))
        x_mm, y_mm, z_mm = image.GetSpacing()
        for row, (side, label) in enumerate((("right", 1), ("left", 2))):
            found = find_regions(whole == label, (z_mm, y_mm, x_mm), side)
            filled = [np.flatnonzero((found.label_map > 0).any(axis=axes_)) for axes_ in ((1, 2), (0, 2), (0, 1))]
            part = found.label_map[tuple(slice(one[0], one[-1] + 1) for one in filled)]
            panel = axes[row, column]
            panel.imshow(front_view(part)[::-1], aspect=z_mm / x_mm, interpolation="nearest")
            panel.set_title(f"{subject} {side}", fontsize=9)
            panel.set_xlabel(described(found, (z_mm, y_mm, x_mm)), fontsize=7)
            panel.set_xticks([])
            panel.set_yticks([])
    figure.legend(handles=[plt.Rectangle((0, 0), 1, 1, color=COLOURS[region]) for region in COLOURS],
                  labels=[region.value for region in COLOURS], loc="lower center", ncol=4, frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out, dpi=90)


def described(found: FemurRegions, spacing: tuple[float, float, float]) -> str:
    voxel_ml = float(np.prod(spacing)) / 1000.0
    volumes = ", ".join(f"{(found.label_map == label).sum() * voxel_ml:.0f}" for label in REGION_MAP_LABELS.values())
    marks = found.landmarks
    length = f", neck ends at {neck_ends_mm(marks):.0f} mm" if marks is not None else ""
    doubts = sorted({one.value for one in found.status.values()} - {"ok"})
    return f"{volumes} ml{length}\n{', '.join(doubts) or 'ok'}"


if __name__ == "__main__":
    main()
