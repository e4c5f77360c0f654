"""One hip through the networks: a box first, a larger one where the femur leaves it, the whole half where unsure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.components import keep_largest
from femur_nnunet.segmentation.hip_region import case_shape, window_record
from femur_nnunet.segmentation.mask_cleaning import clean_mask
from femur_nnunet.segmentation.model import SegmentationModel
from femur_nnunet.segmentation.patch_lattice import PatchLattice
from femur_nnunet.segmentation.plan_grid import Box, FloatArray, IntensityLimits, PlanGrid, nonzero_box, three
from femur_nnunet.volume_io.geometry import GeometryRecord
from femur_nnunet.volume_io.volume import Volume

GROWTH_MM = 30.0
# The region reaches further than this beyond any femur, so that its ends need no patch of their own; a femur that
# does touch a side makes the box grow.
SLACK_MM = 16.0
MOST_GROWTHS = 4
# A femur that is in view at all holds at least a head.
LEAST_FEMUR_ML = 10.0
# The second view that stands in for other folds: patches moved by half their distance, HU changed by what scanners
# differ by in bone (2 %) and soft tissue (10 HU).
VIEW_GAIN, VIEW_OFFSET_HU = 1.02, 10.0
LookedAt = Literal["box", "grown box", "whole half"]
AgreementOf = Literal["folds", "views"]


@dataclass(frozen=True)
class PredictionOptions:
    """How a hip is predicted.

    Attributes
    ----------
    step : float
        Distance of patches as a share of their edge.
    mirror : bool
        Average over the mirrorings that the bundle allows.
    localise : bool
        Look into the box around the femur alone, where one is known.
    second_view : bool
        With one fold, predict a second view and say how far both agree.
    uncertainty : bool
        Also give the uncertainty of every voxel.
    """

    step: float = 0.5
    mirror: bool = True
    localise: bool = True
    second_view: bool = True
    uncertainty: bool = False


@dataclass(frozen=True)
class HipPrediction:
    """The femur of one hip; arrays lie on ``record``'s box, (z, y, x), and look like a left hip.

    Attributes
    ----------
    record : GeometryRecord
        The way from the scan into the box and back.
    mask : ndarray of bool
        The femur, cleaned as the bundle asks for.
    raw_mask : ndarray of bool
        As the networks give it.
    looked_at : str
        ``box``, ``grown box`` or ``whole half``.
    patches : int
        Patches that the networks saw, all folds and views together.
    agreement : float or None
        Lowest Dice between two folds' masks, or between both views'.
    agreement_of : str or None
        ``folds`` or ``views``.
    uncertainty : ndarray of float32 or None
        Entropy in bits (0 to 1) of the femur's mean probability over folds and views.
    """

    record: GeometryRecord
    mask: NDArray[np.bool_]
    raw_mask: NDArray[np.bool_]
    looked_at: LookedAt
    patches: int
    agreement: float | None = None
    agreement_of: AgreementOf | None = None
    uncertainty: FloatArray | None = None

    @property
    def volume_ml(self) -> float:
        """Volume of the mask."""
        return float(np.count_nonzero(self.mask) * np.prod(self.record.source_grid.spacing_mm_ijk) / 1000)


def predict_hip(volume: Volume, record: GeometryRecord, region: Box | None, model: SegmentationModel,
                options: PredictionOptions, *, on_patch: Callable[[], Any] | None = None) -> HipPrediction:
    """Segment one hip.

    With a region the networks see a box around it alone, through those of the whole half's patches that cover it.
    Where the femur touches a side of the box that is not the case's own, it grows there by 30 mm, four times at most.
    Without a region, without a femur in it, or where that does not end, the whole half is looked at.

    Parameters
    ----------
    volume : Volume
        The scan as read.
    record : GeometryRecord
        How the hip's case is cut out of it.
    region : Box or None
        Box (z, y, x) of the case to begin with.
    model : SegmentationModel
        The networks.
    options : PredictionOptions
        How.
    on_patch : callable, optional
        Called after each patch.
    """
    hip = _Hip(volume, record, model, options, on_patch)
    if region is not None and options.localise:
        window, patches = hip.seen(hip.grid.window_around(region, at_least=model.facts.patch_size), slack_mm=SLACK_MM)
        for growths in range(MOST_GROWTHS + 1):
            logits = hip.logits(window, patches)
            femur = keep_largest(_is_femur(logits, model.femur_label))
            wider = _grown(window, femur, hip.grid)
            if wider == window and np.count_nonzero(femur) * hip.plan_voxel_ml >= LEAST_FEMUR_ML:
                return hip.result(window, logits, "grown box" if growths else "box")
            if wider in (window, hip.grid.whole):
                break
            window, patches = hip.seen(wider)
    return hip.result(hip.grid.whole, hip.logits(hip.grid.whole), "whole half")


class _Hip:
    """One hip's case with the networks that are run over it."""

    def __init__(self, volume: Volume, record: GeometryRecord, model: SegmentationModel, options: PredictionOptions,
                 on_patch: Callable[[], Any] | None) -> None:
        self.volume, self.record, self.model, self.options = volume, record, model, options
        self.on_patch = on_patch
        self.patches = 0
        case = _view_of_case(volume, record)
        spacing_x, spacing_y, spacing_z = record.case_grid.spacing_mm_ijk
        self.grid = PlanGrid(model.facts, (spacing_z, spacing_y, spacing_x), nonzero_box(case))
        self.limits = IntensityLimits.of_case(case, self.grid)
        self.plan_voxel_ml = float(np.prod(model.facts.spacing_mm)) / 1000

    def seen(self, window: Box, *, slack_mm: float = 0.0) -> tuple[Box, PatchLattice]:
        """Return the box of those patches of the whole half that cover a window, but for a slack at its sides."""
        facts = self.model.facts
        whole = PatchLattice.of_image(self.grid.shape, facts.patch_size, self.options.step)
        return whole.around(window, slack=[round(slack_mm / spacing) for spacing in facts.spacing_mm])

    def logits(self, window: Box, patches: PatchLattice | None = None, *, gain: float = 1.0,
               offset_hu: float = 0.0) -> list[FloatArray]:
        """Return the logits (classes, ...) of each fold in a window of the plan's grid, seen through given patches."""
        # Imported here: it brings torch.
        from femur_nnunet.segmentation.sliding_window import predict_logits

        image = self.grid.image_window(window, self._read, self.limits, gain=gain, offset_hu=offset_hu)
        mirror = self.model.facts.mirror_axes if self.options.mirror else ()
        return [predict_logits(network, image, self.model.facts.patch_size, step=self.options.step,
                               mirror_axes=mirror, device=self.model.device, lattice=patches,
                               on_patch=self._count)
                for network in self.model.networks]

    def result(self, window: Box, logits: list[FloatArray], looked_at: LookedAt) -> HipPrediction:
        """Bring logits back onto the scan's voxels and say how far folds or views agree."""
        label = self.model.femur_label
        members, agreement_of = logits, "folds"
        if len(logits) == 1 and self.options.second_view:
            members, agreement_of = [*logits, self._second_view(window)], "views"
        box = self.grid.case_box(window)
        raw = self._femur_on_case(_mean(logits), window)
        steps = self.model.manifest.postprocessing
        mask = clean_mask(raw, largest_component=steps.largest_component.use, fill_holes=steps.fill_holes.use)
        found = HipPrediction(window_record(self.record, box), mask, raw, looked_at, self.patches)
        if len(members) > 1:
            masks = [keep_largest(_is_femur([member], label)) for member in members]
            found = replace(found, agreement=_lowest_dice(masks),
                            agreement_of=agreement_of)  # type: ignore[arg-type]
        if self.options.uncertainty:
            mean = _mean([_probability(member, label) for member in members])
            found = replace(found, uncertainty=_entropy_bits(self.grid.on_case(mean, window)))
        return found

    def _femur_on_case(self, logits: FloatArray, window: Box) -> NDArray[np.bool_]:
        if len(logits) == 2:
            # Resampling is linear: that of the difference says which of two classes is larger, at half the cost.
            other = 1 - self.model.femur_label
            return np.asarray(self.grid.on_case(logits[self.model.femur_label] - logits[other], window) > 0)
        best = self.grid.on_case(logits[0], window)
        femur = np.zeros(best.shape, dtype=bool)
        for value in range(1, len(logits)):
            values = self.grid.on_case(logits[value], window)
            larger = values > best
            femur[larger] = value == self.model.femur_label
            np.maximum(best, values, out=best)
        return femur

    def _second_view(self, window: Box) -> FloatArray:
        """Return the logits of the window when patches lie elsewhere and HU are a little others."""
        shift = [round(edge * self.options.step / 2) for edge in self.model.facts.patch_size]
        wider = Box(*(three(values) for values in (
            [max(0, start - by) for start, by in zip(window.start, shift, strict=True)],
            [min(size, stop + by) for stop, by, size in zip(window.stop, shift, self.grid.shape, strict=True)])))
        logits = self.logits(wider, gain=VIEW_GAIN, offset_hu=VIEW_OFFSET_HU)[0]
        inner = window.moved(three([-start for start in wider.start]))
        return logits[:, inner.slices[0], inner.slices[1], inner.slices[2]]

    def _read(self, box: Box) -> NDArray[Any]:
        return window_record(self.record, box).forward(self.volume.array)

    def _count(self) -> None:
        self.patches += 1
        if self.on_patch is not None:
            self.on_patch()


def _view_of_case(volume: Volume, record: GeometryRecord) -> NDArray[Any]:
    """Return the case without copying it."""
    oriented = record.mapping.apply(volume.array)
    box = Box(record.crop_start_xyz[::-1], record.crop_stop_xyz[::-1])
    case = oriented[box.slices]
    assert case.shape == case_shape(record)
    return case[..., ::-1] if record.left_right_flipped else case


def _is_femur(logits: list[FloatArray], label: int) -> NDArray[np.bool_]:
    return np.asarray(np.argmax(_mean(logits), axis=0) == label)


def _mean(arrays: list[FloatArray]) -> FloatArray:
    """Return the mean of arrays of one shape, the one array itself where there is no other."""
    if len(arrays) == 1:
        return arrays[0]
    total = arrays[0].copy()
    for array in arrays[1:]:
        total += array
    total /= np.float32(len(arrays))
    return total


def _probability(logits: FloatArray, label: int) -> FloatArray:
    """Return the softmax of one class."""
    powers = np.exp(logits - logits.max(axis=0))
    return np.asarray(powers[label] / powers.sum(axis=0))


def _entropy_bits(probability: FloatArray) -> FloatArray:
    inside = np.clip(probability, 1e-6, 1 - 1e-6)
    return np.asarray(-inside * np.log2(inside) - (1 - inside) * np.log2(1 - inside), dtype=np.float32)


def _lowest_dice(masks: list[NDArray[np.bool_]]) -> float:
    """Return the lowest Dice of two of the masks; 1 where both are empty."""
    lowest = 1.0
    for index, first in enumerate(masks):
        for second in masks[index + 1:]:
            total = np.count_nonzero(first) + np.count_nonzero(second)
            lowest = min(lowest, 2 * np.count_nonzero(first & second) / total if total else 1.0)
    return float(lowest)


def _grown(window: Box, femur: NDArray[np.bool_], grid: PlanGrid) -> Box:
    """Return the window, wider where the femur touches a side that is not the case's own."""
    start, stop = list(window.start), list(window.stop)
    for axis in range(3):
        step = max(1, round(GROWTH_MM / grid.facts.spacing_mm[axis]))
        if start[axis] > 0 and np.take(femur, 0, axis=axis).any():
            start[axis] = max(0, start[axis] - step)
        if stop[axis] < grid.shape[axis] and np.take(femur, -1, axis=axis).any():
            stop[axis] = min(grid.shape[axis], stop[axis] + step)
    return Box(three(start), three(stop))
