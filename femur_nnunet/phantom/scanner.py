"""Image formation: what the scanner makes of the object.

The chain, each step its own function so that others can be put between: partial volume along z (slice
profile), saturation of dense bone, beam hardening, in-plane point spread of the kernel and noise of the
same kernel (:mod:`scan_noise` says how much where), HU scale, offset and drift, rounding, padding outside
the circular field of view. The trainers' augmentation shares no code with this file.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from femur_nnunet.phantom.scan_noise import BodySection, bone_row_gain, direction_gain, noise_map
from femur_nnunet.phantom.shapes import FloatArray
from femur_nnunet.phantom.tiers import ScannerTier

FWHM_PER_SD = 2.0 * np.sqrt(2.0 * np.log(2.0))
SATURATION_BEGINS_HU = 300.0
BONE_BEGINS_HU = 200.0
EDGE_PEAK_PER_MM = 0.22
# Beyond this no tissue lies: metal is lowered in proportion only, and hardens the beam no further here
# (its streaks are computed from projections, see metal_streaks).
DENSEST_BONE_HU = 2000.0
LOWEST_HU, HIGHEST_HU = -1024, 3071
_EDGE_PIXELS = 16
_SLICES_AT_ONCE = 8


def slice_profile(fine_hu: FloatArray, *, substeps: int, margin: int, thickness_mm: float,
                  fine_spacing_mm: float, slice_count: int) -> FloatArray:
    """Average fine slices over a rectangular slice profile.

    Parameters
    ----------
    fine_hu : ndarray
        Shape (margin + slice_count * substeps + margin, y, x).
    substeps : int
        Fine slices for each slice distance.
    margin : int
        Fine slices beyond the first and the last slice.
    thickness_mm, fine_spacing_mm : float
        Slice thickness and distance of fine slices.
    slice_count : int
        Number of slices to return.
    """
    if substeps == 1 and margin == 0:
        return fine_hu
    offsets = np.arange(-margin, substeps + margin)
    centre = (substeps - 1) / 2
    low = np.maximum((offsets - centre - 0.5) * fine_spacing_mm, -thickness_mm / 2)
    high = np.minimum((offsets - centre + 0.5) * fine_spacing_mm, thickness_mm / 2)
    weights = np.maximum(high - low, 0)
    weights /= weights.sum()
    result = np.zeros((slice_count, *fine_hu.shape[1:]), dtype=np.float32)
    for offset, weight in zip(offsets, weights, strict=True):
        if weight > 0:
            start = margin + offset
            chosen = fine_hu[start:start + slice_count * substeps:substeps][:slice_count]
            result += np.float32(weight) * chosen
    return result


def saturate_bone(hu: FloatArray, share_per_1000_hu: float) -> None:
    """Lower dense bone in place: ``HU - share * (HU - 300)^2 / 1000`` above 300 HU, linear above 2000 HU."""
    dense = hu > SATURATION_BEGINS_HU
    above = hu[dense] - np.float32(SATURATION_BEGINS_HU)
    curved = np.minimum(above, np.float32(DENSEST_BONE_HU - SATURATION_BEGINS_HU))
    hu[dense] -= above * curved * np.float32(share_per_1000_hu / 1000.0)


def harden_beam(hu: FloatArray, strength_hu: float, pixel_mm: float) -> None:
    """Darken soft tissue in rows that cross much bone from side to side, in place.

    The dark band between the two hips: the line integral of bone along x, in units of 100 mm of
    1000 HU, times ``strength_hu``, smoothed over 6 mm from row to row and strongest between the bones.
    """
    for plane in hu:
        bone = np.clip(plane, BONE_BEGINS_HU, DENSEST_BONE_HU) - np.float32(BONE_BEGINS_HU)
        before = np.cumsum(bone, axis=1)
        after = before[:, -1:] - before
        # The harmonic form is zero outside the bones and largest where both sides hold equal amounts.
        between = 4 * before * after / np.maximum(before + after, np.float32(1))
        band = ndimage.gaussian_filter1d(between, 6.0 / pixel_mm, axis=0, mode="nearest", truncate=2.5)
        plane -= np.where(plane > -400, band * np.float32(strength_hu * pixel_mm / 1e5), 0)


def transfer_function(frequency_per_mm: FloatArray, psf_fwhm_mm: float,
                      edge_enhancement: float) -> FloatArray:
    """Return the modulation transfer of a kernel: a Gaussian with a lift at middle frequencies.

    ``exp(-2 pi^2 sd^2 f^2) * (1 + e * g(f / f0))`` with ``g(t) = t^2 exp(1 - t^2)``, f0 = 0.22 per mm.
    It is 1 at frequency 0, so mean HU stay; e > 0 gives the overshoot of a sharp kernel.
    """
    sd = psf_fwhm_mm / FWHM_PER_SD
    relative = (frequency_per_mm / EDGE_PEAK_PER_MM) ** 2
    lift = 1 + np.float32(edge_enhancement) * relative * np.exp(1 - relative)
    return (np.exp(-2 * (np.pi * sd * frequency_per_mm) ** 2) * lift).astype(np.float32)


def kernel_and_noise(hu: FloatArray, scanner: ScannerTier, *, pixel_mm: float, noise_hu: float,
                     rng: np.random.Generator, body: BodySection | None = None) -> FloatArray:
    """Blur every slice by the kernel and add noise that the same kernel shaped.

    The noise power follows filtered back-projection: frequency times the squared transfer function.
    Slices have independent noise.

    Parameters
    ----------
    hu : ndarray
        Shape (z, y, x).
    scanner : ScannerTier
        Kernel and modulation of the tube current.
    pixel_mm : float
        In-plane spacing.
    noise_hu : float
        Standard deviation in the body's middle where no bone lies beside it.
    rng : numpy.random.Generator
        Source of the noise.
    body : BodySection, optional
        Shapes the noise by place, direction and bone; without it noise is the same everywhere.
    """
    rows, columns = (fft.next_fast_len(size + 2 * _EDGE_PIXELS, real=True) for size in hu.shape[1:])
    frequency_y, frequency_x = fft.fftfreq(rows, pixel_mm)[:, None], fft.rfftfreq(columns, pixel_mm)[None, :]
    frequency = np.hypot(frequency_y, frequency_x)
    transfer = transfer_function(frequency.astype(np.float32), scanner.psf_fwhm_mm, scanner.edge_enhancement)
    shape = np.sqrt(frequency + 0.02 / pixel_mm).astype(np.float32) * transfer
    place: FloatArray | None = None
    if body is not None:
        cosine = np.abs(frequency_x) / np.maximum(frequency, 1e-9)
        shape *= np.sqrt(direction_gain(cosine.astype(np.float32), body, scanner.current_modulation))
        place = noise_map((hu.shape[1], hu.shape[2]), pixel_mm, body)
    shape *= np.float32(noise_hu / _filtered_noise_sd(shape, rows, columns))
    # Complex normal numbers on half a spectrum: what white noise would have there. Of the columns that
    # are their own mirror image the inverse transform keeps half the power.
    shape *= np.float32(np.sqrt(rows * columns / 2))
    shape[:, 0] *= np.float32(np.sqrt(2))
    if columns % 2 == 0:
        shape[:, -1] *= np.float32(np.sqrt(2))
    below, right = rows - hu.shape[1] - _EDGE_PIXELS, columns - hu.shape[2] - _EDGE_PIXELS
    inner = (slice(None), slice(_EDGE_PIXELS, _EDGE_PIXELS + hu.shape[1]),
             slice(_EDGE_PIXELS, _EDGE_PIXELS + hu.shape[2]))
    result = np.empty_like(hu)
    for start in range(0, hu.shape[0], _SLICES_AT_ONCE):
        block = hu[start:start + _SLICES_AT_ONCE]
        padded = np.pad(block, ((0, 0), (_EDGE_PIXELS, below), (_EDGE_PIXELS, right)), mode="edge")
        image = fft.irfft2(fft.rfft2(padded) * transfer, s=(rows, columns))[inner]
        if noise_hu > 0:
            pairs = rng.standard_normal((block.shape[0], *shape.shape, 2), dtype=np.float32)
            noise = fft.irfft2(pairs.view(np.complex64)[..., 0] * shape, s=(rows, columns))[inner]
            if place is not None:
                noise = noise * place
                noise *= np.stack([bone_row_gain(plane, pixel_mm) for plane in block])[:, :, None]
            image = image + noise
        result[start:start + _SLICES_AT_ONCE] = image
    return result


def _filtered_noise_sd(shape: FloatArray, rows: int, columns: int) -> float:
    """Return the standard deviation of white unit noise after a filter given on the half spectrum."""
    power = shape.astype(np.float64) ** 2
    # Of the half spectrum every column but the first (and the last of an even length) stands for two.
    twice = np.full(power.shape[1], 2.0)
    twice[0] = 1.0
    if columns % 2 == 0:
        twice[-1] = 1.0
    return float(np.sqrt((power * twice).sum() / (rows * columns)))


def field_of_view(shape_yx: Sequence[int], factor: float = 1.0) -> NDArray[np.bool_]:
    """Return where the circular field of view lies; its diameter is ``factor`` times the image's longer side."""
    rows, columns = shape_yx
    y = np.arange(rows) - (rows - 1) / 2
    x = np.arange(columns) - (columns - 1) / 2
    return np.asarray(np.hypot(y[:, None], x[None, :]) <= factor * max(rows, columns) / 2)


def digitise(hu: FloatArray, scanner: ScannerTier, *, slice_spacing_mm: float = 0.0,
             scan_offset_hu: float = 0.0) -> NDArray[np.int16]:
    """Apply HU scale, offset and drift, round, clip to the range of 12 bits above -1024, and pad.

    Parameters
    ----------
    hu : ndarray
        Shape (z, y, x), slices from feet to head.
    scanner : ScannerTier
        Scale, offset, drift, field of view and padding.
    slice_spacing_mm : float
        Distance of slices, by which the drift grows from the first scanned slice (the topmost).
    scan_offset_hu : float
        This scan's own deviation from the scanner's offset.
    """
    below_top_mm = slice_spacing_mm * np.arange(hu.shape[0] - 1, -1, -1)
    offset = scanner.hu_offset + scan_offset_hu + scanner.hu_drift_per_100_mm * below_top_mm / 100.0
    outside = ~field_of_view(hu.shape[1:], scanner.field_of_view_factor)
    result = np.empty(hu.shape, dtype=np.int16)
    for index, plane in enumerate(hu):
        scaled = plane * np.float32(scanner.hu_scale) + np.float32(offset[index])
        np.clip(scaled, LOWEST_HU, HIGHEST_HU, out=scaled)
        result[index] = np.rint(scaled, out=scaled)
    result[:, outside] = scanner.padding_hu
    return result
