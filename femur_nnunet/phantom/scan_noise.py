"""Quantum noise of a scan: how much, where in the body, in which direction, and the table of it.

A projection's noise grows with the square root of its attenuation. Three things follow in the image:
more noise in a large body; more noise in its middle than at its edge; and, since a pelvis is wider than
deep, more noise from the long lateral rays, which shows as horizontal streaks between the hips (an
anisotropic noise power spectrum, by the projection theorem).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.phantom.shapes import FloatArray
from femur_nnunet.phantom.tiers import ScannerTier

REFERENCE_DIAMETER_MM = 340.0
# Attenuation of soft tissue at the mean energy of a 120 kVp beam.
SOFT_TISSUE_ATTENUATION_PER_MM = 0.0193
# Air beside the body is crossed by half the rays without any attenuation.
_DIRECTIONS = 36


@dataclass(frozen=True)
class BodySection:
    """The body as an ellipse in the plane of the slices.

    Attributes
    ----------
    half_width_mm, half_depth_mm : float
        Half axes along x and y.
    centre_mm_xy : tuple of float
        Centre from the middle of the image, mm.
    """

    half_width_mm: float
    half_depth_mm: float
    centre_mm_xy: tuple[float, float] = (0.0, 0.0)

    @property
    def diameter_mm(self) -> float:
        """Diameter of the circle of the same area."""
        return 2.0 * float(np.sqrt(self.half_width_mm * self.half_depth_mm))


def noise_sd_hu(scanner: ScannerTier, body_diameter_mm: float) -> float:
    """Return the noise in the middle of a body of this water-equivalent diameter, by Beer-Lambert attenuation."""
    excess = body_diameter_mm - REFERENCE_DIAMETER_MM
    return float(scanner.noise_hu * np.exp(0.5 * SOFT_TISSUE_ATTENUATION_PER_MM * excess))


def direction_gain(cosine_x: FloatArray, body: BodySection, modulation: float) -> FloatArray:
    """Return the noise power against the mean for spatial frequencies of each direction.

    A frequency along y is measured by rays along x. Through the middle of an ellipse with half axes
    a (x) and b (y) a ray at angle phi to x runs ``L = 2ab / sqrt((b cos phi)^2 + (a sin phi)^2)``; its
    noise power is ``exp(mu L)``, to the power ``1 - modulation`` where the tube current follows the body.

    Parameters
    ----------
    cosine_x : ndarray
        Cosine of the angle between the frequency and x.
    body : BodySection
        The ellipse.
    modulation : float
        0 for a constant tube current, 1 where the current makes all directions equal.
    """
    # Rays run across the frequency that they measure.
    sine, cosine = cosine_x, np.sqrt(np.maximum(1 - cosine_x ** 2, 0))
    a, b = body.half_width_mm, body.half_depth_mm
    path = 2 * a * b / np.sqrt((b * cosine) ** 2 + (a * sine) ** 2)
    mean = 2 * np.sqrt(a * b)
    exponent = (1 - modulation) * SOFT_TISSUE_ATTENUATION_PER_MM * (path - mean)
    return np.exp(exponent).astype(np.float32)


def noise_map(shape_yx: tuple[int, int], pixel_mm: float, body: BodySection) -> FloatArray:
    """Return the noise's standard deviation (y, x) against the middle of the body.

    For a disc of radius R the chord through a point at distance r is ``2 sqrt(R^2 - r^2 sin^2 phi)`` long;
    the variance at the point is the mean of ``exp(mu chord)`` over all phi. The ellipse is that disc
    stretched.
    """
    radius = body.diameter_mm / 2
    relative = np.linspace(0, 3, 121)
    angle = (np.arange(_DIRECTIONS) + 0.5) * np.pi / _DIRECTIONS
    chord = 2 * radius * np.sqrt(np.maximum(1 - (relative[:, None] * np.sin(angle)) ** 2, 0))
    power = np.exp(SOFT_TISSUE_ATTENUATION_PER_MM * chord).mean(axis=1)
    table = np.sqrt(power / power[0])
    rows, columns = shape_yx
    y = ((np.arange(rows) - (rows - 1) / 2) * pixel_mm - body.centre_mm_xy[1]) / body.half_depth_mm
    x = ((np.arange(columns) - (columns - 1) / 2) * pixel_mm - body.centre_mm_xy[0]) / body.half_width_mm
    return np.interp(np.hypot(y[:, None], x[None, :]), relative, table).astype(np.float32)


def bone_row_gain(plane_hu: FloatArray, pixel_mm: float) -> NDArray[np.float32]:
    """Return, for each row of a slice (y, x), how much bone along it raises the noise.

    A quarter of all rays count as lateral; through bone of line integral B (mm of water beyond soft
    tissue) their variance grows by ``exp(mu B)``.
    """
    extra_mm = np.clip(plane_hu - 150.0, 0, 2000).sum(axis=1) * np.float32(pixel_mm / 1000.0)
    raised = 0.75 + 0.25 * np.exp(np.minimum(SOFT_TISSUE_ATTENUATION_PER_MM * extra_mm, 6.0))
    return np.sqrt(raised).astype(np.float32)
