"""Contrast medium in urine, vessels and bowel: how much it adds, whoever the patient is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ContrastMedium:
    """HU of contrast medium in one scan; the default is a scan without any.

    Attributes
    ----------
    urine_hu : float or None
        HU of the urine; None leaves it to the findings.
    artery_hu, vein_hu : float
        Added to the blood of arteries and of veins.
    bowel_hu : float
        Added to the contents of the bowel.
    """

    urine_hu: float | None = None
    artery_hu: float = 0.0
    vein_hu: float = 0.0
    bowel_hu: float = 0.0


NO_CONTRAST = ContrastMedium()
