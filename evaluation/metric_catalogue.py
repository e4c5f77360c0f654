"""The metrics of cases.csv: name, unit, which way is better, and the value where nothing can be measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from femur_nnunet.evaluation.case_status import Outcome

METRICS_SCHEMA = 1
"""Version of the definitions in docs/metrics.md; raised when a number could change."""

FAIR_SUFFIX = "_fair"


class Fill(Enum):
    """The value of a metric in a row that was not measured."""

    NAN = "n/a"
    ZERO = "0"
    DIAGONAL = "image diagonal"
    AS_MEASURED = "as measured"


@dataclass(frozen=True)
class Metric:
    """One metric column.

    Attributes
    ----------
    name : str
        Column name.
    unit : str
        ``fraction`` (0..1), ``mm`` or ``ml``.
    better : str
        Which way is better.
    when_missed : Fill
        Value where a reference has no usable prediction.
    when_false_alarm : Fill
        Value where the reference is empty and the prediction is not.
    """

    name: str
    unit: Literal["fraction", "mm", "ml"]
    better: Literal["higher", "lower", "neither"]
    when_missed: Fill
    when_false_alarm: Fill


def _fraction(name: str, *, missed: Fill = Fill.ZERO, false_alarm: Fill = Fill.ZERO) -> Metric:
    return Metric(name, "fraction", "higher", missed, false_alarm)


def _distance(name: str, *, fill: Fill = Fill.NAN) -> Metric:
    return Metric(name, "mm", "lower", fill, fill)


METRICS: tuple[Metric, ...] = (
    _fraction("dice"),
    _fraction("iou"),
    _fraction("sensitivity", false_alarm=Fill.NAN),
    # An empty prediction has a perfect specificity; a missed femur must not be paid for with it.
    _fraction("specificity", missed=Fill.NAN, false_alarm=Fill.NAN),
    _fraction("specificity_near", missed=Fill.NAN, false_alarm=Fill.NAN),
    _fraction("precision"),
    _distance("hd_mm"),
    _distance("hd95_mm"),
    _distance("assd_mm"),
    _fraction("surface_dice_1mm"),
    _fraction("surface_dice_2mm"),
    _distance("hd95_mm_worst", fill=Fill.DIAGONAL),
    _distance("assd_mm_worst", fill=Fill.DIAGONAL),
    _distance("contour_distance_mm"),
    _distance("surface_roughness_mm"),
    Metric("volume_ref_ml", "ml", "neither", Fill.AS_MEASURED, Fill.ZERO),
    Metric("volume_pred_ml", "ml", "neither", Fill.ZERO, Fill.AS_MEASURED),
    _fraction("dice_fair"),
    _fraction("iou_fair"),
    _fraction("sensitivity_fair", false_alarm=Fill.NAN),
    _fraction("precision_fair"),
    _distance("hd_mm_fair"),
    _distance("hd95_mm_fair"),
    _distance("assd_mm_fair"),
    _fraction("surface_dice_1mm_fair"),
    _fraction("surface_dice_2mm_fair"),
    _distance("contour_distance_mm_fair"),
    _distance("surface_roughness_mm_fair"),
    Metric("volume_ref_ml_fair", "ml", "neither", Fill.NAN, Fill.NAN),
    Metric("volume_pred_ml_fair", "ml", "neither", Fill.NAN, Fill.NAN),
    # The reference's own roughness tells how much of the prediction's is in the annotation already.
    Metric("surface_roughness_ref_mm", "mm", "neither", Fill.AS_MEASURED, Fill.NAN),
    Metric("distal_trim_ref_mm", "mm", "neither", Fill.NAN, Fill.NAN),
    Metric("distal_trim_pred_mm", "mm", "neither", Fill.NAN, Fill.NAN),
)
METRIC_NAMES: tuple[str, ...] = tuple(metric.name for metric in METRICS)
METRIC_BY_NAME: dict[str, Metric] = {metric.name: metric for metric in METRICS}


def score(outcome: Outcome, measured: Mapping[str, float], diagonal_mm: float = math.nan) -> dict[str, float]:
    """Return the value of every metric for a row of this outcome.

    Parameters
    ----------
    outcome : Outcome
        How the row is scored.
    measured : mapping
        What could be measured, by metric name; a name that is missing is NaN.
    diagonal_mm : float
        Diagonal of the image, for the ``_worst`` twins.
    """
    fixed = {Fill.NAN: math.nan, Fill.ZERO: 0.0, Fill.DIAGONAL: diagonal_mm}
    values: dict[str, float] = {}
    for metric in METRICS:
        fill = _FILL_OF_OUTCOME[outcome](metric)
        value = measured.get(metric.name, math.nan) if fill is Fill.AS_MEASURED else fixed[fill]
        values[metric.name] = float(value)
    return values


_FILL_OF_OUTCOME = {
    Outcome.MEASURED: lambda metric: Fill.AS_MEASURED,
    Outcome.MISSED: lambda metric: metric.when_missed,
    Outcome.FALSE_ALARM: lambda metric: metric.when_false_alarm,
    Outcome.NOTHING: lambda metric: Fill.NAN,
}
