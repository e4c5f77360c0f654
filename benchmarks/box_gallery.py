"""The hips on which the box model does worst: three planes through the place of the largest error, both contours.

    python benchmarks/box_gallery.py --work DIR --out docs/images/box_worst.png

after benchmarks/box_model.py, whose renderings (``--work``) and box_model_hips.csv it reads. Failures teach more than
means.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np
from bench_support import RESULTS
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import ndimage

from femur_nnunet.errors import FemurError
from femur_nnunet.files import read_json
from femur_nnunet.randomised.pool import RECORD_NAME
from femur_nnunet.segmentation.segment import LABEL_OF_SIDE, ready_model, segment_volume
from femur_nnunet.volume_io import Volume, read_mask, read_volume

WINDOW_HU = (-200, 900)
AROUND_MM = 75.0


def worst(path: Path, count: int) -> list[dict[str, str]]:
    """The rows of the lowest Dice, one a body."""
    with path.open(newline="", encoding="utf-8") as handle:
        rows = sorted(csv.DictReader(handle), key=lambda row: float(row["dice"]))
    chosen: dict[str, dict[str, str]] = {}
    for row in rows:
        # The same body stands in several levels: it would fill the page.
        box, _, body = row["image"].split("/", 2)
        chosen.setdefault(f"{box}/{body}", row)
    return list(chosen.values())[:count]


def segmented(scan: Volume, row: dict[str, str], model: Any) -> tuple[np.ndarray, str]:
    """The model's mask of one side, and what came out in words."""
    try:
        result = segment_volume(scan, model, second_view=False)
    except FemurError:
        side: Any = row["side"]
        result = segment_volume(scan, model, side=side, second_view=False)
    told = ", ".join(sorted({finding.caution.value for finding in result.findings
                             if finding.side in (None, row["side"])}))
    return result.mask == LABEL_OF_SIDE[row["side"]], told  # type: ignore[index]


def draw(axes: Any, scan: Volume, truth: np.ndarray, mask: np.ndarray) -> None:
    """Draw axial, coronal and sagittal planes through the middle of the largest error."""
    spacing = scan.grid.spacing_mm_ijk[::-1]
    parts, _ = ndimage.label(truth ^ mask)
    sizes = np.bincount(parts.ravel())[1:]
    where = parts == sizes.argmax() + 1 if sizes.size else truth
    at = [round(float(place.mean())) for place in np.nonzero(where)]
    for axis, panel in zip(range(3), axes, strict=True):
        rows, columns = (other for other in range(3) if other != axis)
        window = tuple(at[axis] if number == axis else slice(
            max(0, at[number] - round(AROUND_MM / spacing[number])), at[number] + round(AROUND_MM / spacing[number]))
            for number in range(3))
        panel.imshow(scan.array[window], cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1],
                     aspect=spacing[rows] / spacing[columns], origin="upper" if axis == 0 else "lower")
        for contour, colour, style in ((truth, "#ffd60a", "dashed"), (mask, "#00e5ff", "solid")):
            if contour[window].any() and not contour[window].all():
                panel.contour(contour[window].astype(float), [0.5], colors=colour, linestyles=style, linewidths=1.3)
        panel.set_axis_off()


def main() -> None:
    """Draw the page."""
    parser = argparse.ArgumentParser(description="The box model's worst hips.")
    parser.add_argument("--work", type=Path, required=True, help="box_model.py's --work")
    parser.add_argument("--hips", type=Path, default=RESULTS / "box_model_hips.csv", help="table of all hips")
    parser.add_argument("--model", type=Path, help="model bundle (default: the model in the box)")
    parser.add_argument("--count", type=int, default=8, help="hips (default: 8)")
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    options = parser.parse_args()
    model, rows = ready_model(options.model), worst(options.hips, options.count)
    figure = Figure(figsize=(15, 2.7 * ((len(rows) + 1) // 2)), facecolor="#0d1117", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots((len(rows) + 1) // 2, 6, squeeze=False).reshape(-1, 3)
    for panels in axes[len(rows):]:
        for panel in panels:
            panel.set_axis_off()
    for row, panels in zip(rows, axes, strict=False):
        image = options.work / row["image"]
        scan = read_volume(image)
        label = read_mask(image.with_name("femora.nii.gz"), scan.grid)
        record = read_json(image.with_name(RECORD_NAME), what="a rendering's record", action="render it again")
        one_side = record["field"] != "pelvis"
        mask, told = segmented(scan, row, model)
        draw(panels, scan, label == (1 if one_side else LABEL_OF_SIDE[row["side"]]), mask)  # type: ignore[index]
        draws = record["draws"]
        title = (f"{row['participant_id']}, {row['side']}: Dice {float(row['dice']):.3f}, "
                 f"{record['spacing_mm_xyz'][2]:.1f} mm slices,\nnoise {draws['noise_hu']:.0f} HU, spongiosa "
                 f"x{draws['trabecular_factor']:.2f}; {told or 'no warning'}")
        panels[0].set_title(title, color="#e6edf3", fontsize=9, loc="left")
        print(row["image"], row["side"], row["dice"], told, flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out, dpi=90, facecolor="#0d1117")


if __name__ == "__main__":
    main()
