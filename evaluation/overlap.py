"""Overlap of two masks: counts of voxels, and the fractions and volumes made of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEAR_MARGIN_MM = 20.0
"""Margin around the reference's box inside which ``specificity_near`` is taken."""

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Overlap:
    """Voxel counts of a reference and a prediction.

    Attributes
    ----------
    true_positive, false_positive, false_negative : int
        Voxels in both masks, in the prediction alone, in the reference alone.
    """

    true_positive: int
    false_positive: int
    false_negative: int

    @property
    def dice(self) -> float:
        """``2 TP / (2 TP + FP + FN)`` (Dice 1945)."""
        return _ratio(2 * self.true_positive, 2 * self.true_positive + self.false_positive + self.false_negative)

    @property
    def iou(self) -> float:
        """``TP / (TP + FP + FN)`` (Jaccard 1912)."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive + self.false_negative)

    @property
    def sensitivity(self) -> float:
        """``TP / (TP + FN)``: the part of the reference that was found."""
        return _ratio(self.true_positive, self.true_positive + self.false_negative)

    @property
    def precision(self) -> float:
        """``TP / (TP + FP)``: the part of the prediction that is right."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive)

    def specificity(self, voxel_count: int) -> float:
        """``TN / (TN + FP)`` in a region of ``voxel_count`` voxels that holds every counted voxel."""
        true_negative = voxel_count - self.true_positive - self.false_positive - self.false_negative
        return _ratio(true_negative, true_negative + self.false_positive)


def count_overlap(reference: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> Overlap:
    """Count the voxels of two masks of equal shape."""
    both = int(np.count_nonzero(reference & prediction))
    return Overlap(both, int(np.count_nonzero(prediction)) - both, int(np.count_nonzero(reference)) - both)


def specificity_near(reference: NDArray[np.bool_], prediction: NDArray[np.bool_],
                     spacing_mm_zyx: tuple[float, float, float], reference_box: Box | None = None) -> float:
    """Specificity inside the reference's bounding box grown by 20 mm, cut at the image's edge.

    Both masks have the shape (z, y, x).
    Specificity over the whole image is almost 1 and changes with the field of view; inside this box
    it does not. The margin is rounded to whole voxels along each axis. NaN for an empty reference.
    ``reference_box`` saves looking for the box where it is known.
    """
    box = reference_box or bounding_box(reference)
    if box is None:
        return float("nan")
    margins = [int(np.rint(NEAR_MARGIN_MM / spacing)) for spacing in spacing_mm_zyx]
    near = grow_box(box, margins, reference.shape)
    inside = count_overlap(reference[near], prediction[near])
    return inside.specificity(reference[near].size)


def volume_ml(voxel_count: int, spacing_mm_zyx: tuple[float, float, float]) -> float:
    """Volume of voxels in millilitres (1 ml = 1000 mm3)."""
    return voxel_count * float(np.prod(spacing_mm_zyx)) / 1000.0


def bounding_box(mask: NDArray[np.bool_]) -> Box | None:
    """Return the smallest box that holds the mask (z, y, x), ``None`` for an empty one."""
    slices = np.flatnonzero([plane.any() for plane in mask])
    if not slices.size:
        return None
    used = np.asarray(mask[slices[0]:slices[-1] + 1].any(axis=0))
    rows, columns = np.flatnonzero(used.any(axis=1)), np.flatnonzero(used.any(axis=0))
    return (slice(int(slices[0]), int(slices[-1]) + 1), slice(int(rows[0]), int(rows[-1]) + 1),
            slice(int(columns[0]), int(columns[-1]) + 1))


def within_box(mask: NDArray[np.bool_], outer: Box) -> Box | None:
    """Return the smallest box that holds the part of the mask (z, y, x) inside ``outer``, ``None`` if there is none."""
    inner = bounding_box(mask[outer])
    if inner is None:
        return None
    ends = [slice(a.start + b.start, a.start + b.stop) for a, b in zip(outer, inner, strict=True)]
    return ends[0], ends[1], ends[2]


def separate_boxes(mask: NDArray[np.bool_], outer: Box, gaps: list[int]) -> list[Box]:
    """Return boxes that together hold the mask inside ``outer``, cut at runs of empty planes.

    Parameters
    ----------
    mask : ndarray of bool, shape (z, y, x)
        The mask.
    outer : tuple of slice
        Where to look.
    gaps : list of int
        Fewest empty planes along each axis that a cut is made at.
    """
    inner = within_box(mask, outer)
    boxes = [] if inner is None else [inner]
    for axis in range(3):
        boxes = [part for box in boxes for part in _cut(mask, box, axis, gaps[axis])]
    return boxes


def _cut(mask: NDArray[np.bool_], box: Box, axis: int, gap: int) -> list[Box]:
    others = tuple(other for other in range(3) if other != axis)
    used = np.flatnonzero(mask[box].any(axis=others)) + box[axis].start
    parts = []
    for run in np.split(used, np.flatnonzero(np.diff(used) > gap) + 1):
        sides = [slice(int(run[0]), int(run[-1]) + 1) if a == axis else box[a] for a in range(3)]
        part = within_box(mask, (sides[0], sides[1], sides[2]))
        if part is not None:
            parts.append(part)
    return parts


def union_box(first: Box | None, second: Box | None) -> Box | None:
    """Return the smallest box that holds both boxes; a missing one holds nothing."""
    if first is None or second is None:
        return first or second
    ends = [slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second, strict=True)]
    return ends[0], ends[1], ends[2]


def grow_box(box: Box, margins: list[int], shape: tuple[int, ...]) -> Box:
    """Return the box grown by whole voxels along each axis and cut at the image's edge."""
    ends = [slice(max(side.start - margin, 0), min(side.stop + margin, size))
            for side, margin, size in zip(box, margins, shape, strict=True)]
    return ends[0], ends[1], ends[2]


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else float("nan")
