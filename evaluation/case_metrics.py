"""All metrics of one pair of masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.evaluation.case_status import STATUS_RULES, CaseStatus, Outcome
from femur_nnunet.evaluation.contour_distance import contour_distance_mm
from femur_nnunet.evaluation.fair_extent import common_distal_level, distal_trim_mm
from femur_nnunet.evaluation.metric_catalogue import FAIR_SUFFIX, score
from femur_nnunet.evaluation.overlap import (
    Box,
    bounding_box,
    count_overlap,
    specificity_near,
    union_box,
    volume_ml,
)
from femur_nnunet.evaluation.roughness import surface_departures
from femur_nnunet.evaluation.surface_distance import surface_distances

Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]


def measure(reference: Mask, prediction: Mask | None, spacing_mm_zyx: Spacing,
            ) -> tuple[CaseStatus, dict[str, float]]:
    """Return the status of a pair of masks and the value of every metric.

    Parameters
    ----------
    reference : ndarray of bool, shape (z, y, x)
        The reference, z to Superior.
    prediction : ndarray of bool, shape (z, y, x), or None
        The prediction on the same grid; ``None`` where there is none.
    spacing_mm_zyx : tuple of float
        Distance of voxel centres along each axis.

    Returns
    -------
    status : CaseStatus
        ``ok``, ``both_empty``, ``missed`` or ``no_reference``.
    values : dict
        Every metric of the catalogue; NaN where undefined.
    """
    reference_box = bounding_box(reference)
    prediction_box = None if prediction is None else bounding_box(prediction)
    status = _status(reference_box is not None, prediction_box is not None)
    outcome = STATUS_RULES[status].outcome
    measured: dict[str, float] = {}
    if reference_box is not None and prediction is not None and prediction_box is not None:
        measured = _measure_both(reference, prediction, reference_box, prediction_box, spacing_mm_zyx)
    elif outcome is Outcome.MISSED:
        measured = measure_reference_alone(reference, spacing_mm_zyx)
    elif outcome is Outcome.FALSE_ALARM and prediction is not None:
        measured = {"volume_pred_ml": volume_ml(int(np.count_nonzero(prediction)), spacing_mm_zyx)}
    diagonal_mm = float(np.linalg.norm(np.asarray(reference.shape) * np.asarray(spacing_mm_zyx)))
    return status, score(outcome, measured, diagonal_mm)


def measure_reference_alone(reference: Mask, spacing_mm_zyx: Spacing) -> dict[str, float]:
    """Return the metrics of a reference (z, y, x) that need no prediction."""
    return {"volume_ref_ml": volume_ml(int(np.count_nonzero(reference)), spacing_mm_zyx),
            "surface_roughness_ref_mm": surface_departures(reference, spacing_mm_zyx).roughness_mm()}


def _status(has_reference: bool, has_prediction: bool) -> CaseStatus:
    return {(True, True): CaseStatus.OK, (True, False): CaseStatus.MISSED,
            (False, True): CaseStatus.NO_REFERENCE, (False, False): CaseStatus.BOTH_EMPTY,
            }[has_reference, has_prediction]


def _measure_both(reference: Mask, prediction: Mask, reference_box: Box, prediction_box: Box,
                  spacing_mm_zyx: Spacing) -> dict[str, float]:
    box = union_box(reference_box, prediction_box)
    assert box is not None, "neither mask is empty"
    cropped = reference[box], prediction[box]
    counts = count_overlap(*cropped)
    values = _compare(*cropped, spacing_mm_zyx, open_bottom=False)
    values["contour_distance_mm"] = contour_distance_mm(*cropped, spacing_mm_zyx)
    values["specificity"] = counts.specificity(reference.size)
    values["specificity_near"] = specificity_near(reference, prediction, spacing_mm_zyx, reference_box)
    values["hd95_mm_worst"] = values["hd95_mm"]
    values["assd_mm_worst"] = values["assd_mm"]
    values["surface_roughness_ref_mm"] = surface_departures(reference, spacing_mm_zyx, reference_box).roughness_mm()
    surface = surface_departures(prediction, spacing_mm_zyx, prediction_box)
    values["surface_roughness_mm"] = surface.roughness_mm()

    level = common_distal_level(*cropped, spacing_mm_zyx[0])
    values["distal_trim_ref_mm"] = distal_trim_mm(cropped[0], level, spacing_mm_zyx[0])
    values["distal_trim_pred_mm"] = distal_trim_mm(cropped[1], level, spacing_mm_zyx[0])
    trimmed = cropped[0][level:], cropped[1][level:]
    if not trimmed[1].any():
        # A prediction that lies wholly below the reference has missed the fair extent.
        missed = score(Outcome.MISSED, {})
        return values | {name: value for name, value in missed.items() if name.endswith(FAIR_SUFFIX)}
    fair = _compare(*trimmed, spacing_mm_zyx, open_bottom=True)
    # Contours lie within slices: only a slice taken off can change them.
    fair["contour_distance_mm"] = contour_distance_mm(*trimmed, spacing_mm_zyx) if level else (
        values["contour_distance_mm"])
    fair["surface_roughness_mm"] = surface.roughness_mm(lowest_slice=box[0].start + level)
    return values | {name + FAIR_SUFFIX: value for name, value in fair.items()}


def _compare(reference: Mask, prediction: Mask, spacing_mm_zyx: Spacing, *, open_bottom: bool) -> dict[str, float]:
    """Return what is measured on the whole and on the fair extent alike; neither mask is empty."""
    counts = count_overlap(reference, prediction)
    distances = surface_distances(reference, prediction, spacing_mm_zyx, open_bottom=open_bottom)
    return {
        "dice": counts.dice, "iou": counts.iou, "sensitivity": counts.sensitivity, "precision": counts.precision,
        "volume_ref_ml": volume_ml(counts.true_positive + counts.false_negative, spacing_mm_zyx),
        "volume_pred_ml": volume_ml(counts.true_positive + counts.false_positive, spacing_mm_zyx),
        "hd_mm": distances.hausdorff_mm, "hd95_mm": distances.hausdorff_95_mm,
        "assd_mm": distances.average_symmetric_mm,
        "surface_dice_1mm": distances.surface_dice(1.0), "surface_dice_2mm": distances.surface_dice(2.0)}

