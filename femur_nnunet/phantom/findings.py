"""Disease and implants of a few participants: drawn once for a person, recorded in the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

ImplantKind = Literal["nail", "prosthesis"]
HipSide = Literal["left", "right"]


@dataclass(frozen=True)
class FindingShares:
    """Share of participants with each finding; a cohort of 12 usually has none or one with a finding.

    Attributes
    ----------
    osteoarthritis : float
        Narrow joint gap, osteophytes, sclerosis and cysts at one hip. 3 %: studies of density exclude
        most hips with severe disease, though radiographic disease is more frequent than that at 60.
    osteoporosis : float
        Density and cortex far below what age explains, beyond the population's own distribution.
    implant : float
        Nail or total hip prosthesis in one hip, which then has no mask.
    calcified_vessels : float
        Visible calcium in arteries at the age of 60; the share grows with age from none at 45.
    bladder_contrast : float
        Contrast medium in the urine from an examination before.
    """

    osteoarthritis: float = 0.03
    osteoporosis: float = 0.03
    implant: float = 0.02
    calcified_vessels: float = 0.10
    bladder_contrast: float = 0.01


@dataclass(frozen=True)
class Findings:
    """What one participant has; the default is nothing.

    Attributes
    ----------
    osteoarthritis : {"left", "right"} or None
        Side of the worn joint.
    osteoporosis : bool
        Whether density and cortex were lowered.
    implant : {"nail", "prosthesis"} or None
        Kind of metal.
    implant_side : {"left", "right"} or None
        Where it lies.
    calcified_vessels, bladder_contrast : bool
        Calcium in arterial walls; contrast medium in the bladder.
    """

    osteoarthritis: HipSide | None = None
    osteoporosis: bool = False
    implant: ImplantKind | None = None
    implant_side: HipSide | None = None
    calcified_vessels: bool = False
    bladder_contrast: bool = False


NO_FINDINGS = Findings()
# What osteoporosis takes from trabecular density and from the cortex's thickness.
OSTEOPOROSIS_TRABECULAR_FACTOR = 0.74
OSTEOPOROSIS_CORTEX_FACTOR = 0.84
# What is left of the joint gap where cartilage is worn, down to the least clearance that the kit keeps.
WORN_GAP_FACTOR = 0.45


def draw_findings(age_years: int, shares: FindingShares, seed: int) -> Findings:
    """Draw what one participant has.

    Parameters
    ----------
    age_years : int
        Age, on which vascular calcium depends.
    shares : FindingShares
        Share of participants with each finding.
    seed : int
        The participant's texture seed: findings have a generator of their own, so that changing a share
        changes nobody's anatomy.
    """
    rng = np.random.default_rng([seed, 40])
    chance = rng.random(7)
    sides: tuple[HipSide, HipSide] = ("left", "right")
    implant: ImplantKind | None = None
    if chance[2] < shares.implant:
        implant = "nail" if chance[3] < 0.4 else "prosthesis"
    vascular = shares.calcified_vessels * max(age_years - 45, 0) / 15.0
    implant_side = sides[int(chance[4] < 0.5)] if implant else None
    worn: HipSide | None = sides[int(chance[6] < 0.5)] if chance[0] < shares.osteoarthritis else None
    # A joint that was replaced is no longer worn.
    if worn is not None and worn == implant_side and implant == "prosthesis":
        worn = None
    return Findings(worn, bool(chance[1] < shares.osteoporosis), implant, implant_side,
                    bool(chance[5] < vascular), bool(rng.random() < shares.bladder_contrast))
