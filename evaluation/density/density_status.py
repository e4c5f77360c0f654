"""What can become of a region's density, and what each outcome means for the tables: data, not scattered ifs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from femur_nnunet.evaluation.density.quantities import QUANTITIES, SHAPE, VOLUME
from femur_nnunet.landmarks.femur_regions import RegionStatus


class DensityStatus(str, Enum):
    """Status of one row of density.csv."""

    OK = "ok"
    SHAFT_ASSUMED = "shaft_assumed"
    UNCALIBRATED = "uncalibrated"
    CALIBRATION_IMPLAUSIBLE = "calibration_implausible"
    NECK_DOUBTFUL = "neck_doubtful"
    TROCHANTER_CUT = "trochanter_cut"
    HEAD_INCOMPLETE = "head_incomplete"
    NO_HEAD = "no_head"
    NOT_IN_VIEW = "not_in_view"
    METAL = "metal"
    OUTSIDE_FIELD_OF_VIEW = "outside_field_of_view"
    NO_MASK = "no_mask"
    IMAGE_MISSING = "image_missing"
    IMAGE_UNREADABLE = "image_unreadable"
    IMAGE_GEOMETRY_MISMATCH = "image_geometry_mismatch"


@dataclass(frozen=True)
class DensityRule:
    """What a status does to a row.

    Attributes
    ----------
    gravity : int
        Of several statuses the one with the largest number is written.
    agreeing : tuple of str
        Quantities that enter agreement.csv.
    is_failure : bool
        The row makes the command end with exit code 1 and is written to the log as a warning.
    meaning : str
        One line for the log and the documentation.
    """

    gravity: int
    agreeing: tuple[str, ...]
    is_failure: bool
    meaning: str


DENSITY_RULES: dict[DensityStatus, DensityRule] = {
    DensityStatus.OK: DensityRule(0, QUANTITIES, False, "measured"),
    DensityStatus.SHAFT_ASSUMED: DensityRule(
        1, QUANTITIES, False, "measured; too little shaft in view, its mean direction stands in"),
    DensityStatus.UNCALIBRATED: DensityRule(
        2, SHAPE, False, "scans.tsv holds no unit, slope and intercept: volume and thickness alone"),
    DensityStatus.CALIBRATION_IMPLAUSIBLE: DensityRule(
        3, SHAPE, True, "slope or intercept in scans.tsv is none of a CT scanner: volume and thickness alone"),
    DensityStatus.TROCHANTER_CUT: DensityRule(
        4, (), False, "the image ends at or above the lesser trochanter: neck and trochanter are a guess"),
    DensityStatus.NECK_DOUBTFUL: DensityRule(
        5, (), False, "no narrowest section of a neck: what was taken for the head may be none"),
    DensityStatus.HEAD_INCOMPLETE: DensityRule(
        6, (), False, "the image cuts the head, or the head is not round: every plane is doubtful"),
    DensityStatus.OUTSIDE_FIELD_OF_VIEW: DensityRule(
        7, VOLUME, False, "a part of the mask lies in air or padding: volume alone"),
    DensityStatus.METAL: DensityRule(8, VOLUME, False, "metal within the mask: volume alone"),
    DensityStatus.NOT_IN_VIEW: DensityRule(9, (), False, "the image ends before the region begins"),
    DensityStatus.NO_HEAD: DensityRule(10, (), False, "no femoral head was found: there are no regions"),
    DensityStatus.NO_MASK: DensityRule(11, (), False, "no usable mask; cases.csv says why"),
    DensityStatus.IMAGE_MISSING: DensityRule(12, (), True, "no image of this case in the folder of scans"),
    DensityStatus.IMAGE_UNREADABLE: DensityRule(13, (), True, "the image cannot be read"),
    DensityStatus.IMAGE_GEOMETRY_MISMATCH: DensityRule(14, (), True, "the image lies on another grid than the mask"),
}

OF_REGION: dict[RegionStatus, DensityStatus] = {status: DensityStatus(status.value) for status in RegionStatus}
"""How a doubt about a region's planes is told in density.csv."""


def gravest(*found: DensityStatus) -> DensityStatus:
    """Return the status that is written where several hold."""
    return max(found, key=lambda status: DENSITY_RULES[status].gravity)
