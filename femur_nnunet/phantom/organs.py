"""Pelvic organs: bladder, rectum, bowel with gas, prostate or uterus, levator, perineum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.phantom.anatomy import BodyAnatomy, Sex
from femur_nnunet.phantom.coarse_lattice import Box, CoarseLattice, LatticeField
from femur_nnunet.phantom.shapes import Coordinates, FloatArray, capsule, ellipsoid

GAS_HU, BLADDER_HU, WALL_HU, CONTENTS_HU, LEVATOR_HU = -880.0, 6.0, 34.0, 24.0, 44.0
PROSTATE_HU, UTERUS_HU = 40.0, 50.0
CONTRAST_URINE_HU = 650.0


@dataclass(frozen=True)
class SoftPart:
    """One thing of one HU: later parts cover earlier ones.

    Attributes
    ----------
    field : LatticeField
        Negative inside.
    hu : float
        Its HU.
    mottled_hu : float
        Standard deviation of a pattern within it, as of bowel contents.
    blend_mm : float
        Least width of its border.
    """

    field: LatticeField
    hu: float
    mottled_hu: float = 0.0
    blend_mm: float = 0.0


def pelvic_organs(lattice: CoarseLattice, at: Coordinates, box: Box, body: BodyAnatomy, sex: Sex, *,
                  half_mm: float, urine_hu: float, rng: np.random.Generator,
                  bowel_contrast_hu: float = 0.0) -> list[SoftPart]:
    """Return the organs as fields on a part of the lattice.

    Parameters
    ----------
    lattice : CoarseLattice
        Coarse lattice.
    at : Coordinates
        Points of ``box`` in the body frame.
    box : tuple of slice
        Part of the lattice around the pelvic cavity.
    body, sex
        Whose they are.
    half_mm : float
        Half the distance of the head centres.
    urine_hu : float
        HU of the urine, with or without contrast medium.
    rng : numpy.random.Generator
        Decides where bowel loops lie; the same for all scans of a person.
    bowel_contrast_hu : float
        What contrast medium adds to the bowel's contents.
    """
    parts: list[SoftPart] = []

    def add(field: FloatArray, hu: float, mottled_hu: float = 0.0) -> None:
        near = field < 12.0
        if near.any():
            inner = tuple(_span(np.asarray(near.any(axis=other))) for other in ((1, 2), (0, 2), (0, 1)))
            moved = tuple(slice(part.start + start.start, part.stop + start.start)
                          for part, start in zip(inner, box, strict=True))
            parts.append(SoftPart(LatticeField(np.ascontiguousarray(field[inner], dtype=np.float32),
                                               (moved[0], moved[1], moved[2])), hu, mottled_hu))

    radius = body.bladder_radius_mm
    _add_floor(add, at)
    for centre, half_axes, gas in _bowel_loops(rng, half_mm, radius):
        loop = ellipsoid(at, centre, half_axes)
        add(loop, WALL_HU)
        add(loop + np.float32(3.0), CONTENTS_HU + bowel_contrast_hu, 60.0 if gas else 12.0)
        if gas:
            bubble = (centre[0], centre[1] - 0.35 * half_axes[1], centre[2])
            add(ellipsoid(at, bubble, tuple(0.45 * half for half in half_axes)), GAS_HU)
    if sex == "F":
        add(ellipsoid(at, (float(rng.normal(0, 5)), 14.0, 18.0 + 0.3 * radius), (27, 19, 24)), UTERUS_HU)
        add(capsule(at, (0, 22, 6), (0, 14, -52), 10, 9), WALL_HU)
    else:
        add(ellipsoid(at, (0, 2, -26), (23, 17, 18)), PROSTATE_HU)
        add(ellipsoid(at, (0, 24, 0), (30, 8, 9)), WALL_HU)
    middle = -14.0 - 0.2 * radius
    # A full bladder is flattened by what lies on it; it rises out of the pelvis as it fills.
    bladder = ellipsoid(at, (float(rng.normal(0, 2)), middle, 0.55 * radius - 6.0),
                        (1.05 * radius, 0.8 * radius, 0.78 * radius))
    add(bladder - np.float32(2.5), WALL_HU)
    add(bladder, urine_hu)
    bend = float(rng.normal(0, 4))
    rectum = np.minimum(capsule(at, (0, 58, -52), (bend, 62, 0), 12, 17),
                        capsule(at, (bend, 62, 0), (-bend, 68, 80), 17, 17))
    add(rectum, WALL_HU)
    add(rectum + np.float32(4.0), CONTENTS_HU, 30.0)
    if body.rectal_gas:
        add(ellipsoid(at, (bend, 58, 14), (9, 7, 24)), GAS_HU)
    return parts


def _bowel_loops(rng: np.random.Generator, half_mm: float, bladder_radius_mm: float,
                 ) -> list[tuple[tuple[float, float, float], tuple[float, float, float], bool]]:
    """Return centre, half axes and whether there is gas, for loops above the bladder."""
    loops = []
    floor = 0.55 * bladder_radius_mm + 0.78 * bladder_radius_mm
    for number in range(14):
        x = float(rng.uniform(-0.62 * half_mm, 0.62 * half_mm))
        y = float(rng.uniform(-58, 34))
        # Loops lie on the bladder and beside it.
        z = max(float(rng.uniform(22, 140)), floor - 1.1 * abs(x) - (0 if y < 10 else 18))
        half_axes = tuple(float(rng.uniform(11, 19)) for _ in range(2))
        loops.append(((x, y, z), (half_axes[0] * 1.5, half_axes[1], half_axes[0]), number % 3 == 0))
    return loops


def _add_floor(add: Callable[[FloatArray, float], None], at: Coordinates) -> None:
    """Add levator ani, a sheet that hangs like a funnel to the anus, and the perineal muscles."""
    radius = np.sqrt((np.float32(2.0) * at.x) ** 2 + (np.float32(0.75) * (at.y - np.float32(44))) ** 2)
    funnel = (at.z + np.float32(64)) - np.float32(1.1) * np.maximum(radius - np.float32(12), 0)
    sheet = np.abs(funnel) * np.float32(0.55) - np.float32(1.9)
    bounds = np.maximum(np.maximum(at.z + np.float32(20), np.float32(-66) - at.z), radius - np.float32(50))
    add(np.maximum(np.maximum(sheet, bounds), at.y - np.float32(76)), LEVATOR_HU)
    add(capsule(at, (0, 60, -52), (0, 66, -80), 11, 12), LEVATOR_HU)
    add(ellipsoid(at, (0, 12, -62), (20, 24, 10)), LEVATOR_HU - 8)
    for side in (-1.0, 1.0):
        # Crura along the lower pubic branches.
        add(capsule(at, (side * 12, -14, -58), (side * 44, 26, -66), 7, 5), LEVATOR_HU - 6)


def _span(chosen: NDArray[np.bool_]) -> slice:
    indices = np.flatnonzero(chosen)
    return slice(int(indices[0]), int(indices[-1]) + 1)
