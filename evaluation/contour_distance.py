"""Mean distance of the outlines slice by slice, as a reader who scrolls through axial slices sees it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.evaluation.surface_distance import nearest_mm


def contour_pixels(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of each axial slice that have an in-plane edge neighbour outside the mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (z, y, x)
        The mask; what lies outside the image counts as outside the mask.
    """
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
    inner = padded[:, 2:, 1:-1] & padded[:, :-2, 1:-1]
    inner &= padded[:, 1:-1, 2:]
    inner &= padded[:, 1:-1, :-2]
    return mask & ~inner


def contour_distance_mm(reference: NDArray[np.bool_], prediction: NDArray[np.bool_],
                        spacing_mm_zyx: tuple[float, float, float]) -> float:
    """Return the mean in-plane contour distance, averaged over axial slices.

    In each slice that holds either mask: the mean, over the contour pixels of both masks, of the
    distance to the nearest contour pixel of the other mask in the same slice. Where a slice holds one
    mask alone there is no such distance; the distance in space to the nearest contour pixel of any
    slice takes its place, so that a missing slice costs at least one slice spacing. The result is the
    mean over slices, each of equal weight.

    Parameters
    ----------
    reference, prediction : ndarray of bool, shape (z, y, x)
        Masks on one grid, z the axial direction, neither empty.
    spacing_mm_zyx : tuple of float
        Distance of voxel centres along each axis.

    Raises
    ------
    ValueError
        A mask is empty.
    """
    if not reference.any() or not prediction.any():
        raise ValueError("the contour distance needs two masks that are not empty")
    contours = contour_pixels(reference), contour_pixels(prediction)
    total_mm = np.zeros(reference.shape[0])
    count = np.zeros(reference.shape[0])
    for own, other in (contours, contours[::-1]):
        slices, distances_mm = _by_slice(own, other, spacing_mm_zyx)
        total_mm += np.bincount(slices, weights=distances_mm, minlength=len(total_mm))
        count += np.bincount(slices, minlength=len(count))
    used = count > 0
    return float((total_mm[used] / count[used]).mean())


def _by_slice(own: NDArray[np.bool_], other: NDArray[np.bool_], spacing_mm_zyx: tuple[float, float, float],
              ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return slice index and distance of each contour pixel of ``own``."""
    slices = np.nonzero(own)[0]
    met = np.asarray(other.any(axis=(1, 2)))
    distances_mm = np.zeros(slices.size)
    if (own.any(axis=(1, 2)) & met).any():
        # Slices pulled apart by more than the plane's diagonal: the nearest pixel is in the same slice.
        apart_mm = 2.0 * float(np.hypot(own.shape[1] * spacing_mm_zyx[1], own.shape[2] * spacing_mm_zyx[2]))
        in_plane = nearest_mm(own & met[:, None, None], other, (apart_mm, *spacing_mm_zyx[1:]))
        distances_mm[met[slices]] = in_plane
    if not met[slices].all():
        distances_mm[~met[slices]] = nearest_mm(own & ~met[:, None, None], other, spacing_mm_zyx)
    return slices, distances_mm
