"""A case on three planes: the scan where there is one, with the contours of reference and prediction."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from femur_nnunet.evaluation.report.figures.inline_svg import Picture, picture
from femur_nnunet.evaluation.report.figures.look import INK, SOFT, new_figure
from femur_nnunet.evaluation.report.picture_sources import CaseMasks

WINDOW_HU = (-200.0, 900.0)
MARGIN_MM = 14.0
SLAB_MM = 10.0
# Yellow and sky blue on the dark scan, blue and vermilion on white paper; solid and dashed in both.
ON_SCAN = {"reference": ("#F0E442", "-"), "prediction": ("#56B4E9", (0, (3, 1.4)))}
ON_WHITE = {"reference": ("#0072B2", "-"), "prediction": ("#D55E00", (0, (3, 1.4)))}
_PLANES = (("axial", 0, "medial", "lateral"), ("coronal", 1, "medial", "lateral"), ("sagittal", 2, "front", "back"))


def draw_case(name: str, masks: CaseMasks, focus_zyx: tuple[int, int, int], *, alt: str) -> Picture:
    """Draw the planes through a voxel.

    Parameters
    ----------
    name : str
        Id of the figure.
    masks : CaseMasks
        What is shown.
    focus_zyx : tuple of int
        The voxel that is marked with a cross, in planes that do not go through it at its height and breadth.
    alt : str
        What the picture shows.
    """
    both = masks.reference if masks.prediction is None else masks.reference | masks.prediction
    box = _box(both, masks.spacing_mm_zyx)
    sizes_mm = [(part.stop - part.start) * step for part, step in zip(box, masks.spacing_mm_zyx, strict=True)]
    widths = [sizes_mm[2], sizes_mm[2], sizes_mm[1]]

    def draw() -> Figure:
        figure = new_figure(2.9, 5.4)
        grid = figure.add_gridspec(1, 3, width_ratios=widths)
        for column, (title, axis, left, right) in enumerate(_PLANES):
            axes = figure.add_subplot(grid[0, column])
            _plane(axes, masks, axis, plane_index(masks, focus_zyx, axis), focus_zyx, box)
            axes.set_title(title, fontsize=8.5, fontweight="normal", loc="center")
            axes.set_xlabel(f"{left}  \N{LEFT RIGHT ARROW}  {right}", fontsize=7.5, color=SOFT)
        look = ON_WHITE if masks.image is None else ON_SCAN
        lines = [Line2D([], [], color=colour, linestyle=line, linewidth=1.8, label=word,
                        path_effects=[] if masks.image is None else [withStroke(linewidth=3, foreground="black")])
                 for word, (colour, line) in look.items() if word == "reference" or masks.prediction is not None]
        figure.legend(handles=lines, loc="outside upper right", ncols=2)
        return figure

    return picture(name, draw, alt=alt, caption="")


def plane_index(masks: CaseMasks, focus_zyx: tuple[int, int, int], axis: int) -> int:
    """Return which plane across an axis is shown: the focus's own, kept within the middle of the bone there.

    A plane that only grazes the bone shows the error without the bone that it is an error of.
    """
    focus = focus_zyx[axis]
    if axis == 0:
        return focus
    reach = max(1, round(SLAB_MM / masks.spacing_mm_zyx[0]))
    slab = masks.reference[max(0, focus_zyx[0] - reach):focus_zyx[0] + reach + 1]
    inside = np.nonzero(slab if slab.any() else masks.reference)[axis]
    if not inside.size:
        return focus
    low, high = np.quantile(inside, [0.2, 0.8])
    return int(np.clip(focus, round(low), round(high)))


def _plane(axes: Any, masks: CaseMasks, axis: int, index: int, focus: tuple[int, int, int],
           box: tuple[slice, ...]) -> None:
    def cut(array: NDArray[Any]) -> NDArray[Any]:
        return np.take(array, index, axis=axis)[tuple(part for number, part in enumerate(box) if number != axis)]

    vertical, horizontal = (number for number in range(3) if number != axis)
    steps, starts = masks.spacing_mm_zyx, [part.start for part in box]
    rows, columns = cut(masks.reference).shape
    # z points up in the picture, y (backwards) down in the axial one.
    upwards = vertical == 0
    height, width = rows * steps[vertical], columns * steps[horizontal]
    extent = (0.0, width, 0.0, height) if upwards else (0.0, width, height, 0.0)
    if masks.image is not None:
        grey = np.clip((cut(masks.image) - WINDOW_HU[0]) / (WINDOW_HU[1] - WINDOW_HU[0]), 0, 1)
        axes.imshow(np.round(255 * grey).astype(np.uint8), cmap="gray", vmin=0, vmax=255, extent=extent,
                    origin="lower" if upwards else "upper", interpolation="bilinear")
    look = ON_WHITE if masks.image is None else ON_SCAN
    # A frame of zeros closes contours that the image's edge cuts.
    across = (np.arange(-1, columns + 1) + 0.5) * steps[horizontal]
    down = (np.arange(-1, rows + 1) + 0.5) * steps[vertical]
    for word, mask in (("reference", masks.reference), ("prediction", masks.prediction)):
        if mask is None:
            continue
        part = cut(mask)
        if part.any() and min(part.shape) > 1:
            drawn = axes.contour(across, down, np.pad(part.astype(float), 1), levels=[0.5], colors=[look[word][0]],
                                 linewidths=1.4, linestyles=[look[word][1]])
            if masks.image is not None:
                drawn.set_path_effects([withStroke(linewidth=2.4, foreground=(0, 0, 0, 0.6))])
    at = [(position - start + 0.5) * step for position, start, step in zip(focus, starts, steps, strict=True)]
    line = INK if masks.image is None else "white"
    if masks.prediction is not None:
        axes.plot(at[horizontal], at[vertical], marker="+", markersize=9, markeredgewidth=1.0, color=line)
    axes.set(xlim=(0, width), ylim=(0, height) if upwards else (height, 0), aspect="equal", anchor="N", xticks=[],
             yticks=[])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set(visible=True, color="#d0d7de")
    if axis == 0:
        axes.plot([3, 23], [height - 4, height - 4], color=line, linewidth=2, solid_capstyle="butt")
        axes.text(13, height - 6, "20 mm", ha="center", va="bottom", fontsize=6.5, color=line)


def _box(mask: NDArray[np.bool_], spacing_mm_zyx: tuple[float, float, float]) -> tuple[slice, ...]:
    box = []
    for axis, step in enumerate(spacing_mm_zyx):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        margin = int(np.ceil(MARGIN_MM / step))
        box.append(slice(max(int(used[0]) - margin, 0), min(int(used[-1]) + 1 + margin, mask.shape[axis])))
    return tuple(box)
