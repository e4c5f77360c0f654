"""From the values of a delivered mask to left and right femur."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from femur_nnunet.cohort import Side
from femur_nnunet.dataset_conversion.conversion_options import MaskLabels
from femur_nnunet.errors import FemurError
from femur_nnunet.volume_io.hips import LEFT_LABEL, RIGHT_LABEL

# A femur whose side the value does not tell; never leaves this module's callers.
UNSIDED_LABEL = 3
_CODES = {"background": 0, "femur": UNSIDED_LABEL, "left": LEFT_LABEL, "right": RIGHT_LABEL}


def interpret_mask(mask: NDArray[np.uint8], side: Side, mask_labels: MaskLabels | None = None, *,
                   subject: str = "") -> NDArray[np.uint8]:
    """Translate the values of a mask.

    Parameters
    ----------
    mask : ndarray
        Values as delivered, in any shape.
    side : {"left", "right", "both"}
        Side of the manifest row. A single side keeps its own femur alone.
    mask_labels : tuple, optional
        Meaning of each value. Without it a mask of one side holds 0 and 1; one of both sides holds 1 =
        left and 2 = right, or 0 and 1 alone, where position tells the side.
    subject : str, optional
        What errors are about.

    Returns
    -------
    ndarray
        uint8 in the same shape: 1 left, 2 right, 3 a femur of unknown side (only for ``both``).

    Raises
    ------
    FemurError
        Values without a meaning, or no femur voxel.
    """
    present = [int(value) for value in np.flatnonzero(np.bincount(mask.ravel(), minlength=256))]
    meaning = _meanings(present, side, mask_labels)
    foreign = [value for value in present if value not in meaning]
    if foreign:
        raise FemurError(f"the value{'s' if len(foreign) > 1 else ''} {', '.join(map(str, foreign))} in the mask",
                         expected=_expected(side, mask_labels),
                         action="give the meaning of the mask's values with --mask-labels", subject=subject)
    table = np.zeros(256, dtype=np.uint8)
    for value in present:
        table[value] = meaning[value]
    if side != "both":
        own = _CODES[side]
        table[:] = np.where((table == own) | (table == UNSIDED_LABEL), own, 0)
    if not any(table[value] for value in present):
        what = "an empty mask" if present == [0] else f"no {side if side != 'both' else ''} femur in the mask"
        raise FemurError(" ".join(what.split()), expected="a mask with femur voxels",
                         action="correct the mask, or leave the mask cell of an unlabelled scan empty",
                         subject=subject)
    return table[mask]


def side_by_position(mask: NDArray[np.uint8], cut_x: int) -> NDArray[np.uint8]:
    """Give each femur of unknown side the side of the cut on which its centre lies.

    Parameters
    ----------
    mask : ndarray
        Shape ``(z, y, x)`` in LPS, from :func:`interpret_mask`.
    cut_x : int
        First column of the patient's left half.

    Returns
    -------
    ndarray
        1 left, 2 right. Connected parts stay whole, so that no femur is cut by a plane that was
        chosen without its mask.
    """
    parts, count = ndimage.label(mask == UNSIDED_LABEL)
    if not count:
        return mask
    columns = np.arange(mask.shape[2])
    centre_x = ndimage.mean(np.broadcast_to(columns, mask.shape), parts, index=np.arange(1, count + 1))
    code = np.concatenate([[0], np.where(np.asarray(centre_x) >= cut_x, LEFT_LABEL, RIGHT_LABEL)]).astype(np.uint8)
    return np.where(parts > 0, code[parts], mask).astype(np.uint8)


def _meanings(present: list[int], side: Side, mask_labels: MaskLabels | None) -> dict[int, int]:
    if mask_labels is not None:
        return {0: 0, **{value: _CODES[meaning] for value, meaning in mask_labels}}
    if side == "both" and RIGHT_LABEL in present:
        return {0: 0, LEFT_LABEL: LEFT_LABEL, RIGHT_LABEL: RIGHT_LABEL}
    return {0: 0, 1: UNSIDED_LABEL}


def _expected(side: Side, mask_labels: MaskLabels | None) -> str:
    if mask_labels is not None:
        return "0 and the values of --mask-labels (" + ", ".join(str(value) for value, _ in mask_labels) + ")"
    return "0, 1 for the left and 2 for the right femur" if side == "both" else "0 and 1"
