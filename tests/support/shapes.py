"""Voxel shapes whose measures follow from arithmetic."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def block(shape: tuple[int, int, int], low: tuple[int, int, int], high: tuple[int, int, int]) -> NDArray[np.bool_]:
    """An axis-parallel box from voxel ``low`` up to, not with, voxel ``high``."""
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


def ball(radius_mm: float, spacing_mm_zyx: tuple[float, float, float], *, margin_mm: float = 15.0) -> NDArray[np.bool_]:
    """A digitised ball in the middle of an image that reaches ``margin_mm`` beyond it."""
    half = [int(np.ceil((radius_mm + margin_mm) / spacing)) for spacing in spacing_mm_zyx]
    axes = np.meshgrid(*(np.arange(-n, n + 1) * spacing for n, spacing in zip(half, spacing_mm_zyx, strict=True)),
                       indexing="ij", sparse=True)
    return sum(axis**2 for axis in axes) <= radius_mm**2


def all_pairs_distances(reference: NDArray[np.bool_], prediction: NDArray[np.bool_],
                        spacing_mm_zyx: tuple[float, float, float], neighbours: tuple[tuple[int, int, int], ...],
                        ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances between borders by looking at every pair, with borders found voxel by voxel."""
    first, second = (_border_positions(mask, spacing_mm_zyx, neighbours) for mask in (reference, prediction))
    pairs = np.sqrt(((first[:, None, :] - second[None, :, :]) ** 2).sum(axis=2))
    return pairs.min(axis=1), pairs.min(axis=0)


FACES = ((-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1))


def _border_positions(mask: NDArray[np.bool_], spacing_mm_zyx: tuple[float, float, float],
                      neighbours: tuple[tuple[int, int, int], ...]) -> NDArray[np.float64]:
    inside = {tuple(int(i) for i in voxel) for voxel in np.argwhere(mask)}
    border = [voxel for voxel in sorted(inside)
              if any((voxel[0] + dz, voxel[1] + dy, voxel[2] + dx) not in inside for dz, dy, dx in neighbours)]
    return np.asarray(border, dtype=float) * np.asarray(spacing_mm_zyx)
