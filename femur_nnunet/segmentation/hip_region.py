"""Where in a hip's case the femur is to be looked for, from bone alone."""

from __future__ import annotations

import math

from femur_nnunet.segmentation.plan_grid import Box, Triple
from femur_nnunet.volume_io.geometry import GeometryRecord
from femur_nnunet.volume_io.hip_search import HipInView

# Around the place where the largest disc of the joint lies, within 20 mm of the head's centre: heads have a radius of
# 20 to 29 mm, greater trochanters reach 85 mm beyond the head's centre (22 real femora, docs/hip_anatomy.md).
ABOVE_JOINT_MM = 50.0
MEDIAL_OF_JOINT_MM, LATERAL_OF_JOINT_MM = 45.0, 95.0
FRONT_AND_BACK_OF_JOINT_MM = 55.0
AROUND_SHAFT_MM = 35.0


def femur_region(hip: HipInView, record: GeometryRecord) -> Box | None:
    """Return the box (z, y, x) of the hip's case that should hold its femur, down to the lowest slice.

    Parameters
    ----------
    hip : HipInView
        From :func:`~femur_nnunet.volume_io.hip_search.find_hips` of the whole scan.
    record : GeometryRecord
        How the hip's case was cut out of the scan.

    Returns
    -------
    Box or None
        ``None`` where no joint is in view: a shaft alone does not say how far up the bone goes.
    """
    if hip.joint_level_mm is None or hip.joint_x_mm is None or hip.joint_y_mm is None:
        return None
    # The case is always a left hip: lateral is where x grows, on the scan where x grows for left hips only.
    lateral = -1.0 if record.left_right_flipped else 1.0
    x_ends = [hip.joint_x_mm - lateral * MEDIAL_OF_JOINT_MM, hip.joint_x_mm + lateral * LATERAL_OF_JOINT_MM]
    y_ends = [hip.joint_y_mm - FRONT_AND_BACK_OF_JOINT_MM, hip.joint_y_mm + FRONT_AND_BACK_OF_JOINT_MM]
    if hip.shaft_x_mm is not None and hip.shaft_y_mm is not None:
        x_ends += [hip.shaft_x_mm - AROUND_SHAFT_MM, hip.shaft_x_mm + AROUND_SHAFT_MM]
        y_ends += [hip.shaft_y_mm - AROUND_SHAFT_MM, hip.shaft_y_mm + AROUND_SHAFT_MM]
    spacing_x, spacing_y, spacing_z = record.lps_grid.spacing_mm_ijk
    limits = [(0.0, (hip.joint_level_mm + ABOVE_JOINT_MM) / spacing_z),
              (min(y_ends) / spacing_y, max(y_ends) / spacing_y), (min(x_ends) / spacing_x, max(x_ends) / spacing_x)]
    starts, stops = [], []
    for (low, high), first, last in zip(limits, record.crop_start_xyz[::-1], record.crop_stop_xyz[::-1], strict=True):
        start, stop = max(first, math.floor(low)), min(last, math.ceil(high) + 1)
        if stop <= start:
            return None
        starts.append(start - first)
        stops.append(stop - first)
    return mirrored(Box((starts[0], starts[1], starts[2]), (stops[0], stops[1], stops[2])), record)


def window_record(record: GeometryRecord, box: Box) -> GeometryRecord:
    """Return the geometry of a box (z, y, x) of a hip's case: the way from the scan into the box and back."""
    on_scan = mirrored(box, record)
    start = record.crop_start_xyz
    low = (start[0] + on_scan.start[2], start[1] + on_scan.start[1], start[2] + on_scan.start[0])
    high = (start[0] + on_scan.stop[2], start[1] + on_scan.stop[1], start[2] + on_scan.stop[0])
    return GeometryRecord(record.source_grid, record.mapping, low, high, record.left_right_flipped)


def case_shape(record: GeometryRecord) -> Triple:
    """Return the shape (z, y, x) of a hip's case."""
    return record.case_grid.shape_kji


def mirrored(box: Box, record: GeometryRecord) -> Box:
    """Return a box of a flipped case as one of the unflipped crop, or the other way round."""
    if not record.left_right_flipped:
        return box
    width = record.case_grid.size_ijk[0]
    return Box((box.start[0], box.start[1], width - box.stop[2]), (box.stop[0], box.stop[1], width - box.start[2]))
