"""Streaks of metal, computed from projections of each slice on a coarse grid.

A polychromatic beam measures less than the line integral behind dense metal (beam hardening, to second
order ``-b p_metal^2 - c p_metal p_body``), and few photons arrive, which adds noise to those rays. The
error of the projections, filtered and projected back, is the streak image: dark bands between metal and
bone and along the metal's long axis, bright and dark rays beside it.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from femur_nnunet.phantom.coarse_lattice import cubic_weights
from femur_nnunet.phantom.shapes import FloatArray

WATER_ATTENUATION_PER_MM = 0.0193
METAL_BEGINS_HU = 3000.0
COARSE_PIXELS = 144
VIEWS = 160
HARDENING_METAL, HARDENING_BODY = 0.05, 0.03
GREATEST_METAL_PATH = 9.0
STARVATION = 0.0016
# Scanners cap what a streak may do; without it starved rays would turn tissue to air or metal.
STRONGEST_HU = 500.0
_SLICES_AT_ONCE = 24


def add_metal_streaks(hu: FloatArray, pixel_mm: float, rng: np.random.Generator, *,
                      pixels: int = COARSE_PIXELS, views: int = VIEWS) -> int:
    """Add streaks to every slice that holds metal, in place, and return how many those are.

    Parameters
    ----------
    hu : ndarray
        Shape (z, y, x), before kernel and noise.
    pixel_mm : float
        In-plane spacing.
    rng : numpy.random.Generator
        Source of the noise of starved rays.
    pixels, views : int
        Edge of the coarse grid and number of projections: the work grows with ``pixels ** 2 * views``.
    """
    chosen = np.flatnonzero((hu > METAL_BEGINS_HU).reshape(hu.shape[0], -1).sum(axis=1) >= 4)
    if chosen.size == 0:
        return 0
    side = max(hu.shape[1:])
    step = side * pixel_mm / pixels
    projector = _projector(pixels, views)
    shrink = [_box_average(size, side, pixels) for size in hu.shape[1:]]
    # Positions of the image's pixels on the coarse grid, whose first pixel is centred at half a step.
    grow = [cubic_weights((np.arange(size) + (side - size) / 2 + 0.5) * pixels / side - 0.5, pixels)
            for size in hu.shape[1:]]
    for start in range(0, chosen.size, _SLICES_AT_ONCE):
        block = chosen[start:start + _SLICES_AT_ONCE]
        planes = hu[block]
        body = np.maximum(np.minimum(planes, METAL_BEGINS_HU) / 1000.0 + 1.0, 0.0).astype(np.float32)
        metal = np.maximum(planes - METAL_BEGINS_HU, 0).astype(np.float32) / np.float32(1000.0)
        paths = []
        for part in (body, metal):
            coarse = np.matmul(np.matmul(shrink[0], part), shrink[1].T)
            flat = coarse.reshape(block.size, -1).T
            paths.append((projector @ flat) * np.float32(step * WATER_ATTENUATION_PER_MM))
        p_body, p_metal = paths[0], np.minimum(paths[1], np.float32(GREATEST_METAL_PATH))
        error = -np.float32(HARDENING_METAL) * p_metal ** 2 - np.float32(HARDENING_BODY) * p_metal * p_body
        starved = np.float32(STARVATION) * np.exp(0.5 * np.minimum(p_body + p_metal, np.float32(13.0)))
        error += rng.standard_normal(error.shape, dtype=np.float32) * starved * (p_metal > 0.05)
        filtered = _ramp(error.reshape(views, -1, block.size), step)
        streaks = projector.T @ filtered.reshape(-1, block.size) * np.float32(np.pi / views)
        image = streaks.T.reshape(block.size, pixels, pixels) * np.float32(
            1000.0 / WATER_ATTENUATION_PER_MM)
        fine = np.matmul(np.matmul(grow[0], image), grow[1].T)
        hu[block] += np.where(planes < METAL_BEGINS_HU, np.clip(fine, -STRONGEST_HU, STRONGEST_HU), 0)
    return int(chosen.size)


@functools.lru_cache(maxsize=2)
def _projector(size: int, views: int) -> sparse.csr_matrix:
    """Return the matrix (views * bins, pixels) of parallel projections with linear shares between bins."""
    centre = (size - 1) / 2
    y, x = np.meshgrid(np.arange(size) - centre, np.arange(size) - centre, indexing="ij")
    bins = int(np.ceil(size * np.sqrt(2))) + 2
    rows, columns, values = [], [], []
    pixel = np.arange(size * size)
    for view in range(views):
        angle = np.pi * view / views
        where = (x * np.cos(angle) + y * np.sin(angle)).ravel() + (bins - 1) / 2
        low = where.astype(np.int64)
        share = (where - low).astype(np.float32)
        for shift, weight in ((0, 1 - share), (1, share)):
            rows.append(view * bins + low + shift)
            columns.append(pixel)
            values.append(weight)
    return sparse.csr_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
                             shape=(views * bins, size * size), dtype=np.float32)


def _ramp(sinogram: FloatArray, step_mm: float) -> FloatArray:
    """Filter projections (views, bins, slices) by the frequency, with a Hann window."""
    bins = sinogram.shape[1]
    length = 2 * bins
    frequency = np.fft.rfftfreq(length, step_mm)
    response = frequency * (0.5 + 0.5 * np.cos(np.pi * frequency / frequency[-1]))
    spectrum = np.fft.rfft(sinogram, n=length, axis=1) * response[None, :, None]
    return np.fft.irfft(spectrum, n=length, axis=1)[:, :bins].astype(np.float32)


def _box_average(size: int, side: int, pixels: int) -> NDArray[np.float32]:
    """Return the matrix (coarse, size) that averages a centred axis of ``size`` of ``side`` pixels."""
    edges = np.arange(pixels + 1) * side / pixels - (side - size) / 2
    pixel = np.arange(size)
    low = np.maximum(edges[:-1, None], pixel[None, :])
    high = np.minimum(edges[1:, None], pixel[None, :] + 1)
    return (np.maximum(high - low, 0) * pixels / side).astype(np.float32)
