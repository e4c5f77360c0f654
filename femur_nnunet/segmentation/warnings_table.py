"""What a segmentation warns about: one enum, one table of what each warning means and what to do, one set of limits."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Literal

from femur_nnunet.model_bundle import Manifest


class Caution(str, Enum):
    """Kinds of warnings; docs/segment.md describes each."""

    NO_HIP = "no_hip"
    NO_FEMUR = "no_femur"
    UNCONFIRMED_HIP = "unconfirmed_hip"
    CUT_ABOVE = "cut_above"
    CUT_AT_SIDE = "cut_at_side"
    LITTLE_SHAFT = "little_shaft"
    METAL = "metal"
    VOLUME = "volume"
    SHAPE = "shape"
    NO_HEAD = "no_head"
    AGREEMENT = "agreement"
    SPACING = "spacing"
    HOUNSFIELD = "hounsfield"
    SIDE = "side"
    WHOLE_HALF = "whole_half"
    UNCALIBRATED = "uncalibrated"
    CALIBRATION = "calibration"


Gravity = Literal["grave", "look", "note"]


@dataclass(frozen=True)
class CautionRule:
    """What a warning means.

    Attributes
    ----------
    gravity : {"grave", "look", "note"}
        ``grave``: do not use the mask as it is; ``look``: look at it first; ``note``: good to know.
    meaning : str
        One line for the documentation.
    action : str
        What to do.
    """

    gravity: Gravity
    meaning: str
    action: str


CAUTIONS: dict[Caution, CautionRule] = {
    Caution.NO_HIP: CautionRule("grave", "neither the bones nor the model's mask look like a hip on this side",
                                "give the series of the hips"),
    Caution.NO_FEMUR: CautionRule("grave", "a hip is in view and the model found no femur in it",
                                  "take another model, or draw this femur by hand"),
    Caution.UNCONFIRMED_HIP: CautionRule("look", "the model found a femur where the search for bone saw no hip",
                                         "check the mask by eye"),
    Caution.CUT_ABOVE: CautionRule("grave", "the femur runs out of the top of the image: the head is cut",
                                   "use a series that begins above the hip joint"),
    Caution.CUT_AT_SIDE: CautionRule("grave", "the femur runs out of a side of the image",
                                     "use a reconstruction with a larger field of view"),
    Caution.LITTLE_SHAFT: CautionRule("note", "the image ends close below the lesser trochanter, or above it",
                                      "leave measures of the shaft out"),
    Caution.METAL: CautionRule("grave", "metal on this side: streaks falsify HU, an implant takes the place of bone",
                               "leave this hip out, or correct it by hand; its density is not to be used"),
    Caution.VOLUME: CautionRule("look", "a volume that no proximal femur has", "check the mask by eye"),
    Caution.SHAPE: CautionRule("look", "a mask in several parts", "check the mask by eye"),
    Caution.NO_HEAD: CautionRule("look", "no femoral head can be fitted to the mask", "check the mask by eye"),
    Caution.AGREEMENT: CautionRule("look", "folds, or two views of the same scan, disagree",
                                   "look where with --uncertainty, and correct by hand"),
    Caution.SPACING: CautionRule("look", "voxels far from those that the model was trained on",
                                 "use a reconstruction nearer to them"),
    Caution.HOUNSFIELD: CautionRule("look", "HU in the femur far from those that the model was trained on",
                                    "check rescale, contrast medium and kernel"),
    Caution.SIDE: CautionRule("grave", "the shaft lies medially of the head: left and right may be exchanged",
                              "check the side, and the image's orientation"),
    Caution.WHOLE_HALF: CautionRule("note", "the bones did not show where the femur is: the whole half was searched",
                                    "nothing to do; it took longer"),
    Caution.UNCALIBRATED: CautionRule("note", "no density scale: density.csv has volumes and thickness alone",
                                      "give --density-slope, --density-intercept and --density-unit"),
    Caution.CALIBRATION: CautionRule("look", "something about the density scale", "read docs/calibration.md"),
}


@dataclass(frozen=True)
class Finding:
    """One warning of one segmentation.

    Attributes
    ----------
    caution : Caution
        Its kind.
    text : str
        What was found and expected, with numbers. No names of files or people.
    side : {"left", "right"} or None
        The femur; ``None``: the scan.
    """

    caution: Caution
    text: str
    side: Literal["left", "right"] | None = None

    @property
    def rule(self) -> CautionRule:
        """What the warning means."""
        return CAUTIONS[self.caution]

    def __str__(self) -> str:
        whose = f"{self.side} femur: " if self.side else ""
        return f"{whose}{self.text}; {self.rule.action}"


@dataclass(frozen=True)
class CautionLimits:
    """From where on something is warned about; the bundle's manifest decides over the first five.

    Attributes
    ----------
    femur_volume_ml_low, femur_volume_ml_high : float
        Volume of the femur in the field of view.
    fold_agreement_dice : float
        Lowest Dice between folds, or between two views.
    spacing_ratio : float
        Factor by which a voxel's edge may lie outside the training range.
    foreground_hu_shift : float
        Difference of the mask's median HU from that in training.
    largest_share : float
        Share of the network's mask in its largest part: beside it, 2 % are crumbs.
    shaft_mm : float
        Shaft below the lesser trochanter, of which density needs a centimetre at least.
    head_radius_mm : tuple of float
        Radii of adults' femoral heads with the fit's error: 18.6 to 27.3 mm in 44 hips (docs/hip_anatomy.md).
    head_residual_mm : float
        Median distance of the head's surface from its sphere: a head that is worn flat still fits.
    head_cap_share : float
        Share of the head's cap, away from the neck, that has to lie on the sphere: less where the image cuts the head.
    side_offset_mm : float
        Shaft medially of the head by more than this: it lies 33 to 50 mm laterally.
    """

    femur_volume_ml_low: float = 30.0
    femur_volume_ml_high: float = 600.0
    fold_agreement_dice: float = 0.90
    spacing_ratio: float = 1.5
    foreground_hu_shift: float = 250.0
    largest_share: float = 0.98
    shaft_mm: float = 10.0
    head_radius_mm: tuple[float, float] = (16.0, 32.0)
    head_residual_mm: float = 2.0
    head_cap_share: float = 0.6
    side_offset_mm: float = 10.0

    @classmethod
    def of_manifest(cls, manifest: Manifest) -> CautionLimits:
        """Return the limits with the manifest's own in their places."""
        own = {entry.name: getattr(manifest.thresholds, entry.name) for entry in fields(manifest.thresholds)}
        return replace(cls(), **own)
