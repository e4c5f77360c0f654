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
                     spacing_mm_zyx: tuple[float, float, float]) -> float:
    """Specificity inside the reference's bounding box grown by 20 mm, cut at the image's edge.

    Specificity over the whole image is almost 1 and changes with the field of view; inside this box
    it does not. The margin is rounded to whole voxels along each axis. NaN for an empty reference.
    """
    box = bounding_box(reference)
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
    """Return the smallest box that holds the mask, ``None`` for an empty one."""
    plane = np.asarray(mask.any(axis=0))
    used = [np.asarray(line) for line in (mask.any(axis=(1, 2)), plane.any(axis=1), plane.any(axis=0))]
    if not used[0].any():
        return None
    ends = [(int(line.argmax()), len(line) - int(line[::-1].argmax())) for line in used]
    return slice(*ends[0]), slice(*ends[1]), slice(*ends[2])


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
