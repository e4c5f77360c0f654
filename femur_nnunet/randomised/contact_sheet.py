"""A picture of many renderings of a pool: coronal, axial and sagittal slices with the mask's contour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from femur_nnunet.files import atomic_path
from femur_nnunet.randomised.pool import IMAGE_NAME, MASK_NAME, read_records
from femur_nnunet.volume_io.image_files import read_image_file

WINDOW_HU = (-250, 750)
_CONTOUR = "#ff8c1a"
_ACROSS = 4


def write_contact_sheet(out: Path, path: Path, *, first: int = 0, count: int = 20) -> int:
    """Draw renderings of a pool, in each case the slices through the middle of a femoral mask.

    Parameters
    ----------
    out : Path
        The pool.
    path : Path
        PNG to be written.
    first, count : int
        Which of the pool's renderings, in order of subject and number.

    Returns
    -------
    int
        How many were drawn.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    chosen = read_records(out)[first:first + count]
    rows = -(-len(chosen) // _ACROSS)
    figure = Figure(figsize=(6.0 * _ACROSS, 2.5 * max(rows, 1)), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(max(rows, 1), 3 * _ACROSS, squeeze=False)
    for axis in axes.ravel():
        axis.set_axis_off()
    for index, record in enumerate(chosen):
        row, column = divmod(index, _ACROSS)
        _draw(axes[row, 3 * column:3 * column + 3], out / record["subject"] / f"v{record['number']:02d}", record)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=75)
    return len(chosen)


def _draw(axes: Any, folder: Path, record: dict[str, Any]) -> None:
    image = read_image_file(folder / IMAGE_NAME, subject=folder.name).array
    mask = read_image_file(folder / MASK_NAME, subject=folder.name).array > 0
    spacing = record["spacing_mm_xyz"]
    at = [int(np.median(index)) for index in np.nonzero(mask)] if mask.any() else [size // 2 for size in image.shape]
    planes = [(image[at[0]], mask[at[0]], 1.0),
              (image[::-1, at[1]], mask[::-1, at[1]], spacing[2] / spacing[0]),
              (image[::-1, :, at[2]], mask[::-1, :, at[2]], spacing[2] / spacing[1])]
    for axis, (plane, own, aspect) in zip(axes, planes, strict=True):
        axis.imshow(plane, cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1], aspect=aspect)
        if own.any():
            axis.contour(own, [0.5], colors=_CONTOUR, linewidths=0.6)
    draws = record["draws"]
    axes[0].set_title(f"{record['subject']} {record['number']}, {draws['kvp']:.0f} kVp, {draws['noise_hu']:.0f} HU, "
                      f"{record['slice_thickness_mm']:.1f} mm" + (f", {record['metal']}" if record["metal"] else ""),
                      fontsize=7, loc="left")
