"""From one scan and its mask to cases: one a hip, or the whole scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.cohort import Side
from femur_nnunet.dataset_conversion.mask_values import UNSIDED_LABEL, side_by_position
from femur_nnunet.volume_io.geometry import GeometryRecord
from femur_nnunet.volume_io.hips import LEFT_LABEL, RIGHT_LABEL, HipCrop, split_hips
from femur_nnunet.volume_io.orientation import orient_to_lps
from femur_nnunet.volume_io.volume import Volume

LABEL_OF_SIDE = {"left": LEFT_LABEL, "right": RIGHT_LABEL}
NOT_DRAWN = "no mask voxel of this hip while the other hip has a mask (--keep-unlabelled-hip keeps it)"
HALF_DRAWN = ("a whole scan with a mask of one of its two femora would teach that the other one is background "
              "(--keep-unlabelled-hip keeps the scan unlabelled)")


@dataclass(frozen=True)
class HipCase:
    """What becomes one case.

    ``label`` is uint8 ``(z, y, x)`` on the case's grid, ``None`` for an unlabelled case: 1 is the femur,
    or in a whole scan 1 the left and 2 the right femur.
    """

    side: Side
    geometry: GeometryRecord
    label: NDArray[np.uint8] | None


def cut_into_cases(volume: Volume, side: Side, mask: NDArray[np.uint8] | None, *, keep_unlabelled_hip: bool = False,
                   keep_bilateral: bool = False, subject: str = "") -> tuple[list[HipCase], dict[Side, str]]:
    """Cut a scan into cases.

    Parameters
    ----------
    volume : Volume
        The scan as read.
    side : {"left", "right", "both"}
        Side of the manifest row.
    mask : ndarray, optional
        Shape ``(k, j, i)`` of the scan's own grid, from
        :func:`~femur_nnunet.dataset_conversion.mask_values.interpret_mask`.
    keep_unlabelled_hip : bool
        Keep a hip without mask voxels although the scan has a mask.
    keep_bilateral : bool
        One case for the whole scan.
    subject : str
        What errors are about.

    Returns
    -------
    cases : list of HipCase
        Left before right.
    dropped : dict
        Side -> reason.

    Raises
    ------
    FemurError
        The hips cannot be parted, or the mask contradicts the side.
    """
    oriented, mapping = orient_to_lps(volume)
    mask_lps = None if mask is None else np.ascontiguousarray(mapping.apply(mask))
    if mask_lps is not None and (mask_lps == UNSIDED_LABEL).any():
        left = next(hip for hip in split_hips(oriented, side, subject=subject) if hip.side == "left")
        mask_lps = side_by_position(mask_lps, left.start_x)
    if keep_bilateral:
        return _whole_scan(oriented, side, mask_lps, GeometryRecord.of_whole_scan(volume.grid, mapping),
                           keep_unlabelled_hip, subject)
    cases: list[HipCase] = []
    dropped: dict[Side, str] = {}
    for hip in split_hips(oriented, side, mask_lps, subject=subject):
        geometry = GeometryRecord.of_hip(volume.grid, mapping, hip)
        if mask_lps is None:
            cases.append(HipCase(hip.side, geometry, None))
            continue
        femur = (mask_lps == LABEL_OF_SIDE[hip.side]).view(np.uint8)
        if femur.any():
            cases.append(HipCase(hip.side, geometry, geometry.forward(mapping.undo(femur))))
        elif keep_unlabelled_hip:
            cases.append(HipCase(hip.side, geometry, None))
        else:
            dropped[hip.side] = NOT_DRAWN
    return cases, dropped


def _whole_scan(oriented: Volume, side: Side, mask_lps: NDArray[np.uint8] | None, geometry: GeometryRecord,
                keep_unlabelled_hip: bool, subject: str) -> tuple[list[HipCase], dict[Side, str]]:
    if mask_lps is None:
        return [HipCase(side, geometry, None)], {}
    hips = split_hips(oriented, side, mask_lps, subject=subject)
    if _every_hip_in_view_is_drawn(hips, oriented, mask_lps):
        return [HipCase(side, geometry, mask_lps)], {}
    if keep_unlabelled_hip:
        return [HipCase(side, geometry, None)], {}
    return [], {side: HALF_DRAWN}


def _every_hip_in_view_is_drawn(hips: Sequence[HipCrop], oriented: Volume, mask_lps: NDArray[np.uint8]) -> bool:
    # A crop that leaves columns out, in a row of one side, means that the other hip is in view as well.
    in_view = sum(hip.stop_x - hip.start_x for hip in hips) == oriented.array.shape[2]
    return in_view and all((mask_lps == LABEL_OF_SIDE[hip.side]).any() for hip in hips)
