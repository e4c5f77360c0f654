"""What another scanner or reconstruction does to CT values: point spread, slice thickness, HU scale, noise.

Each effect is a function of HU on a patch (c, slice, row, column), rows and columns in the plane of the slices, with
the strength spelled out; drawing the strengths is left to :mod:`femur_nnunet.augmentation.ct_acquisition`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn import functional

SOFT_TISSUE_HU = 50.0
_FWHM_OVER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))
_PADDING_VOXELS = 8


def radial_frequency_per_mm(shape: tuple[int, int], spacing_mm: tuple[float, float]) -> torch.Tensor:
    """Return the radial frequency in cycles/mm on the grid of ``torch.fft.rfft2``, shape (rows, columns // 2 + 1)."""
    rows = torch.fft.fftfreq(shape[0], spacing_mm[0])
    columns = torch.fft.rfftfreq(shape[1], spacing_mm[1])
    return torch.hypot(rows[:, None], columns[None, :])


def soft_transfer(frequency_per_mm: torch.Tensor, fwhm_mm: float) -> torch.Tensor:
    """Return the transfer function of a Gaussian point spread of this full width at half maximum, in the same shape."""
    sigma_mm = fwhm_mm / _FWHM_OVER_SIGMA
    return torch.exp(-2.0 * (math.pi * sigma_mm * frequency_per_mm) ** 2)


def sharp_transfer(frequency_per_mm: torch.Tensor, gain: float, peak_per_mm: float) -> torch.Tensor:
    """Return the transfer function of an edge-enhancing kernel, in the same shape as the frequencies.

    It is 1 + gain * u * exp(1 - u) with u = (f / peak)^2: 1 at frequency 0, so that even regions keep their
    HU, 1 + gain at the peak, and 1 again far beyond it.
    """
    relative = (frequency_per_mm / peak_per_mm) ** 2
    return 1.0 + gain * relative * torch.exp(1.0 - relative)


def sharp_peak_on_grid(peak_per_mm: float, spacing_mm: tuple[float, float]) -> float:
    """Return the peak frequency that a grid can show: at most half of its largest frequency, 1 / (2 * spacing)."""
    return min(peak_per_mm, 0.5 / (2.0 * max(spacing_mm)))


def with_transfer(hu: torch.Tensor, spacing_mm: tuple[float, float],
                  transfer: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Return a patch (c, slice, row, column) after a radial transfer function in the plane.

    Parameters
    ----------
    hu : Tensor
        The patch.
    spacing_mm : tuple of float
        Spacing of rows and columns.
    transfer : callable
        From radial frequencies in cycles/mm to factors.

    The patch is continued by its mirror image, so that opposite borders do not meet.
    """
    rows, columns = hu.shape[-2:]
    pad_rows, pad_columns = (min(_PADDING_VOXELS, edge - 1) for edge in (rows, columns))
    padded = functional.pad(hu, (pad_columns, pad_columns, pad_rows, pad_rows), mode="reflect")
    shape = (padded.shape[-2], padded.shape[-1])
    factors = transfer(radial_frequency_per_mm(shape, spacing_mm)).to(hu)
    filtered = torch.fft.irfft2(torch.fft.rfft2(padded) * factors, s=shape)
    return filtered[..., pad_rows:pad_rows + rows, pad_columns:pad_columns + columns]


def slice_weights(thickness_mm: float, spacing_mm: float) -> torch.Tensor:
    """Return the weights, shape (2k + 1,), of slices for a box of this width about the middle one, each slice a slab.

    A box no wider than the spacing lies within one slice and changes nothing.
    """
    width = thickness_mm / spacing_mm
    if width <= 1.0:
        return torch.ones(1)
    side = math.ceil((width - 1.0) / 2.0)
    offsets = torch.arange(-side, side + 1, dtype=torch.float32).abs()
    # Overlap of [-width/2, width/2] with the slab [offset - 1/2, offset + 1/2].
    overlap = (width / 2.0 - offsets + 0.5).clamp(0.0, 1.0)
    return overlap / overlap.sum()


def with_slice_thickness(hu: torch.Tensor, thickness_mm: float, spacing_mm: float) -> torch.Tensor:
    """Return a patch (c, slice, row, column) whose slices are means over a box of ``thickness_mm``."""
    weights = slice_weights(thickness_mm, spacing_mm).to(hu)
    side = len(weights) // 2
    if side == 0:
        return hu
    index = torch.arange(-side, hu.shape[1] + side).clamp(0, hu.shape[1] - 1)
    repeated = hu[:, index]
    return sum(weight * repeated[:, start:start + hu.shape[1]]  # type: ignore[return-value]
               for start, weight in enumerate(weights))


def with_bone_scale(hu: torch.Tensor, scale: float, offset_hu: float) -> torch.Tensor:
    """Return a patch of any shape in which what exceeds soft tissue (50 HU) is scaled, then all is shifted.

    Another tube voltage changes the attenuation of mineral against that of water: water (0 HU), fat and muscle stay
    where they were, up to the offset.
    """
    return hu + (scale - 1.0) * (hu - SOFT_TISSUE_HU).clamp_min(0.0) + offset_hu


def noise(shape: tuple[int, ...], spacing_mm: tuple[float, float], *, sd_hu: float,
          peak_per_mm: float) -> torch.Tensor:
    """Return correlated noise of reconstructed slices, shape (c, slice, row, column), drawn from torch's generator.

    Its power is f * exp(-f / peak), as filtered backprojection gives: a ramp times the squared transfer function of
    a kernel. It has its largest value at ``peak_per_mm`` and none at frequency 0, so that no slice changes its mean;
    slices are independent. The expected standard deviation is ``sd_hu``.
    """
    rows, columns = shape[-2:]
    frequency = radial_frequency_per_mm((rows, columns), spacing_mm)
    power = frequency * torch.exp(-frequency / peak_per_mm)
    # Variance of filtered white noise is the mean of the power over the full grid, of which rfft2 holds a half.
    weight = torch.full((frequency.shape[1],), 2.0)
    weight[0] = 1.0
    if columns % 2 == 0:
        weight[-1] = 1.0
    mean_power = (power * weight).sum() / (rows * columns)
    amplitude = sd_hu * torch.sqrt(power / mean_power)
    return torch.fft.irfft2(torch.fft.rfft2(torch.randn(shape)) * amplitude, s=(rows, columns))
