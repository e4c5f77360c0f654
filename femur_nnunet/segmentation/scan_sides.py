"""Which hips a scan holds, from its body and its bones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from femur_nnunet.errors import UsageError
from femur_nnunet.volume_io.body import BodyExtent, find_body
from femur_nnunet.volume_io.geometry import GeometryRecord
from femur_nnunet.volume_io.hip_search import HipInView, HipsInView, find_hips
from femur_nnunet.volume_io.hips import BILATERAL_BODY_WIDTH_MM, split_hips
from femur_nnunet.volume_io.orientation import AxisMapping
from femur_nnunet.volume_io.volume import Grid, Volume

SideName = Literal["left", "right"]
WantedSide = Literal["left", "right", "both"]
# Neck and offset put the head 33 to 50 mm medially of the shaft.
LEAST_OFFSET_MM = 15.0


@dataclass(frozen=True)
class HipToSegment:
    """One hip of a scan: which, how it is cut out, and what of it the bones show."""

    side: SideName
    record: GeometryRecord
    seen: HipInView


@dataclass(frozen=True)
class ScanSides:
    """The hips to segment, left before right, and where the body's midline is (``None``: one hip in view)."""

    hips: tuple[HipToSegment, ...]
    midline_x: float | None


def find_sides(volume_lps: Volume, source_grid: Grid, mapping: AxisMapping, wanted: WantedSide | None) -> ScanSides:
    """Cut a scan into hips as the converter does.

    Without a side a body as wide as two hips is taken for both; with a narrower one the femur's own form says which it
    is: its head lies medially of its shaft.

    Parameters
    ----------
    volume_lps : Volume
        CT in HU, oriented to LPS.
    source_grid : Grid
        The scan's own grid.
    mapping : AxisMapping
        The way from there to LPS.
    wanted : {"left", "right", "both"} or None
        Which hips to segment; ``None``: what is in view.

    Raises
    ------
    FemurError
        No body in view, or the hips cannot be parted.
    UsageError
        One hip in view whose side cannot be told.
    """
    body = find_body(volume_lps)
    midline = body.midline_x if body.width_mm >= BILATERAL_BODY_WIDTH_MM else None
    hips = find_hips(volume_lps, midline)
    side = wanted or ("both" if midline is not None else _side_in_view(hips, body))
    crops = split_hips(volume_lps, side)
    return ScanSides(tuple(
        HipToSegment(crop.side, GeometryRecord.of_hip(source_grid, mapping, crop), hips.of(crop.side))
        for crop in crops), midline)


def _side_in_view(hips: HipsInView, body: BodyExtent) -> SideName:
    hip = hips.left
    if hip.joint_x_mm is None or hip.shaft_x_mm is None or abs(hip.shaft_x_mm - hip.joint_x_mm) < LEAST_OFFSET_MM:
        raise UsageError(f"a body {body.width_mm:.0f} mm wide, too narrow for two hips, and no head with a shaft "
                         "beside it that would tell the side", expected="two hips, or one with head and shaft in view",
                         action="give --side left or --side right")
    return "left" if hip.shaft_x_mm > hip.joint_x_mm else "right"
