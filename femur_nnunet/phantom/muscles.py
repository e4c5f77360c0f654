"""Muscle groups of hip and thigh as cells between strands that move with the bones.

Each muscle is a bundle of strands, each strand a chain of tapering rods between points that are fixed to
the hip bone or to the femur. The field of a muscle is the smooth union of its rods; where two muscles
meet, the border lies where their fields are equal (a power diagram of rods), with fat between.
Positions were read off sections in textbooks of sectional anatomy and off the CT in docs/synthetic_cohort.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.phantom.coarse_lattice import CoarseLattice, LatticeField
from femur_nnunet.phantom.femur_tissue import FemurFrame
from femur_nnunet.phantom.shapes import Coordinates, FloatArray, capsule, smooth_union

Anchor = Literal["hip", "femur", "back", "front"]
# A point: what it is fixed to, its place in mm at a head radius of 22.5 mm, and the strand's radius there.
StrandPoint = tuple[Anchor, tuple[float, float, float], float]
# Beyond this distance a muscle has no say in a border.
REACH_MM = 11.0


@dataclass(frozen=True)
class Muscle:
    """A muscle: its strands, and how its HU differ from the body's mean.

    Points are (lateral, posterior, up) from the femoral head's centre for ``hip``, ``back`` and ``front``
    and (lateral of the shaft axis, posterior, up) in the femur frame for ``femur``. Points at the back
    and the front move with the depth of the body. The swelling makes neighbours meet: the fat that parts
    them is then as wide as the seam says and not as the rods leave it.
    """

    name: str
    hu_offset: float
    strands: tuple[tuple[StrandPoint, ...], ...]
    swelling_mm: float = 7.5


MUSCLES: tuple[Muscle, ...] = (
    Muscle("gluteus_maximus", -4.0, (
        (("back", (-42, 84, 125), 15), ("back", (4, 70, 95), 20), ("back", (44, 40, 45), 13),
         ("back", (56, 24, -10), 7)),
        (("back", (-56, 86, 75), 17), ("back", (-4, 78, 42), 23), ("back", (46, 46, -4), 15),
         ("femur", (20, 22, -52), 9)),
        (("back", (-64, 82, 28), 17), ("back", (-16, 80, -6), 25), ("back", (34, 55, -36), 19),
         ("femur", (13, 23, -84), 9)),
        (("back", (-64, 78, -16), 15), ("back", (-24, 78, -42), 23), ("back", (20, 60, -68), 18),
         ("femur", (8, 22, -104), 7))), 9.0),
    Muscle("gluteus_medius", 1.0, (
        (("hip", (46, -26, 100), 16), ("hip", (50, -18, 50), 15), ("femur", (17, -4, -6), 9)),
        (("hip", (52, 10, 110), 18), ("hip", (50, 10, 55), 18), ("femur", (19, 4, -2), 10)),
        (("hip", (34, 44, 105), 16), ("hip", (38, 34, 50), 16), ("femur", (16, 8, 2), 9)))),
    Muscle("gluteus_minimus", 0.0, (
        (("hip", (28, -18, 70), 10), ("hip", (34, -16, 30), 10), ("femur", (10, -14, -8), 7)),
        (("hip", (26, 10, 75), 11), ("hip", (34, 4, 35), 11), ("femur", (8, -8, -2), 7)))),
    Muscle("tensor_fasciae_latae", -8.0, (
        (("hip", (44, -46, 80), 8), ("front", (50, -44, 20), 13), ("femur", (20, -34, -50), 13),
         ("femur", (32, -20, -110), 6)),)),
    Muscle("iliopsoas", 2.0, (
        (("hip", (-38, 6, 135), 18), ("hip", (-24, -20, 75), 16), ("hip", (-8, -34, 25), 14),
         ("femur", (-28, -20, -20), 13), ("femur", (-16, 10, -56), 8)),
        (("hip", (4, -22, 110), 18), ("hip", (0, -30, 60), 16), ("hip", (6, -37, 10), 13),
         ("femur", (-24, -16, -30), 11)))),
    Muscle("rectus_femoris", 0.0, (
        (("hip", (12, -34, 30), 6), ("front", (24, -50, -2), 10), ("femur", (-8, -46, -60), 14),
         ("femur", (-2, -50, -130), 17), ("femur", (0, -50, -260), 17)),)),
    Muscle("sartorius", -3.0, (
        (("front", (36, -56, 72), 7), ("front", (26, -66, 10), 9), ("femur", (-28, -60, -60), 11),
         ("femur", (-48, -54, -120), 11), ("femur", (-68, -40, -220), 11)),)),
    Muscle("vastus_lateralis", 1.0, (
        (("femur", (16, -6, -34), 8), ("femur", (24, -8, -76), 19), ("femur", (26, -8, -150), 25),
         ("femur", (26, -10, -270), 26)),)),
    Muscle("vastus_intermedius", 1.0, (
        (("femur", (4, -16, -52), 8), ("femur", (3, -22, -100), 17), ("femur", (3, -24, -270), 19)),)),
    Muscle("vastus_medialis", 0.0, (
        (("femur", (-16, -14, -66), 8), ("femur", (-24, -18, -120), 16), ("femur", (-28, -20, -270), 20)),)),
    Muscle("obturator_internus", 0.0, (
        (("hip", (-42, -24, -14), 7), ("hip", (-40, 0, -8), 9), ("hip", (-36, 30, -4), 9),
         ("hip", (-24, 46, -6), 7), ("femur", (-6, 16, -4), 5)),
        (("hip", (-44, -14, -34), 6), ("hip", (-42, 12, -26), 8), ("hip", (-34, 34, -12), 7)),
        (("hip", (-38, -8, 14), 6), ("hip", (-36, 20, 14), 8))), 3.0),
    Muscle("piriformis", -2.0, (
        (("hip", (-62, 72, 48), 12), ("hip", (-22, 56, 28), 11), ("femur", (2, 12, 4), 5)),)),
    Muscle("obturator_externus", 0.0, (
        (("hip", (-52, -14, -38), 9), ("hip", (-26, 4, -36), 12), ("hip", (-4, 22, -24), 9),
         ("femur", (-6, 15, -12), 5)),)),
    Muscle("pectineus", 1.0, (
        (("hip", (-40, -42, -6), 9), ("hip", (-24, -36, -34), 12), ("femur", (-14, 8, -68), 8)),)),
    Muscle("adductor_longus", 1.0, (
        (("hip", (-66, -40, -34), 8), ("hip", (-42, -42, -80), 14), ("femur", (-50, -22, -130), 15),
         ("femur", (-22, 8, -220), 10)),)),
    Muscle("adductor_brevis", 0.0, (
        (("hip", (-62, -22, -40), 9), ("hip", (-38, -14, -76), 14), ("femur", (-22, 14, -110), 10)),)),
    Muscle("adductor_magnus", 0.0, (
        (("hip", (-48, 18, -60), 12), ("hip", (-34, 12, -96), 20), ("femur", (-48, 20, -140), 23),
         ("femur", (-36, 22, -270), 22)),
        (("hip", (-58, 0, -54), 9), ("hip", (-48, 6, -90), 15), ("femur", (-22, 20, -130), 12)))),
    Muscle("gracilis", -3.0, (
        (("hip", (-72, -20, -42), 6), ("hip", (-70, -14, -90), 8), ("femur", (-88, 0, -140), 9),
         ("femur", (-84, 14, -270), 9)),)),
    Muscle("quadratus_femoris", 0.0, (
        (("hip", (-22, 32, -44), 9), ("femur", (-18, 22, -44), 10), ("femur", (-3, 17, -40), 7)),)),
    Muscle("biceps_femoris", -1.0, (
        (("hip", (-26, 48, -58), 7), ("femur", (-34, 46, -96), 13), ("femur", (-14, 50, -150), 19),
         ("femur", (0, 48, -270), 20)),)),
    Muscle("semitendinosus", -2.0, (
        (("hip", (-28, 46, -66), 6), ("femur", (-52, 50, -110), 13), ("femur", (-44, 56, -170), 15),
         ("femur", (-46, 52, -270), 15)),)),
    Muscle("semimembranosus", -3.0, (
        (("femur", (-60, 38, -100), 5), ("femur", (-62, 38, -150), 12), ("femur", (-58, 40, -270), 18)),)),
    Muscle("rectus_abdominis", -4.0, (
        (("hip", (-76, -48, -8), 5), ("front", (-68, -80, 50), 9), ("front", (-66, -84, 140), 10)),
        (("hip", (-70, -48, -6), 5), ("front", (-54, -80, 55), 8), ("front", (-50, -84, 140), 9))), 1.0),
    Muscle("abdominal_wall", -4.0, (
        (("front", (-36, -74, 42), 3), ("front", (-8, -66, 52), 4), ("front", (22, -54, 72), 6),
         ("hip", (50, -30, 112), 8)),
        (("front", (-30, -80, 130), 6), ("front", (20, -62, 125), 9), ("hip", (60, -20, 135), 12))), 1.0),
)


@dataclass(frozen=True)
class HipFrame:
    """Where one side's strands hang: world axes of hip and femur, and how deep the body is.

    Attributes
    ----------
    head_mm : ndarray
        World position of the femoral head's centre.
    hip_axes, femur_axes : ndarray
        Columns: axes of the hip and the femur frame in the world.
    femur : FemurFrame
        Axes of the femur in its own frame.
    back_stretch, front_stretch : float
        Depth of the muscles' surface behind and before the heads against the reference body's.
    """

    head_mm: NDArray[np.float64]
    hip_axes: NDArray[np.float64]
    femur_axes: NDArray[np.float64]
    femur: FemurFrame
    back_stretch: float
    front_stretch: float

    def world(self, anchor: Anchor, place: tuple[float, float, float]) -> NDArray[np.float64]:
        """Return the world position of a strand's point."""
        lateral, posterior, up = place
        size = self.femur.scale
        if anchor == "femur":
            own = (self.femur.shaft_point + size * (lateral * self.femur.lateral + posterior * self.femur.posterior)
                   + np.array([0.0, 0.0, size * up]))
            return self.head_mm + self.femur_axes @ own
        stretch = {"hip": size, "back": self.back_stretch, "front": self.front_stretch}[anchor]
        return self.head_mm + self.hip_axes @ np.array([size * lateral, stretch * posterior, size * up])


def muscle_field(muscle: Muscle, frame: HipFrame, lattice: CoarseLattice, mass: float,
                 warp: Callable[[Coordinates, tuple[slice, slice, slice]], Coordinates]) -> LatticeField | None:
    """Return the field of one muscle on the part of the lattice that it reaches, None where it is not.

    Parameters
    ----------
    muscle : Muscle
        Which one.
    frame : HipFrame
        Of the side.
    lattice : CoarseLattice
        Coarse lattice.
    mass : float
        Factor on the strands' radii.
    warp : callable
        Moves the lattice's points a little at random, so that no border is a textbook curve.
    """
    size = mass * frame.femur.scale
    chains = [[(frame.world(anchor, place), radius * size + muscle.swelling_mm) for anchor, place, radius in strand]
              for strand in muscle.strands]
    reach = np.array([[point - radius - REACH_MM, point + radius + REACH_MM]
                      for chain in chains for point, radius in chain])
    box = lattice.box_around(reach[:, 0].min(axis=0), reach[:, 1].max(axis=0))
    if any(part.stop - part.start < 2 for part in box):
        return None
    at = warp(lattice.coordinates(box), box)
    field: FloatArray | None = None
    for chain in chains:
        for (start, first), (end, second) in pairwise(chain):
            rod = capsule(at, start, end, first, second)
            field = rod if field is None else smooth_union(field, rod, 6.0)
    return None if field is None else LatticeField(field.astype(np.float32), box)
