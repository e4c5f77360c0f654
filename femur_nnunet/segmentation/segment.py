"""From an image to the femora in it: the Python interface of femur_segment."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.model_bundle import ModelBundle
from femur_nnunet.segmentation.hip_checks import FemurShape, SideName, check_hip, is_a_femur, shape_of
from femur_nnunet.segmentation.hip_prediction import HipPrediction, PredictionOptions, predict_hip
from femur_nnunet.segmentation.hip_region import femur_region
from femur_nnunet.segmentation.image_input import as_volume
from femur_nnunet.segmentation.model import SegmentationModel, box_model_path
from femur_nnunet.segmentation.scan_checks import check_spacing
from femur_nnunet.segmentation.scan_sides import HipToSegment, WantedSide, find_sides
from femur_nnunet.segmentation.warnings_table import Caution, CautionLimits, Finding
from femur_nnunet.volume_io.geometry import GeometryRecord
from femur_nnunet.volume_io.hips import LEFT_LABEL, RIGHT_LABEL
from femur_nnunet.volume_io.metal import find_metal
from femur_nnunet.volume_io.orientation import best_axis_mapping
from femur_nnunet.volume_io.plausibility import refuse_what_is_no_hip_ct
from femur_nnunet.volume_io.reading_rules import STRICT, ReadingRules
from femur_nnunet.volume_io.volume import Grid, Volume

LABEL_OF_SIDE: dict[SideName, int] = {"left": LEFT_LABEL, "right": RIGHT_LABEL}
LABEL_NAMES = {LEFT_LABEL: "left_femur", RIGHT_LABEL: "right_femur"}
# --fast: one fold, patches further apart, no mirroring and no second view.
FAST_STEP = 0.75


@dataclass(frozen=True)
class SegmentedFemur:
    """One femur.

    Attributes
    ----------
    side : {"left", "right"}
        Which.
    volume_ml : float
        Volume of its mask.
    record : GeometryRecord
        Box of the scan that was looked at, and the way back from it.
    looked_at : {"box", "grown box", "whole half"}
        What the networks saw.
    shape : FemurShape
        Length, shaft in view, sphere of the head.
    agreement, agreement_of : float, str, optional
        Lowest Dice between folds, or between two views.
    patches : int
        Patches that the networks saw.
    """

    side: SideName
    volume_ml: float
    record: GeometryRecord
    looked_at: str
    shape: FemurShape
    agreement: float | None
    agreement_of: str | None
    patches: int


@dataclass(frozen=True)
class Segmentation:
    """The femora of a scan on the scan's own grid.

    Attributes
    ----------
    mask : ndarray of uint8
        Shape (k, j, i) of ``grid``: 1 left, 2 right femur.
    grid : Grid
        The scan's own grid.
    femora : tuple of SegmentedFemur
        Left before right; those that were found.
    findings : tuple of Finding
        Warnings, the gravest first.
    uncertainty : ndarray of float32 or None
        Of the same shape: entropy in bits (0 to 1), where asked for; 0 outside of what was looked at.
    midline_x : float or None
        Column of the body's midline on the LPS grid; ``None`` with one hip in view.
    seconds : dict
        Wall time by step.
    """

    mask: NDArray[np.uint8]
    grid: Grid
    femora: tuple[SegmentedFemur, ...]
    findings: tuple[Finding, ...]
    uncertainty: NDArray[np.float32] | None = None
    midline_x: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def found_any(self) -> bool:
        """Whether there is a femur in the mask."""
        return bool(self.femora)

    def to_simpleitk(self) -> Any:
        """Return the mask as a SimpleITK image."""
        import SimpleITK as sitk

        image = sitk.GetImageFromArray(self.mask)
        image.SetSpacing(self.grid.spacing_mm_ijk)
        image.SetOrigin(self.grid.origin_mm_lps)
        image.SetDirection(self.grid.direction)
        return image


def segment_volume(image: Any, model: SegmentationModel | ModelBundle | Path | str | None = None, *,
                   spacing_mm_zyx: tuple[float, float, float] | None = None, side: WantedSide | None = None,
                   fast: bool = False, device: str = "cpu", step: float | None = None, localise: bool = True,
                   second_view: bool = True, uncertainty: bool = False, force: bool = False,
                   rules: ReadingRules = STRICT, on_hip: Callable[[str], Any] | None = None,
                   on_patch: Callable[[], Any] | None = None) -> Segmentation:
    """Segment the femora of a CT scan of the hips.

    Nothing is written, no environment variable is read, and no state is kept between calls.

    Parameters
    ----------
    image : path, Volume, SimpleITK.Image or ndarray
        CT in HU; see :func:`~femur_nnunet.segmentation.image_input.as_volume`.
    model : SegmentationModel, ModelBundle, path or None
        A model bundle, opened or not; ``None`` takes the model in the box. A :class:`SegmentationModel` keeps its
        networks in memory from scan to scan; its device counts then.
    spacing_mm_zyx : tuple of float, optional
        Of an array.
    side : {"left", "right", "both"}, optional
        Which hips; without it what is in view.
    fast : bool
        One fold, patches further apart, neither mirroring nor a second view.
    device : {"cpu", "cuda", "mps"}
        Where the networks run.
    step : float, optional
        Distance of patches as a share of their edge; 0.5, or 0.75 with ``fast``.
    localise : bool
        Look at the box around each femur alone where the bones show it.
    second_view : bool
        With one fold, predict a second view of the scan and say how far both agree.
    uncertainty : bool
        Also give a map of uncertainty.
    force : bool
        Keep masks that look like no femur.
    rules : ReadingRules, optional
        What of a DICOM series is mended.
    on_hip, on_patch : callable, optional
        Called with a side before its networks run, and after each patch.

    Returns
    -------
    Segmentation
        Mask, femora and findings. Without any hip the mask is empty and a finding says so.

    Raises
    ------
    FemurError
        The image is no CT of a hip that can be read.
    UsageError
        The side cannot be told, there is no model, or the device is not there.
    """
    started = time.monotonic()
    volume = as_volume(image, spacing_mm_zyx=spacing_mm_zyx, rules=rules)
    refuse_what_is_no_hip_ct(volume)
    seconds = {"read": time.monotonic() - started}
    ready = ready_model(model, device=device, fast=fast)
    options = PredictionOptions(step=step or (FAST_STEP if fast else 0.5), mirror=not fast, localise=localise,
                                second_view=second_view and not fast, uncertainty=uncertainty)
    return _Scan(volume, ready, options, force=force).run(side, seconds, on_hip, on_patch)


def ready_model(model: SegmentationModel | ModelBundle | Path | str | None, *, device: str = "cpu",
                fast: bool = False) -> SegmentationModel:
    """Return the model with its networks in memory; with ``fast`` its first fold alone."""
    if isinstance(model, SegmentationModel):
        return replace(model, networks=model.networks[:1], folds=model.folds[:1]) if fast else model
    from femur_nnunet.model_bundle import load_bundle

    bundle = model if isinstance(model, ModelBundle) else load_bundle(box_model_path() if model is None else model)
    return SegmentationModel.of_bundle(bundle, device=device, folds=bundle.folds[:1] if fast else None)


class _Scan:
    """One scan on its way through the model."""

    def __init__(self, volume: Volume, model: SegmentationModel, options: PredictionOptions, *, force: bool) -> None:
        self.volume, self.model, self.options, self.force = volume, model, options, force
        self.limits = CautionLimits.of_manifest(model.manifest)
        self.mapping = best_axis_mapping(volume.grid.direction_matrix)
        # A view: a second copy of the voxels is not needed to look at them.
        self.oriented = replace(volume, array=self.mapping.apply(volume.array),
                                grid=self.mapping.apply_to_grid(volume.grid))

    def run(self, side: WantedSide | None, seconds: dict[str, float], on_hip: Callable[[str], Any] | None,
            on_patch: Callable[[], Any] | None) -> Segmentation:
        started = time.monotonic()
        sides = find_sides(self.oriented, self.volume.grid, self.mapping, side)
        self.metal = find_metal(self.oriented, sides.midline_x)
        if sides.midline_x is None and sides.hips[0].side == "right":
            self.metal = replace(self.metal, left_ml=0.0, right_ml=self.metal.left_ml)
        self.mask = np.zeros(self.volume.array.shape, dtype=np.uint8)
        self.uncertainty = (np.zeros(self.volume.array.shape, dtype=np.float32) if self.options.uncertainty else None)
        findings = check_spacing(self.oriented.grid, self.model.manifest, self.limits)
        femora = []
        seconds["localise"] = time.monotonic() - started
        for hip in sides.hips:
            started = time.monotonic()
            if on_hip is not None:
                on_hip(hip.side)
            prediction = predict_hip(self.volume, hip.record, femur_region(hip.seen, hip.record), self.model,
                                     self.options, on_patch=on_patch)
            seconds[f"{hip.side} networks"] = time.monotonic() - started
            started = time.monotonic()
            femur, told = self._keep(hip, prediction)
            seconds[f"{hip.side} checks"] = time.monotonic() - started
            findings += told
            femora += [femur] if femur is not None else []
        order = ("grave", "look", "note")
        findings.sort(key=lambda finding: order.index(finding.rule.gravity))
        return Segmentation(self.mask, self.volume.grid, tuple(femora), tuple(findings), self.uncertainty,
                            sides.midline_x, {name: round(value, 2) for name, value in seconds.items()})

    def _keep(self, hip: HipToSegment, prediction: HipPrediction) -> tuple[SegmentedFemur | None, list[Finding]]:
        """Put a mask onto the scan, unless it is none of a femur."""
        shape = shape_of(prediction)
        seen = hip.seen.found
        confirmed = is_a_femur(prediction, shape, self.limits)
        if shape is None:
            caution = Caution.NO_FEMUR if seen else Caution.NO_HIP
            return None, [Finding(caution, "an empty mask" + (" where the bones show a hip" if seen else ""), hip.side)]
        told = []
        if not seen:
            if not confirmed:
                told.append(Finding(Caution.NO_HIP, "no hip joint and no shaft among the bones, and a mask of "
                                    f"{prediction.volume_ml:.0f} ml without a femoral head", hip.side))
                if not self.force:
                    return None, told
            else:
                told.append(Finding(Caution.UNCONFIRMED_HIP, "a femur was found where the bones showed no hip",
                                    hip.side))
        hounsfield = prediction.record.forward(self.volume.array)
        told += check_hip(prediction, shape, hounsfield, hip.side, manifest=self.model.manifest, limits=self.limits,
                          metal=self.metal)
        self._write(hip.side, prediction)
        return SegmentedFemur(hip.side, prediction.volume_ml, prediction.record, prediction.looked_at, shape,
                              prediction.agreement, prediction.agreement_of, prediction.patches), told

    def _write(self, side: SideName, prediction: HipPrediction) -> None:
        on_scan = _view_on_scan(self.mask, prediction.record)
        on_scan[prediction.mask] = LABEL_OF_SIDE[side]
        if self.uncertainty is not None and prediction.uncertainty is not None:
            _view_on_scan(self.uncertainty, prediction.record)[...] = prediction.uncertainty


def _view_on_scan(array: NDArray[Any], record: GeometryRecord) -> NDArray[Any]:
    """Return the box of a record in an array on the scan's own grid as a view, in the case's order and direction."""
    first, last = record.crop_start_xyz, record.crop_stop_xyz
    box = record.mapping.apply(array)[first[2]:last[2], first[1]:last[1], first[0]:last[0]]
    return box[..., ::-1] if record.left_right_flipped else box
