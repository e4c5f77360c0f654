"""Cutting a scan into hips at a grid column near the body's midline, never through a femur.

The rules, all on an LPS-oriented grid, where the patient's left lies at the higher x index:

* The midline comes from the body (see :mod:`femur_nnunet.volume_io.body`); candidate columns lie within
  25 mm of it.
* With a mask, the cut is the candidate nearest to the midline that has every left femur voxel on its left
  and every right one on its right. Without one it is the column nearest to the midline as well: a cut that
  sought another place would tell unlabelled from labelled scans, and with them one site from another.
* Side ``both``: two crops that together cover the scan. In the mask 1 is left and 2 is right.
* Side ``left`` or ``right``: if the body in view is narrower than an adult pelvis with both femora, the field
  of view holds one hip and the whole x range is kept; otherwise the asked half is cropped. All mask voxels
  must lie in the crop, whatever their value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.errors import FemurError
from femur_nnunet.volume_io.body import BodyExtent, find_body
from femur_nnunet.volume_io.orientation import Scalar
from femur_nnunet.volume_io.volume import Volume

CUT_WINDOW_MM = 25.0
# Measured on 22 adults (label maps of the AuToSeg repository, MIT): both femora together span 260 to 352 mm, flesh not
# counted, and leave 114 to 145 mm between them. A field of view on one hip is up to 250 mm.
BILATERAL_BODY_WIDTH_MM = 260.0
LEFT_LABEL, RIGHT_LABEL = 1, 2


@dataclass(frozen=True)
class HipCrop:
    """One hip as a range of grid columns of the LPS-oriented scan.

    Attributes
    ----------
    side : {"left", "right"}
        Which hip of the patient.
    start_x, stop_x : int
        Columns of the crop, stop exclusive.
    femur_touches_cut : bool
        Whether the column next to the cut holds a mask voxel of this hip; False without a mask or a cut.
    mask_label : int or None
        The mask's value of this hip (1 left, 2 right, for side ``both``); None: any value but 0.
    mask_voxels : int or None
        Number of mask voxels of this hip; None without a mask. 0 means a hip that was not drawn.
    """

    side: Literal["left", "right"]
    start_x: int
    stop_x: int
    femur_touches_cut: bool = False
    mask_label: int | None = None
    mask_voxels: int | None = None


def flip_left_right(array: NDArray[Scalar]) -> NDArray[Scalar]:
    """Return a contiguous copy of ``(z, y, x)`` mirrored along x.

    The convention: the content of a case is always a left hip, so right hips are mirrored.
    """
    return np.ascontiguousarray(array[..., ::-1])


def split_hips(volume_lps: Volume, side: Literal["left", "right", "both"],
               mask_lps: NDArray[np.uint8] | None = None, *, subject: str = "") -> list[HipCrop]:
    """Say which grid columns belong to which hip; nothing is resampled or copied.

    Parameters
    ----------
    volume_lps : Volume
        CT in HU, oriented by :func:`~femur_nnunet.volume_io.orientation.orient_to_lps`.
    side : {"left", "right", "both"}
        Which hips the scan is said to hold.
    mask_lps : ndarray, optional
        Shape of the volume; for ``both`` 1 is the left and 2 the right femur, else any value but 0 is the femur.
    subject : str, optional
        What errors are about: a manifest row, a case id.

    Returns
    -------
    list of HipCrop
        Left before right; one crop for a single side.

    Raises
    ------
    FemurError
        No body in view; foreign label values; the mask contradicts the side or the geometry; a femur crosses
        every candidate column; too narrow a body for two hips.
    """
    if mask_lps is not None and mask_lps.shape != volume_lps.array.shape:
        raise FemurError(f"a mask of shape {mask_lps.shape}", expected=f"the image's {volume_lps.array.shape}",
                         action="bring the mask onto the oriented image grid first", subject=subject)
    body = find_body(volume_lps, subject=subject)
    if side == "both":
        return _split_both(volume_lps, body, mask_lps, subject)
    columns = None if mask_lps is None else _femur_columns(mask_lps, None)
    size_x = volume_lps.array.shape[2]
    if body.width_mm < BILATERAL_BODY_WIDTH_MM:
        return [HipCrop(side, 0, size_x, mask_voxels=_count(columns))]
    left, right = (columns, None) if side == "left" else (None, columns)
    cut = _choose_cut(volume_lps, body, left, right, subject)
    if side == "left":
        return [_left_crop(cut, size_x, left, None)]
    return [_right_crop(cut, right, None)]


def _split_both(volume_lps: Volume, body: BodyExtent, mask_lps: NDArray[np.uint8] | None,
                subject: str) -> list[HipCrop]:
    left = right = None
    if mask_lps is not None:
        foreign = sorted({int(value) for value in np.flatnonzero(np.bincount(mask_lps.ravel()))}
                         - {0, LEFT_LABEL, RIGHT_LABEL})
        if foreign:
            raise FemurError(f"the label values {foreign} in the mask", expected="1 for the left and 2 for the "
                             "right femur in a scan of both hips", action="map the values with --mask-labels",
                             subject=subject)
        left, right = _femur_columns(mask_lps, LEFT_LABEL), _femur_columns(mask_lps, RIGHT_LABEL)
    if _is_empty(left) and _is_empty(right) and body.width_mm < BILATERAL_BODY_WIDTH_MM:
        raise FemurError(f"a body {body.width_mm:.0f} mm wide in a scan of both hips",
                         expected=f"at least {BILATERAL_BODY_WIDTH_MM:.0f} mm, which two adult hips need",
                         action="give the side (left or right) that the scan shows", subject=subject)
    cut = _choose_cut(volume_lps, body, left, right, subject)
    return [_left_crop(cut, volume_lps.array.shape[2], left, LEFT_LABEL), _right_crop(cut, right, RIGHT_LABEL)]


def _left_crop(cut: int, size_x: int, columns: NDArray[np.int64] | None, label: int | None) -> HipCrop:
    touches = columns is not None and bool(columns[cut] > 0)
    return HipCrop("left", cut, size_x, touches, label, _count(columns))


def _right_crop(cut: int, columns: NDArray[np.int64] | None, label: int | None) -> HipCrop:
    touches = columns is not None and bool(columns[cut - 1] > 0)
    return HipCrop("right", 0, cut, touches, label, _count(columns))


def _femur_columns(mask_lps: NDArray[np.uint8], label: int | None) -> NDArray[np.int64]:
    """Return the number of mask voxels in each x column: of ``label``, or of any value but 0."""
    femur = mask_lps != 0 if label is None else mask_lps == label
    return np.count_nonzero(femur, axis=(0, 1)).astype(np.int64)


def _count(columns: NDArray[np.int64] | None) -> int | None:
    return None if columns is None else int(columns.sum())


def _is_empty(columns: NDArray[np.int64] | None) -> bool:
    return columns is None or not columns.any()


def _choose_cut(volume_lps: Volume, body: BodyExtent, left: NDArray[np.int64] | None,
                right: NDArray[np.int64] | None, subject: str) -> int:
    """Return the first column of the left half."""
    size_x = volume_lps.array.shape[2]
    spacing_mm = volume_lps.grid.spacing_mm_ijk[0]
    # A cut before column c lies at c - 0.5; both halves must keep at least one column.
    candidates = np.arange(1, size_x)
    distance_mm = np.abs(candidates - 0.5 - body.midline_x) * spacing_mm
    in_window = distance_mm <= CUT_WINDOW_MM
    candidates, distance_mm = candidates[in_window], distance_mm[in_window]
    if not candidates.size:
        raise FemurError("a midline at the edge of the image", expected="a body with both halves in view",
                         action="give the side (left or right) that the scan shows", subject=subject)
    _refuse_contradiction(body, left, right, subject)
    allowed = np.ones(candidates.size, dtype=bool)
    if left is not None and left.any():
        allowed &= candidates <= int(np.flatnonzero(left)[0])
    if right is not None and right.any():
        allowed &= candidates > int(np.flatnonzero(right)[-1])
    if not allowed.any():
        raise FemurError(f"a femur mask that crosses all {candidates.size} columns within {CUT_WINDOW_MM:.0f} mm "
                         "of the body's midline", expected="a column between the hips that no femur voxel crosses",
                         action="remove stray mask voxels near the midline, or correct the side", subject=subject)
    candidates, distance_mm = candidates[allowed], distance_mm[allowed]
    return int(candidates[np.argmin(distance_mm)])


def _refuse_contradiction(body: BodyExtent, left: NDArray[np.int64] | None, right: NDArray[np.int64] | None,
                          subject: str) -> None:
    """Refuse a mask whose left femur lies on the patient's right half, or the other way round."""
    centres = {name: float(np.average(np.arange(columns.size), weights=columns))
               for name, columns in (("left", left), ("right", right)) if columns is not None and columns.any()}
    midline = body.midline_x
    if len(centres) == 2:
        wrong = [] if centres["left"] > centres["right"] else ["left", "right"]
    else:
        wrong = [name for name, centre in centres.items() if (centre > midline) != (name == "left")]
    if wrong:
        raise FemurError(f"the {' and '.join(wrong)} femur of the mask on the other side of the patient (in the "
                         "image's own coordinates)", expected="the left femur at the patient's left",
                         action="correct the side, the label values (--mask-labels) or the image's orientation",
                         subject=subject)
