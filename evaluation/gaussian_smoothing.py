"""Gaussian smoothing of a mask, computed only where it is wanted and only from where the mask is.

A mask's box is a small part of what Gaussians of several voxels reach. Several passes along one axis are one linear
map; written as a matrix from the mask's box straight to the wanted box, and multiplied block by block so that the
zeros beyond the Gaussian's reach are left out, it needs neither margins nor the fields between the passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.evaluation.overlap import Box

TRUNCATE = 3.5
"""A Gaussian is cut off at this many standard deviations, and scaled so that its weights sum to 1."""
# Rows of the matrix that are multiplied at once; with more of them more zeros are multiplied too.
_BLOCK = 48
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class GaussianCascade:
    """Gaussians applied to a mask one after the other.

    The mask is thought to go on unchanged beyond the image's edge.

    Attributes
    ----------
    box : tuple of slice
        Box outside of which the mask is empty.
    target : tuple of slice
        Box where the result is wanted.
    image_shape : tuple of int
        Shape of the whole image, ``(z, y, x)``.
    sigmas_voxels : sequence of ndarray, shape (3,)
        Standard deviations of each Gaussian along z, y and x.
    """

    box: Box
    target: Box
    image_shape: tuple[int, ...]
    sigmas_voxels: Sequence[NDArray[np.float64]]

    def apply(self, solid: FloatArray) -> FloatArray:
        """Return the smoothed mask (z, y, x) in the target box, from the mask's content of ``box``."""
        for axis in range(3):
            solid = _multiply_along(solid, self._weights(axis), axis)
        return solid

    def _weights(self, axis: int) -> FloatArray:
        """Return the matrix, shape ``(target, box)``, of all Gaussians along an axis."""
        kernel = np.ones(1)
        for sigmas in self.sigmas_voxels:
            kernel = np.convolve(kernel, gaussian_kernel(float(sigmas[axis])))
        offsets = np.arange(kernel.size) - kernel.size // 2
        box, target, size = self.box[axis], self.target[axis], self.image_shape[axis]
        rows, n_columns = np.arange(target.stop - target.start)[:, None], box.stop - box.start
        # What lies beyond the image's edge equals the edge.
        columns = np.minimum(np.maximum(rows + target.start + offsets, 0), size - 1) - box.start
        held = (columns >= 0) & (columns < n_columns)
        summed = np.bincount((rows * n_columns + columns)[held], np.broadcast_to(kernel, columns.shape)[held],
                             minlength=rows.size * n_columns)
        return summed.reshape(rows.size, n_columns).astype(np.float32)


def kernel_radius(sigma_voxels: float) -> int:
    """Return how many voxels a Gaussian reaches to either side."""
    return int(TRUNCATE * sigma_voxels + 0.5)


def gaussian_kernel(sigma_voxels: float) -> NDArray[np.float64]:
    """Return the weights, shape (2 radius + 1,), of a Gaussian at whole voxels, cut off at ``TRUNCATE`` sigmas."""
    radius = kernel_radius(sigma_voxels)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma_voxels) ** 2)
    return np.asarray(kernel / kernel.sum())


def _multiply_along(field: FloatArray, weights: FloatArray, axis: int) -> FloatArray:
    """Return ``weights`` times ``field`` along one axis of three."""
    shape = [*field.shape[:axis], weights.shape[0], *field.shape[axis + 1:]]
    result = np.zeros(shape, dtype=np.float32)
    for start in range(0, weights.shape[0], _BLOCK):
        rows = weights[start:start + _BLOCK]
        used = np.flatnonzero(rows.any(axis=0))
        if not used.size:
            continue
        columns = slice(int(used[0]), int(used[-1]) + 1)
        stop = start + rows.shape[0]
        if axis == 0:
            plane = field[columns].reshape(columns.stop - columns.start, -1)
            np.matmul(rows[:, columns], plane, out=result[start:stop].reshape(rows.shape[0], -1))
        elif axis == 1:
            result[:, start:stop] = rows[:, columns] @ field[:, columns]
        else:
            result[:, :, start:stop] = field[:, :, columns] @ rows[:, columns].T
    return result
