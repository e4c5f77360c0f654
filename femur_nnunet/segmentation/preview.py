"""One picture of a segmentation: the whole scan, three planes of each femur with its contour, and the warnings."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.segmentation.hip_checks import SideName
from femur_nnunet.volume_io.orientation import best_axis_mapping
from femur_nnunet.volume_io.volume import Volume

if TYPE_CHECKING:
    from femur_nnunet.segmentation.segment import Segmentation, SegmentedFemur

# Bone window: cortex and spongiosa apart, soft tissue still to be seen.
WINDOW_HU = (-250, 750)
# Yellow and blue differ for every kind of colour vision; the right side's contour is dashed as well.
COLOURS: dict[SideName, str] = {"left": "#ffd60a", "right": "#00e5ff"}
_STYLES: dict[SideName, str] = {"left": "solid", "right": "dashed"}
_GRAVITY_COLOURS = {"grave": "#ff6b6b", "look": "#ffb454", "note": "#9aa5b1"}
_BACKGROUND, _TEXT, _FAINT = "#0d1117", "#e6edf3", "#8b949e"
_MARGIN_MM = 30.0
_DPI = 100
_OVERVIEW_INCH, _ROW_INCH, _GAP_INCH = 5.2, 4.0, 0.18
_HEADING_INCH, _TITLE_INCH, _LINE_INCH, _LEAST_WIDTH_INCH = 0.85, 0.36, 0.24, 14.0
_LETTERS = {"axial": ("R", "L", "A", "P"), "coronal": ("R", "L", "S", "I"), "sagittal": ("A", "P", "S", "I")}


@dataclass(frozen=True)
class _Plane:
    """A plane to be drawn, the first row on top."""

    kind: str
    image: NDArray[Any]
    label: NDArray[np.uint8]
    spacing_mm: tuple[float, float]
    title: str

    @property
    def height_mm(self) -> float:
        """Extent from the first row's upper edge to the last one's lower edge."""
        return float(self.image.shape[0] * self.spacing_mm[0])

    @property
    def width_mm(self) -> float:
        """Extent along a row."""
        return float(self.image.shape[1] * self.spacing_mm[1])


def write_preview(path: Path, volume: Volume, segmentation: Segmentation, *, heading: str,
                  lines: Sequence[str] = ()) -> None:
    """Draw a segmentation into a PNG.

    Parameters
    ----------
    path : Path
        The file.
    volume : Volume
        The scan as read.
    segmentation : Segmentation
        Of this scan.
    heading : str
        Which model, of which kind.
    lines : sequence of str
        Further lines below the picture, as densities.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    told = [*((line, _TEXT) for line in lines), *_told(segmentation)]
    scan = _Scan(volume, segmentation.mask)
    rows = [scan.planes(femur) for femur in segmentation.femora]
    panels, width, height = _layout(scan.overviews(bool(rows)), rows, _LINE_INCH * len(told) + 0.15)
    figure = Figure(figsize=(width, height), facecolor=_BACKGROUND)
    FigureCanvasAgg(figure)
    for plane, (left, top, wide, high) in panels:
        _draw(figure.add_axes((left / width, 1 - (top + high) / height, wide / width, high / height)), plane)
    figure.text(_GAP_INCH / width, 1 - 0.16 / height, heading, color=_TEXT, fontsize=13, fontweight="bold", va="top")
    said = (f"window {WINDOW_HU[0]} to {WINDOW_HU[1]} HU   |   the patient's left is on the image's right   |   "
            "research use only")
    figure.text(1 - _GAP_INCH / width, 1 - 0.2 / height, said, color=_FAINT, fontsize=9.5, va="top", ha="right")
    for number, (line, colour) in enumerate(told):
        y = _LINE_INCH * (len(told) - number) + 0.05
        figure.text(_GAP_INCH / width, y / height, line, color=colour, fontsize=10, va="top")
    figure.savefig(path, dpi=_DPI, facecolor=_BACKGROUND)


_Placed = tuple[_Plane, tuple[float, float, float, float]]


def _layout(overviews: Sequence[_Plane], rows: Sequence[Sequence[_Plane]],
            text_inch: float) -> tuple[list[_Placed], float, float]:
    """Return each plane with left, top, width and height in inches, and the figure's width and height.

    The planes of a femur share one scale, so that a millimetre is a millimetre in all three; the whole scan stands to
    their left.
    """
    placed: list[_Placed] = []
    top = _HEADING_INCH
    right = _GAP_INCH + _OVERVIEW_INCH
    for planes in rows:
        scale = _ROW_INCH / max(plane.height_mm for plane in planes)
        left = 2 * _GAP_INCH + _OVERVIEW_INCH
        for plane in planes:
            wide, high = plane.width_mm * scale, plane.height_mm * scale
            placed.append((plane, (left, top, wide, high)))
            left += wide + _GAP_INCH
        right = max(right, left - _GAP_INCH)
        top += _ROW_INCH + _TITLE_INCH
    below = _HEADING_INCH
    for plane in overviews:
        high = plane.height_mm / plane.width_mm * _OVERVIEW_INCH
        placed.append((plane, (_GAP_INCH, below, _OVERVIEW_INCH, high)))
        below += high + _TITLE_INCH
    width = max(right + _GAP_INCH, _LEAST_WIDTH_INCH)
    return placed, width, max(top, below) - _TITLE_INCH + 0.2 + text_inch


def _told(segmentation: Segmentation) -> list[tuple[str, str]]:
    """Return the warnings as lines with their colours."""
    if not segmentation.findings:
        return [("No warnings.", "#7ee787")]
    lines = []
    for finding in segmentation.findings:
        mark = {"grave": "!!", "look": "! ", "note": "i "}[finding.rule.gravity]
        for number, part in enumerate(textwrap.wrap(str(finding), 175)):
            lines.append((f"{mark if number == 0 else '  '}  {part}", _GRAVITY_COLOURS[finding.rule.gravity]))
    return lines


class _Scan:
    """Image and mask in patient order, (z, y, x) in LPS, without copies."""

    def __init__(self, volume: Volume, mask: NDArray[np.uint8]) -> None:
        mapping = best_axis_mapping(volume.grid.direction_matrix)
        self.image, self.mask = mapping.apply(volume.array), mapping.apply(mask)
        self.spacing_xyz = mapping.apply_to_grid(volume.grid).spacing_mm_ijk

    def overviews(self, has_femora: bool) -> list[_Plane]:
        """Return a coronal and an axial plane of the whole scan, where the masks are largest."""
        x_mm, y_mm, z_mm = self.spacing_xyz
        level, row = self.image.shape[0] // 2, self.image.shape[1] // 2
        if has_femora:
            level = int(np.argmax(np.count_nonzero(self.mask, axis=(1, 2))))
            row = int(np.argmax(np.count_nonzero(self.mask, axis=(0, 2))))
        said = "" if has_femora else ", no femur"
        return [
            _Plane("coronal", self.image[::-1, row], self.mask[::-1, row], (z_mm, x_mm), f"whole scan, coronal{said}"),
            _Plane("axial", self.image[level], self.mask[level], (y_mm, x_mm), f"whole scan, axial{said}")]

    def planes(self, femur: SegmentedFemur) -> list[_Plane]:
        """Return axial, coronal and sagittal planes through a femur, cut to its surroundings."""
        from femur_nnunet.segmentation.segment import LABEL_OF_SIDE

        x_mm, y_mm, z_mm = self.spacing_xyz
        value = LABEL_OF_SIDE[femur.side]
        inside = _box(self.mask, value, (z_mm, y_mm, x_mm))
        own = self.mask[inside] == value
        # The level of head and neck, where the section is largest; planes through the middle of that section.
        level = int(np.argmax(np.count_nonzero(own, axis=(1, 2))))
        row = int(np.argmax(np.count_nonzero(own, axis=(0, 2))))
        column = int(np.argmax(np.count_nonzero(own, axis=(0, 1))))
        image, label = self.image[inside], self.mask[inside]
        words = [f"{femur.side} femur, {femur.volume_ml:.0f} ml"]
        if femur.agreement is not None:
            words.append(f"{femur.agreement_of} agree {femur.agreement:.3f}")
        return [
            _Plane("axial", image[level], label[level], (y_mm, x_mm), ", ".join(words)),
            _Plane("coronal", image[::-1, row], label[::-1, row], (z_mm, x_mm), "coronal"),
            _Plane("sagittal", image[::-1, :, column], label[::-1, :, column], (z_mm, y_mm), "sagittal")]


def _draw(axis: Any, plane: _Plane) -> None:
    from matplotlib.patheffects import withStroke

    rows, columns = plane.image.shape
    height, width = plane.height_mm, plane.width_mm
    # Letters have to be read on bone too.
    outlined = [withStroke(linewidth=2.5, foreground="black")]
    axis.imshow(plane.image, cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1], extent=(0, width, height, 0),
                interpolation="bilinear")
    x = (np.arange(columns) + 0.5) * plane.spacing_mm[1]
    y = (np.arange(rows) + 0.5) * plane.spacing_mm[0]
    from femur_nnunet.segmentation.segment import LABEL_OF_SIDE

    for side, value in LABEL_OF_SIDE.items():
        femur = plane.label == value
        if femur.any() and min(femur.shape) > 1:
            axis.contour(x, y, femur.astype(float), [0.5], colors=COLOURS[side], linewidths=1.4,
                         linestyles=_STYLES[side])
    start, end, top, bottom = _LETTERS[plane.kind]
    for letter, x_place, y_place, across, along in (
            (start, 0.015, 0.5, "left", "center"), (end, 0.985, 0.5, "right", "center"),
            (top, 0.5, 0.985, "center", "top"), (bottom, 0.5, 0.015, "center", "bottom")):
        axis.text(x_place, y_place, letter, transform=axis.transAxes, color=_TEXT, fontsize=10, fontweight="bold",
                  ha=across, va=along, path_effects=outlined)
    _draw_scale(axis, width, height)
    colour = next((COLOURS[side] for side in COLOURS if plane.title.startswith(side)), _FAINT)
    axis.set_title(plane.title, fontsize=9.5, color=colour, loc="left", pad=4)
    axis.set_facecolor(_BACKGROUND)
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_color("#30363d")


def _draw_scale(axis: Any, width_mm: float, height_mm: float) -> None:
    x, y = 0.05 * width_mm, 0.95 * height_mm
    axis.plot([x, x + 20], [y, y], color=_TEXT, linewidth=2.5, solid_capstyle="butt")
    axis.text(x + 10, y - 0.012 * height_mm, "20 mm", color=_TEXT, fontsize=7.5, ha="center", va="bottom")


def _box(mask: NDArray[np.uint8], value: int, spacing_zyx: tuple[float, float, float]) -> tuple[slice, slice, slice]:
    own = mask == value
    found = []
    for axis, spacing in enumerate(spacing_zyx):
        filled = np.flatnonzero(own.any(axis=tuple({0, 1, 2} - {axis})))
        margin = round(_MARGIN_MM / spacing)
        found.append(slice(max(0, int(filled[0]) - margin), int(filled[-1]) + 1 + margin))
    return found[0], found[1], found[2]
