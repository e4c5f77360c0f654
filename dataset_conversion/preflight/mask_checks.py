"""Checks on the mask of one hip against its image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from femur_nnunet.dataset_conversion.preflight.findings import Finding, Verdict, go, look, stop, worst

# A reader's slip leaves crumbs; a second piece of femur does not exist.
LEAST_ISLAND_ML = 0.05
# Proximal femora with 20 to 120 mm of shaft: about 60 to 250 ml in adults, with margins.
VOLUME_ML = (30.0, 400.0)
# Marrow belongs to the femur: a cavity in the mask is an error of drawing above the size of a few voxels.
LEAST_HOLE_ML = 0.05
# Fat inside bone is seldom below -100 HU by itself (yellow marrow is -30 to -100); air never.
FAT_HU, LARGEST_FAT_SHARE = -100.0, 0.05
# The periosteal shell of a femur is bone; at the joint and the cut it may be thin.
SHELL_MM, LEAST_SHELL_HU = 2.0, 120.0


def check_mask_components(femur: NDArray[np.bool_], spacing_mm_zyx: Sequence[float]) -> Finding:
    """Look at a mask in several pieces.

    Parameters
    ----------
    femur : ndarray of bool
        Shape (z, y, x): the mask of one hip.
    spacing_mm_zyx : sequence of float
        Spacing.
    """
    parts, count = ndimage.label(femur, structure=np.ones((3, 3, 3)))
    sizes_ml = np.sort(np.bincount(parts.ravel())[1:] * _voxel_ml(spacing_mm_zyx))[::-1]
    if count <= 1:
        return go("mask components", "one piece")
    if sizes_ml[1] >= LEAST_ISLAND_ML:
        return look("mask components", f"{count} pieces, the largest {sizes_ml[0]:.1f} ml, the next "
                    f"{sizes_ml[1]:.2f} ml", "remove the islands, or map labels that are no femur with --mask-labels")
    return go("mask components", f"{count - 1} crumb(s) below {LEAST_ISLAND_ML:g} ml")


def check_mask_volume(femur: NDArray[np.bool_], spacing_mm_zyx: Sequence[float]) -> Finding:
    """Look at a mask (z, y, x) far smaller or larger than a proximal femur."""
    volume_ml = float(np.count_nonzero(femur)) * _voxel_ml(spacing_mm_zyx)
    if not VOLUME_ML[0] <= volume_ml <= VOLUME_ML[1]:
        return look("mask volume", f"{volume_ml:.1f} ml, expected {VOLUME_ML[0]:g} to {VOLUME_ML[1]:g}",
                    "check the mask's values (--mask-labels) and whether all slices were drawn")
    return go("mask volume", f"{volume_ml:.0f} ml")


def check_mask_holes(femur: NDArray[np.bool_], spacing_mm_zyx: Sequence[float]) -> Finding:
    """Look at cavities of a mask (z, y, x): it is everything inside the periosteal surface, marrow included."""
    holes = _filled(femur) & ~femur
    volume_ml = float(np.count_nonzero(holes)) * _voxel_ml(spacing_mm_zyx)
    if volume_ml >= LEAST_HOLE_ML:
        return look("mask holes", f"{volume_ml:.2f} ml of holes", "fill the holes: marrow belongs to the femur")
    return go("mask holes")


def check_mask_on_bone(femur: NDArray[np.bool_], hounsfield: NDArray[Any],
                       spacing_mm_zyx: Sequence[float]) -> Finding:
    """Stop at a mask that lies on fat or air, look at one whose shell is no bone: shifted, flipped or of another scan.

    Parameters
    ----------
    femur : ndarray of bool
        Shape (z, y, x).
    hounsfield : ndarray
        The image, of the same shape.
    spacing_mm_zyx : sequence of float
        Spacing.
    """
    inside = hounsfield[femur]
    fat_share = float(np.mean(inside < FAT_HU))
    steps = [max(1, round(SHELL_MM / spacing)) for spacing in spacing_mm_zyx]
    inner = ndimage.minimum_filter(femur, size=(1, 2 * steps[1] + 1, 2 * steps[2] + 1))
    shell = femur & ~inner
    shell_hu = float(np.median(hounsfield[shell])) if shell.any() else float(np.median(inside))
    if fat_share > LARGEST_FAT_SHARE:
        return stop("mask on bone", f"{100 * fat_share:.0f} % of the mask lie below {FAT_HU:g} HU, expected at most "
                    f"{100 * LARGEST_FAT_SHARE:.0f} %", "check that mask and image belong together and that neither "
                    "is shifted or flipped")
    if shell_hu < LEAST_SHELL_HU:
        return look("mask on bone", f"the outer {SHELL_MM:g} mm of the mask have a median of {shell_hu:.0f} HU, "
                    f"expected bone ({LEAST_SHELL_HU:g} and more)", "compare the contours with the image")
    return go("mask on bone", f"outer {SHELL_MM:g} mm: {shell_hu:.0f} HU")


def check_mask_extent(femur: NDArray[np.bool_]) -> Finding:
    """Look at a mask that the image cuts at its top or sides; the shaft's lower end is always cut.

    Parameters
    ----------
    femur : ndarray of bool
        Shape (z, y, x) of the whole image, feet first.
    """
    levels = np.flatnonzero(femur.any(axis=(1, 2)))
    faults = []
    if femur[-1].any():
        faults.append("the head reaches the image's uppermost slice")
    if femur[:, :, 0].any() or femur[:, :, -1].any() or femur[:, 0].any() or femur[:, -1].any():
        faults.append("the mask reaches the image's side")
    missing = int(levels[-1] - levels[0] + 1 - levels.size)
    if missing:
        faults.append(f"{missing} empty slice(s) within the mask")
    if faults:
        return look("mask extent", "; ".join(faults), "see whether the femur is whole in this scan")
    return go("mask extent")


def combine(check: str, by_side: Sequence[tuple[str, Finding]]) -> Finding:
    """Return one finding for the hips of a scan: the worst verdict and what was found on each side."""
    verdict = worst(finding for _, finding in by_side)
    shown = [(side, finding) for side, finding in by_side
             if finding.reason and (verdict == Verdict.GO or finding.verdict > Verdict.GO)]
    mend = next((finding.mend for _, finding in by_side if finding.verdict == verdict), "")
    return Finding(check, verdict, "; ".join(f"{side}: {finding.reason}" for side, finding in shown), mend)


def _voxel_ml(spacing_mm_zyx: Sequence[float]) -> float:
    return float(np.prod(np.asarray(spacing_mm_zyx, dtype=np.float64))) / 1000


def _filled(femur: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill cavities slice by slice: a tunnel that opens at the shaft's cut is a hole as well."""
    return np.stack([ndimage.binary_fill_holes(plane) for plane in femur])
