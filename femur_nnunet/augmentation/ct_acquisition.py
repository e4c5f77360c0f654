"""Augmentation that imitates other CT scanners and reconstructions on nnU-Net's normalised patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from batchgeneratorsv2.transforms.base.basic_transform import ImageOnlyTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.pseudo2d import Convert2DTo3DTransform

from femur_nnunet.augmentation.ct_effects import (
    noise,
    sharp_peak_on_grid,
    sharp_transfer,
    soft_transfer,
    with_bone_scale,
    with_slice_thickness,
    with_transfer,
)
from femur_nnunet.errors import UsageError
from femur_nnunet.plan_settings import AugmentationSettings


@dataclass(frozen=True)
class CTNormalisation:
    """nnU-Net's ``CTNormalization``: clip to ``lowest_hu`` .. ``highest_hu``, subtract the mean, divide by the SD."""

    mean_hu: float
    sd_hu: float
    lowest_hu: float
    highest_hu: float

    @classmethod
    def of_plan(cls, plan: Mapping[str, Any], configuration: Mapping[str, Any]) -> CTNormalisation:
        """Read it from a plan.

        Raises
        ------
        UsageError
            The plan normalises in another way: HU are then not known.
        """
        schemes = list(configuration["normalization_schemes"])
        if schemes != ["CTNormalization"]:
            raise UsageError(f"augmentation.ct_acquisition with the normalisation {', '.join(schemes)}",
                             expected="one channel, CT, normalised by CTNormalization",
                             action="name the channel CT in dataset.json and run femur_plan again")
        statistics = plan["foreground_intensity_properties_per_channel"]["0"]
        return cls(float(statistics["mean"]), max(float(statistics["std"]), 1e-8),
                   float(statistics["percentile_00_5"]), float(statistics["percentile_99_5"]))


@dataclass(frozen=True)
class CTStrengths:
    """What is done to one patch; None leaves an effect out.

    Attributes
    ----------
    soft_fwhm_mm, sharp_gain : float or None
        At most one of them: a softer or a sharper kernel.
    slice_thickness_mm : float or None
        Width of the box along the slices.
    bone_scale, offset_hu : float or None
        Together, as one effect.
    noise_hu, noise_peak_per_mm : float or None
        Together, as one effect.
    """

    soft_fwhm_mm: float | None = None
    sharp_gain: float | None = None
    slice_thickness_mm: float | None = None
    bone_scale: float | None = None
    offset_hu: float | None = None
    noise_hu: float | None = None
    noise_peak_per_mm: float | None = None


class CTAcquisitionTransform(ImageOnlyTransform):
    """Random point spread, slice thickness, HU scale and offset, and noise; the label map stays.

    The order is that of a scanner: attenuation, point spread in the plane, slice, noise. Values are clipped in the
    end as nnU-Net's normalisation clips a scan. A voxel that was clipped before gets no noise: what lies there is
    air or metal, which the noise of a scan does not bring back into the range.

    Parameters
    ----------
    settings : AugmentationSettings
        The ranges.
    normalisation : CTNormalisation
        How patches were normalised.
    spacing_mm : sequence of float
        Spacing of the patch's three axes.
    slice_axis : int
        Which of these axes the slices are stacked along.
    """

    def __init__(self, settings: AugmentationSettings, normalisation: CTNormalisation, spacing_mm: Sequence[float],
                 slice_axis: int) -> None:
        super().__init__()
        self.settings = settings
        self.normalisation = normalisation
        self.slice_axis = slice_axis
        self.slice_spacing_mm = float(spacing_mm[slice_axis])
        first, second = (float(value) for axis, value in enumerate(spacing_mm) if axis != slice_axis)
        self.plane_spacing_mm = (first, second)

    def get_parameters(self, **_data: Any) -> dict[str, Any]:
        """Draw the strengths from torch's generator, which nnU-Net's workers seed."""
        settings = self.settings
        wanted = [bool(torch.rand(1) < settings.ct_probability) for _ in range(4)]
        softer = bool(torch.rand(1) < 0.5)
        drawn = {"soft_fwhm_mm": _uniform(settings.ct_soft_fwhm_mm) if wanted[0] and softer else None,
                 "sharp_gain": _uniform(settings.ct_sharp_gain) if wanted[0] and not softer else None,
                 "slice_thickness_mm": _uniform(settings.ct_slice_thickness_mm) if wanted[1] else None,
                 "bone_scale": _uniform(settings.ct_bone_scale) if wanted[2] else None,
                 "offset_hu": _uniform(settings.ct_offset_hu) if wanted[2] else None,
                 "noise_hu": _uniform(settings.ct_noise_hu) if wanted[3] else None,
                 "noise_peak_per_mm": _uniform(settings.ct_noise_peak_per_mm) if wanted[3] else None}
        return {"strengths": CTStrengths(**drawn)}

    def _apply_to_image(self, img: torch.Tensor, **params: Any) -> torch.Tensor:
        strengths: CTStrengths = params["strengths"]
        if strengths == CTStrengths():
            return img
        scan = self.normalisation
        normalised = img.movedim(self.slice_axis + 1, 1)
        changed = self.in_hu(normalised.float() * scan.sd_hu + scan.mean_hu, strengths)
        changed = (changed.clamp(scan.lowest_hu, scan.highest_hu) - scan.mean_hu) / scan.sd_hu
        return changed.movedim(1, self.slice_axis + 1).to(img.dtype).contiguous()

    def in_hu(self, hu: torch.Tensor, strengths: CTStrengths) -> torch.Tensor:
        """Return a patch (c, slice, row, column) in HU after the effects, not yet clipped."""
        scan, margin = self.normalisation, 1e-3 * self.normalisation.sd_hu
        inside = (hu > scan.lowest_hu + margin) & (hu < scan.highest_hu - margin)
        if strengths.bone_scale is not None and strengths.offset_hu is not None:
            hu = with_bone_scale(hu, strengths.bone_scale, strengths.offset_hu)
        if strengths.soft_fwhm_mm is not None:
            fwhm_mm = strengths.soft_fwhm_mm
            hu = with_transfer(hu, self.plane_spacing_mm, lambda frequency: soft_transfer(frequency, fwhm_mm))
        if strengths.sharp_gain is not None:
            gain = strengths.sharp_gain
            peak = sharp_peak_on_grid(self.settings.ct_sharp_frequency_per_mm, self.plane_spacing_mm)
            hu = with_transfer(hu, self.plane_spacing_mm, lambda frequency: sharp_transfer(frequency, gain, peak))
        if strengths.slice_thickness_mm is not None:
            hu = with_slice_thickness(hu, strengths.slice_thickness_mm, self.slice_spacing_mm)
        if strengths.noise_hu is not None and strengths.noise_peak_per_mm is not None:
            hu = hu + inside * noise(tuple(hu.shape), self.plane_spacing_mm, sd_hu=strengths.noise_hu,
                                     peak_per_mm=strengths.noise_peak_per_mm)
        return hu


def with_ct_acquisition(transforms: ComposeTransforms, added: CTAcquisitionTransform) -> ComposeTransforms:
    """Return nnU-Net's training transforms with ``added`` straight behind the spatial ones."""
    steps = list(transforms.transforms)
    spatial = max(number for number, step in enumerate(steps)
                  if isinstance(step, (SpatialTransform, Convert2DTo3DTransform)))
    return ComposeTransforms([*steps[:spatial + 1], added, *steps[spatial + 1:]])


def _uniform(limits: Sequence[float]) -> float:
    low, high = limits
    return low + (high - low) * float(torch.rand(1))
