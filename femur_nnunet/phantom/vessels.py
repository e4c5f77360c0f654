"""Iliac and femoral vessels, the sciatic nerve and nodes in the groin, hung on the bones like muscles."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from femur_nnunet.phantom.coarse_lattice import CoarseLattice, LatticeField
from femur_nnunet.phantom.muscles import Anchor, HipFrame
from femur_nnunet.phantom.shapes import FloatArray, capsule

BLOOD_HU, NERVE_HU, NODE_HU, CALCIUM_HU = 42.0, 28.0, 40.0, 700.0
VESSEL_BED_MM = 3.5
Place = tuple[Anchor, tuple[float, float, float]]


@dataclass(frozen=True)
class Tube:
    """A vessel or nerve: its course, radius, HU, whether it may calcify and whether contrast medium reaches it."""

    course: tuple[Place, ...]
    radius_mm: float
    hu: float
    calcifies: bool = False
    bedded: bool = True
    carries_blood: bool = True


_ARTERY: tuple[Place, ...] = (
    ("hip", (-46, 6, 125)), ("hip", (-34, -24, 68)), ("front", (-20, -50, 20)), ("front", (-10, -60, -8)),
    ("femur", (-44, -50, -60)), ("femur", (-46, -40, -120)), ("femur", (-52, -22, -220)))
_VEIN: tuple[Place, ...] = (
    ("hip", (-50, 18, 125)), ("hip", (-46, -12, 66)), ("front", (-33, -46, 18)), ("front", (-23, -56, -10)),
    ("femur", (-54, -44, -62)), ("femur", (-50, -28, -120)), ("femur", (-54, -10, -220)))
TUBES: tuple[Tube, ...] = (
    Tube(_ARTERY, 4.3, BLOOD_HU, calcifies=True),
    Tube(_VEIN, 5.6, BLOOD_HU - 2),
    Tube((("femur", (-44, -48, -58)), ("femur", (-26, -30, -90)), ("femur", (-20, -2, -160))), 2.8, BLOOD_HU,
         calcifies=True),
    Tube((("hip", (-46, 10, 110)), ("hip", (-50, 48, 52)), ("hip", (-44, 54, 10))), 3.2, BLOOD_HU, calcifies=True),
    Tube((("hip", (-40, 30, 60)), ("hip", (-46, 34, 10)), ("hip", (-48, 20, -20))), 2.2, BLOOD_HU, bedded=False),
    Tube((("front", (-34, -64, -22)), ("femur", (-74, -52, -80)), ("femur", (-96, -30, -180))), 2.2, BLOOD_HU - 4,
         bedded=False),
    Tube((("hip", (-40, 62, 30)), ("hip", (-8, 56, -18)), ("femur", (-24, 34, -70)), ("femur", (-22, 34, -220))),
         4.2, NERVE_HU, carries_blood=False),
    Tube((("front", (-46, -62, 6)), ("front", (-60, -72, -40))), 4.5, NODE_HU - 14, bedded=False, carries_blood=False),
    Tube((("front", (-22, -74, -20)), ("front", (-24, -76, -34))), 3.6, NODE_HU, bedded=False, carries_blood=False),
    Tube((("front", (-36, -72, -8)), ("front", (-37, -73, -15))), 3.0, NODE_HU, bedded=False, carries_blood=False),
    Tube((("front", (-8, -78, -12)), ("front", (-9, -78, -20))), 2.6, NODE_HU, bedded=False, carries_blood=False),
)


def tube_field(tube: Tube, frame: HipFrame, lattice: CoarseLattice) -> LatticeField | None:
    """Return the distance to a tube's surface on the part of the lattice around it, None off the lattice."""
    points = np.array([frame.world(anchor, place) for anchor, place in tube.course])
    reach = tube.radius_mm + 9.0
    box = lattice.box_around(points.min(axis=0) - reach, points.max(axis=0) + reach)
    if any(part.stop - part.start < 2 for part in box):
        return None
    at = lattice.coordinates(box)
    field: FloatArray | None = None
    for start, end in pairwise(points):
        rod = capsule(at, start, end, tube.radius_mm, tube.radius_mm)
        field = rod if field is None else np.minimum(field, rod)
    return None if field is None else LatticeField(field.astype(np.float32), box)
