"""A sharp model of the cortex, blurred as the scanner blurs it, fitted to profiles of HU across the bone's surface.

The model is that of Treece et al. (Med Image Anal 2010; 14:276-290): along the normal, x growing inwards,

    y(x) = y0 + (yc - y0) P((x - x0) / s) + (y2 - yc) P((x - x0 - t) / s)

with soft tissue y0, cortex yc and spongy bone y2, the outer surface at x0, the thickness t, and the scanner's point
spread along the normal as a Gaussian of standard deviation s (P: its integral). Many profiles are fitted at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

FloatArray = NDArray[np.float64]
THINNEST_MM, THICKEST_MM = 0.1, 12.0
# Starts of the search: thickness and place of the outer surface.
_START_THICKNESS_MM = (0.4, 0.8, 1.5, 2.5, 4.0, 6.5)
_START_SURFACE_MM = (-0.8, 0.0, 0.8)
_ITERATIONS = 18
_SQRT_2, _SQRT_2_PI = np.sqrt(2.0), np.sqrt(2.0 * np.pi)


@dataclass(frozen=True)
class CortexFit:
    """Fitted parameters, one value a profile; HU and mm.

    Attributes
    ----------
    surface_mm, thickness_mm : ndarray
        ``x0`` and ``t``.
    outside_hu, cortex_hu, inside_hu : ndarray
        ``y0``, ``yc`` and ``y2``.
    blur_mm : ndarray
        ``s``.
    residual_hu : ndarray
        Root mean square of the residual.
    """

    surface_mm: FloatArray
    thickness_mm: FloatArray
    outside_hu: FloatArray
    cortex_hu: FloatArray
    inside_hu: FloatArray
    blur_mm: FloatArray
    residual_hu: FloatArray


def blurred_cortex(x_mm: FloatArray, surface_mm: FloatArray, thickness_mm: FloatArray, blur_mm: FloatArray,
                   outside_hu: FloatArray, cortex_hu: FloatArray, inside_hu: FloatArray) -> FloatArray:
    """Return the model's HU, shape (profiles, samples), for parameters of shape (profiles,)."""
    outer, inner = _steps(x_mm, surface_mm, thickness_mm, blur_mm)
    return (outside_hu[:, None] + (cortex_hu - outside_hu)[:, None] * outer
            + (inside_hu - cortex_hu)[:, None] * inner)


def fit_cortex(x_mm: FloatArray, profiles_hu: FloatArray, weights: FloatArray, *, blur_mm: FloatArray,
               cortex_hu: FloatArray, free_cortex: bool = False, free_blur: bool = False) -> CortexFit:
    """Fit the model to profiles by Levenberg and Marquardt's method from the best point of a coarse grid.

    Parameters
    ----------
    x_mm : ndarray
        Shape (samples,); places along the inward normal.
    profiles_hu, weights : ndarray
        Shape (profiles, samples).
    blur_mm, cortex_hu : ndarray
        Shape (profiles,); ``s`` and ``yc``, or where they start if they are free.
    free_cortex, free_blur : bool
        Fit them too. Together with the thickness they can be told only where the cortex is wider than the blur.
    """
    surface, thickness, outside, inside = _coarse_start(x_mm, profiles_hu, weights, blur_mm, cortex_hu)
    # Thickness and blur are positive: their logarithms are fitted.
    parameters = np.column_stack([surface, np.log(thickness), outside, inside, cortex_hu, np.log(blur_mm)])
    free = [0, 1, 2, 3] + [4] * free_cortex + [5] * free_blur
    damping = np.full(len(parameters), 1e-2)
    residual, jacobian = _residual(x_mm, profiles_hu, parameters)
    cost = (weights * residual ** 2).sum(axis=1)
    for _ in range(_ITERATIONS):
        slopes = jacobian[:, :, free]
        weighted = slopes * weights[:, :, None]
        normal = np.einsum("nsi,nsj->nij", weighted, slopes)
        gradient = np.einsum("nsi,ns->ni", weighted, residual)
        diagonal = np.einsum("nii->ni", normal)
        damped = normal + (damping[:, None] * diagonal + 1e-9)[:, :, None] * np.eye(len(free))
        step = np.linalg.solve(damped, gradient[:, :, None])[:, :, 0]
        trial = parameters.copy()
        trial[:, free] -= np.clip(step, -_largest_step(free), _largest_step(free))
        trial[:, 1] = np.clip(trial[:, 1], np.log(THINNEST_MM), np.log(THICKEST_MM))
        trial[:, 5] = np.clip(trial[:, 5], np.log(0.2), np.log(3.0))
        new_residual, new_jacobian = _residual(x_mm, profiles_hu, trial)
        new_cost = (weights * new_residual ** 2).sum(axis=1)
        better = new_cost < cost
        parameters[better], residual[better] = trial[better], new_residual[better]
        jacobian[better] = new_jacobian[better]
        cost = np.where(better, new_cost, cost)
        damping = np.clip(np.where(better, damping / 5, damping * 4), 1e-7, 1e7)
    rms = np.sqrt(cost / np.maximum(weights.sum(axis=1), 1e-9))
    return CortexFit(parameters[:, 0], np.exp(parameters[:, 1]), parameters[:, 2], parameters[:, 4], parameters[:, 3],
                     np.exp(parameters[:, 5]), rms)


def _largest_step(free: list[int]) -> FloatArray:
    return np.array([1.0, 0.5, 200.0, 200.0, 300.0, 0.3])[free]


def _steps(x_mm: FloatArray, surface: FloatArray, thickness: FloatArray,
           blur: FloatArray) -> tuple[FloatArray, FloatArray]:
    outer = (x_mm - surface[:, None]) / blur[:, None]
    inner = outer - (thickness / blur)[:, None]
    return special.ndtr(outer), special.ndtr(inner)


def _coarse_start(x_mm: FloatArray, profiles: FloatArray, weights: FloatArray, blur: FloatArray,
                  cortex: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return surface, thickness, y0 and y2 of the grid point with the least squares; y0 and y2 are linear."""
    count = len(profiles)
    best = np.full(count, np.inf)
    chosen = np.zeros((4, count))
    for start in _START_THICKNESS_MM:
        for place in _START_SURFACE_MM:
            outer, inner = _steps(x_mm, np.full(count, place), np.full(count, start), blur)
            one, two = 1 - outer, inner
            rest = profiles - cortex[:, None] * (outer - inner)
            a, b, c = ((weights * left * right).sum(axis=1) for left, right in ((one, one), (one, two), (two, two)))
            p, q = ((weights * part * rest).sum(axis=1) for part in (one, two))
            determinant = np.maximum(a * c - b * b, 1e-9)
            y0, y2 = (c * p - b * q) / determinant, (a * q - b * p) / determinant
            left_over = rest - y0[:, None] * one - y2[:, None] * two
            cost = (weights * left_over ** 2).sum(axis=1)
            better = cost < best
            best = np.where(better, cost, best)
            for row, value in enumerate((np.full(count, place), np.full(count, start), y0, y2)):
                chosen[row] = np.where(better, value, chosen[row])
    return chosen[0], chosen[1], chosen[2], chosen[3]


def _residual(x_mm: FloatArray, profiles: FloatArray, parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return model minus profile, and its derivatives (profiles, samples, 6)."""
    surface, log_thickness, y0, y2, yc, log_blur = parameters.T
    thickness, blur = np.exp(log_thickness), np.exp(log_blur)
    u = (x_mm - surface[:, None]) / blur[:, None]
    v = u - (thickness / blur)[:, None]
    outer, inner = special.ndtr(u), special.ndtr(v)
    bell_u, bell_v = np.exp(-u * u / 2) / _SQRT_2_PI, np.exp(-v * v / 2) / _SQRT_2_PI
    rise, fall = (yc - y0)[:, None], (y2 - yc)[:, None]
    model = y0[:, None] + rise * outer + fall * inner
    by_blur = -(rise * bell_u * u + fall * bell_v * v)
    slopes = np.stack([-(rise * bell_u + fall * bell_v) / blur[:, None], -fall * bell_v * (thickness / blur)[:, None],
                       1 - outer, inner, outer - inner, by_blur], axis=2)
    return model - profiles, slopes
