"""The grid that a plan asks for, and the way onto it and back for any window of a case, as nnU-Net resamples.

nnU-Net resamples a whole case with a cubic spline, and logits linearly. Both are linear operations along one axis after
the other, so they are written here as one small matrix an axis, made by the very function that nnU-Net calls. A window
then needs the voxels around it alone, and gets the values that resampling the whole case would give there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.errors import UsageError
from femur_nnunet.model_bundle import InferenceFacts

Triple = tuple[int, int, int]
FloatArray = NDArray[np.float32]
# Weights of a spline's operator below this are left out: the values are a few units, so this is far below what counts.
_LEAST_WEIGHT = 1e-7
_RESAMPLER = "resample_data_or_seg_to_shape"


@dataclass(frozen=True)
class Box:
    """A box of voxels, stop exclusive; the order of the axes is its user's."""

    start: Triple
    stop: Triple

    @property
    def shape(self) -> Triple:
        """Number of voxels along each axis."""
        first, second, third = (stop - start for start, stop in zip(self.start, self.stop, strict=True))
        return first, second, third

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The box as an index."""
        first, second, third = (slice(start, stop) for start, stop in zip(self.start, self.stop, strict=True))
        return first, second, third

    def reordered(self, order: tuple[int, ...]) -> Box:
        """Return the box with its axes in another order."""
        return Box(three([self.start[axis] for axis in order]), three([self.stop[axis] for axis in order]))

    def moved(self, by: Triple) -> Box:
        """Return the box moved by some voxels."""
        return Box(three([a + b for a, b in zip(self.start, by, strict=True)]),
                   three([a + b for a, b in zip(self.stop, by, strict=True)]))


class PlanGrid:
    """A case on the grid of a plan.

    A case's voxels are those inside ``nonzero``: nnU-Net cuts borders of exact zeros off before it resamples.

    Parameters
    ----------
    facts : InferenceFacts
        The plan.
    spacing_mm : tuple of float
        The case's spacing (z, y, x).
    nonzero : Box
        Box (z, y, x) of the case that holds every voxel that is not exactly 0.

    Attributes
    ----------
    shape : tuple of int
        Voxels of the whole case on the plan's grid, in the network's order of axes.

    Raises
    ------
    UsageError
        The plan resamples by another function than nnU-Net's default.
    """

    def __init__(self, facts: InferenceFacts, spacing_mm: tuple[float, float, float], nonzero: Box) -> None:
        # Imported here: it brings torch.
        from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape

        for resampling in (facts.resampling_image, facts.resampling_probabilities):
            if resampling.function != _RESAMPLER:
                raise UsageError(f"a plan that resamples with {resampling.function}", expected=_RESAMPLER,
                                 action="predict with nnUNetv2_predict (femur_model export-nnunet)")
        self.facts = facts
        self.nonzero = nonzero
        self.order = facts.transpose_forward
        self._old_shape = three([nonzero.shape[axis] for axis in self.order])
        self.spacing_mm = tuple(spacing_mm[axis] for axis in self.order)
        self.shape: Triple = three([int(edge) for edge in compute_new_shape(
            self._old_shape, self.spacing_mm, facts.spacing_mm)])
        self.flat_axis, self._forward = self._operators(facts.resampling_image.arguments, self._old_shape, self.shape,
                                                        self.spacing_mm, facts.spacing_mm)
        _, self._backward = self._operators(facts.resampling_probabilities.arguments, self.shape, self._old_shape,
                                            facts.spacing_mm, self.spacing_mm)

    @property
    def whole(self) -> Box:
        """The whole case on the plan's grid."""
        return Box((0, 0, 0), self.shape)

    def image_window(self, window: Box, read: Callable[[Box], NDArray[Any]], limits: IntensityLimits, *,
                     gain: float = 1.0, offset_hu: float = 0.0) -> FloatArray:
        """Return a window of the preprocessed image.

        Parameters
        ----------
        window : Box
            On the plan's grid.
        read : callable
            Gives the HU of a box (z, y, x) of the case.
        limits : IntensityLimits
            Of the case: nnU-Net clips a spline's overshoot to them.
        gain, offset_hu : float
            HU are changed to ``gain * HU + offset_hu`` first, for another view of the same scan.
        """
        support = self._support(self._forward, window)
        case_box = support.reordered(self.facts.transpose_backward).moved(self.nonzero.start)
        values = read(case_box).transpose(self.order)
        image = self._normalised(values, gain, offset_hu)
        image = _apply([operator[rows, columns] for operator, rows, columns in
                        zip(self._forward, window.slices, support.slices, strict=True)], image)
        low, high = limits.of(self, window)
        return np.clip(image, self._normalised(low, gain, offset_hu), self._normalised(high, gain, offset_hu))

    def case_box(self, window: Box) -> Box:
        """Return the box (z, y, x) of the case whose voxels the window alone decides.

        Raises
        ------
        ValueError
            It decides none.
        """
        starts, stops = [], []
        for axis, (operator, first, last) in enumerate(zip(self._backward, window.start, window.stop, strict=True)):
            outside = operator.copy()
            outside[:, first:last] = 0
            decided = np.flatnonzero(~outside.any(axis=1))
            if not decided.size:
                raise ValueError(f"the window {window} decides no voxel along axis {axis}")
            starts.append(int(decided[0]))
            stops.append(int(decided[-1]) + 1)
        return Box(three(starts), three(stops)).reordered(self.facts.transpose_backward).moved(self.nonzero.start)

    def on_case(self, values: FloatArray, window: Box) -> FloatArray:
        """Return values (z, y, x) of :meth:`case_box` for values of a window (logits, probabilities)."""
        box = self.case_box(window).moved(three([-value for value in self.nonzero.start])).reordered(self.order)
        operators = [operator[rows, columns] for operator, rows, columns in
                     zip(self._backward, box.slices, window.slices, strict=True)]
        return _apply(operators, values).transpose(self.facts.transpose_backward)

    def window_around(self, case_box: Box, *, at_least: Triple = (1, 1, 1)) -> Box:
        """Return the window that covers a box (z, y, x) of the case, at least so large where the case is."""
        inner = case_box.moved(three([-value for value in self.nonzero.start])).reordered(self.order)
        starts, stops = [], []
        for axis in range(3):
            scale = self.shape[axis] / self._old_shape[axis]
            start = max(0, int(np.floor(inner.start[axis] * scale)))
            stop = min(self.shape[axis], int(np.ceil(inner.stop[axis] * scale)))
            missing = min(at_least[axis], self.shape[axis]) - (stop - start)
            if missing > 0:
                start = max(0, min(start - missing // 2, self.shape[axis] - (stop - start) - missing))
                stop = start + min(at_least[axis], self.shape[axis])
            starts.append(start)
            stops.append(stop)
        return Box(three(starts), three(stops))

    def _support(self, operators: list[FloatArray], window: Box) -> Box:
        starts, stops = [], []
        for operator, first, last in zip(operators, window.start, window.stop, strict=True):
            used = np.flatnonzero((np.abs(operator[first:last]) > _LEAST_WEIGHT).any(axis=0))
            starts.append(int(used[0]))
            stops.append(int(used[-1]) + 1)
        return Box(three(starts), three(stops))

    def _normalised(self, values: Any, gain: float, offset_hu: float) -> Any:
        hounsfield = np.asarray(values, dtype=np.float32)
        if gain != 1.0 or offset_hu:
            hounsfield = hounsfield * np.float32(gain) + np.float32(offset_hu)
        return self.facts.normalisation(hounsfield)

    @staticmethod
    def _operators(arguments: dict[str, Any], old: Triple, new: Triple, old_spacing: tuple[float, ...],
                   new_spacing: tuple[float, ...]) -> tuple[int | None, list[FloatArray]]:
        """Return the axis with slices of their own, if there is one, and the operator of each axis."""
        from nnunetv2.preprocessing.resampling.default_resampling import determine_do_sep_z_and_axis

        separate, flat = determine_do_sep_z_and_axis(arguments["force_separate_z"], old_spacing, new_spacing)
        orders = [arguments["order"]] * 3
        if separate:
            orders[flat] = arguments["order_z"]
        return (int(flat) if separate else None), [
            resize_operator(*sizes) for sizes in zip(old, new, orders, strict=True)]


@dataclass(frozen=True)
class IntensityLimits:
    """Least and largest HU of a case, scalars; shape (slices,) where one axis is resampled slice by slice."""

    low: NDArray[Any]
    high: NDArray[Any]

    @classmethod
    def of_case(cls, case_zyx: NDArray[Any], grid: PlanGrid) -> IntensityLimits:
        """Measure the voxels of a case that its grid uses."""
        used = case_zyx[grid.nonzero.slices].transpose(grid.order)
        others = None if grid.flat_axis is None else tuple({0, 1, 2} - {grid.flat_axis})
        return cls(np.asarray(used.min(axis=others)), np.asarray(used.max(axis=others)))

    def of(self, grid: PlanGrid, window: Box) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the limits of a window, so that they broadcast over it."""
        if grid.flat_axis is None:
            return self.low, self.high
        axis = grid.flat_axis
        nearest = np.argmax(grid._forward[axis][window.slices[axis]], axis=1)
        shape = [1, 1, 1]
        shape[axis] = -1
        return self.low[nearest].reshape(shape), self.high[nearest].reshape(shape)


def resize_operator(old: int, new: int, order: int) -> FloatArray:
    """Return the matrix (new, old) by which nnU-Net's resampling acts along one axis.

    Parameters
    ----------
    old, new : int
        Voxels before and after.
    order : int
        Of the spline: 3 for images, 1 for logits, 0 for the nearest voxel.
    """
    if order == 0:
        nearest = np.clip(np.floor((np.arange(new) + 0.5) * old / new).astype(int), 0, old - 1)
        return np.eye(old, dtype=np.float32)[nearest]
    # Imported here: not every user of a box needs it.
    from skimage.transform import resize

    matrix = resize(np.eye(old), (new, old), order, mode="edge", anti_aliasing=False, clip=False)
    matrix[np.abs(matrix) < 1e-12] = 0.0
    return np.asarray(matrix, dtype=np.float32)


def nonzero_box(case_zyx: NDArray[Any]) -> Box:
    """Return the box of the voxels that are not exactly 0; the whole array if there are none."""
    starts, stops = [], []
    for axis in range(3):
        others = tuple({0, 1, 2} - {axis})
        # The outermost planes decide almost always: the whole is only looked at where they are blank.
        ends = (np.take(case_zyx, 0, axis=axis), np.take(case_zyx, -1, axis=axis))
        filled = (np.array([0, case_zyx.shape[axis] - 1]) if all(end.any() for end in ends)
                  else np.flatnonzero(case_zyx.any(axis=others)))
        starts.append(int(filled[0]) if filled.size else 0)
        stops.append(int(filled[-1]) + 1 if filled.size else case_zyx.shape[axis])
    return Box(three(starts), three(stops))


def _apply(operators: list[FloatArray], values: FloatArray) -> FloatArray:
    """Apply an operator to each axis, the one that leaves fewest voxels first."""
    for axis in sorted(range(3), key=lambda axis: operators[axis].shape[0] / operators[axis].shape[1]):
        operator = operators[axis]
        if axis == 2:
            values = np.matmul(values, operator.T)
        elif axis == 1:
            values = np.matmul(operator, values)
        else:
            flat = np.ascontiguousarray(values).reshape(values.shape[0], -1)
            values = (operator @ flat).reshape(-1, *values.shape[1:])
    return np.ascontiguousarray(values)


def three(values: Any) -> Triple:
    """Return three values of any kind as whole numbers."""
    first, second, third = values
    return int(first), int(second), int(third)
