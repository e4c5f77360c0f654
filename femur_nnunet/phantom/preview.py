"""One picture of a cohort: the first scan of each site in three planes, with the mask's contour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from femur_nnunet.files import atomic_path
from femur_nnunet.phantom.anatomy import SideName
from femur_nnunet.phantom.cohort_plan import SITES, CohortSpec, plan_scans
from femur_nnunet.phantom.cohort_writing import render_planned
from femur_nnunet.phantom.render import RenderedScan
from femur_nnunet.phantom.tissue import Tissue

WINDOW_HU = (-250, 750)
SOFT_WINDOW_HU = (-160, 240)
_CONTOUR = "#ff8c1a"
_SHOWN_TISSUES = (Tissue.FAT, Tissue.MUSCLE, Tissue.HIP_BONE, Tissue.FEMUR_MARROW, Tissue.FEMUR_SPONGIOSA,
                  Tissue.FEMUR_CORTEX)


def write_preview(spec: CohortSpec, path: Path) -> None:
    """Draw the first scan of each site of a cohort.

    A row a site: axial at the heads (soft-tissue window), axial at the lesser trochanters, coronal and
    sagittal through the left head (bone window, the same everywhere), and the histogram of HU by tissue.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(26, 11), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(SITES), 5, width_ratios=[2, 2, 2, 1.2, 1.6], squeeze=False)
    plan = plan_scans(spec)
    for row, site in zip(axes, SITES, strict=True):
        first = next((scan for scan in plan if scan.site == site), None)
        if first is None:
            for axis in row:
                axis.set_axis_off()
            continue
        rendered = render_planned(spec, first)
        tiers = "source" if site == "tulane" else (
            f"scanner {spec.scanner_tier}, population {spec.population_tier}, "
            f"positioning {spec.positioning_tier}")
        _draw_row(row, rendered, f"{site} {first.participant_id}, {first.sex}, "
                  f"{rendered.truth['participant']['age_years']} years ({tiers})")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=70)


def _draw_row(row: Any, rendered: RenderedScan, title: str) -> None:
    head = _index(rendered, "left")
    spacing = rendered.grid.spacing_mm_ijk
    lower = max(round(head[2] - 58.0 / spacing[2]), 0)
    planes = [(rendered.hu[head[2]], rendered.mask[head[2]], 1.0, "axial, heads", SOFT_WINDOW_HU),
              (rendered.hu[lower], rendered.mask[lower], 1.0, "axial, lesser trochanters", SOFT_WINDOW_HU),
              (rendered.hu[::-1, head[1]], rendered.mask[::-1, head[1]], spacing[2] / spacing[0], "coronal",
               WINDOW_HU),
              (rendered.hu[::-1, :, head[0]], rendered.mask[::-1, :, head[0]], spacing[2] / spacing[1],
               "sagittal, left", WINDOW_HU)]
    for axis, (image, mask, aspect, name, window) in zip(row, planes, strict=False):
        axis.imshow(image, cmap="gray", vmin=window[0], vmax=window[1], aspect=aspect)
        if mask.any():
            axis.contour(mask > 0, [0.5], colors=_CONTOUR, linewidths=0.7)
        axis.set_title(f"{name}, {window[0]} to {window[1]} HU", fontsize=11)
        axis.set_xticks([])
        axis.set_yticks([])
    row[0].set_title(f"{title}\naxial, heads, {SOFT_WINDOW_HU[0]} to {SOFT_WINDOW_HU[1]} HU", fontsize=11, loc="left")
    row[0].set_title("")
    _draw_histogram(row[4], rendered)


def _draw_histogram(axis: Any, rendered: RenderedScan) -> None:
    bins = np.arange(-250, 1500, 12)
    for tissue in _SHOWN_TISSUES:
        values = rendered.hu[rendered.tissue == tissue]
        if values.size:
            axis.hist(values, bins=bins, density=True, histtype="step", linewidth=1.3,
                      label=tissue.name.lower().replace("_", " "))
    axis.set_yscale("log")
    axis.set_xlabel("HU")
    axis.set_ylabel("density within tissue")
    axis.legend(fontsize=9, frameon=False)


def _index(rendered: RenderedScan, side: SideName) -> tuple[int, int, int]:
    """Return the voxel (i, j, k) of a femoral head's centre."""
    centre = np.asarray(rendered.truth["sides"][side]["head_centre_mm_lps"])
    index = (centre - rendered.grid.origin_mm_lps) / rendered.grid.spacing_mm_ijk
    return round(index[0]), round(index[1]), round(index[2])
