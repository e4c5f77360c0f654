"""Masks of the kit's femora and predictions of them with a known error, in the form of a cohort on disk."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from evaluation_cohort import Cohort, write_mask
from numpy.typing import NDArray

from femur_nnunet.phantom.anatomy import FemurAnatomy, draw_participant
from femur_nnunet.phantom.femur_shape import FemurShape
from femur_nnunet.phantom.pose import LegPose
from femur_nnunet.phantom.shapes import Coordinates
from femur_nnunet.phantom.tiers import load_tiers

SPACING_MM_ZYX = (3.0, 2.0, 2.0)
ErrorOf = Callable[[FemurShape, Coordinates], NDArray[np.floating] | float]


def drawn_anatomy(seed: int) -> FemurAnatomy:
    person = draw_participant("F" if seed % 2 else "M", load_tiers().population, np.random.default_rng(seed))
    return person.femora["left"]


def femur_fields(seed: int, error_mm: ErrorOf, *, lowest_mm: float = 120.0,
                 spacing_mm_zyx: tuple[float, float, float] = SPACING_MM_ZYX,
                 ) -> tuple[NDArray[np.bool_], NDArray[np.bool_], tuple[float, float, float]]:
    """Reference, prediction whose surface lies ``error_mm`` outside it, and where the first voxel lies.

    Positions are relative to the head's centre, in a leg that is turned a little.
    """
    shape, leg = FemurShape(drawn_anatomy(seed)), LegPose(rotation_deg=4.0, abduction_deg=3.0, flexion_deg=5.0)
    x, y, z = (np.arange(low, high, step, dtype=np.float32) for low, high, step in zip(
        (-40.0, -60.0, -lowest_mm), (105.0, 60.0, 40.0), spacing_mm_zyx[::-1], strict=True))
    at = Coordinates(x[None, None, :], y[None, :, None], z[:, None, None]).moved(leg.rotation_matrix, (0, 0, 0))
    field = shape.field(at)
    return field < 0, field < error_mm(shape, at), (float(x[0]), float(y[0]), float(z[0]))


def too_large_head_at_rochester(site: str) -> ErrorOf:
    """2.5 mm too much on the head and 1.5 mm too little on the shaft at Rochester; nearly nothing at Tulane."""
    if site == "tulane":
        return lambda shape, at: 0.6
    return lambda shape, at: np.where(shape.along_neck(at) < 10.0, 2.5, np.where(at.z < -60.0, -1.5, 0.0))


def write_femora(cohort: Cohort, *, people_a_site: int = 3, first_seed: int = 1) -> Cohort:
    """Add one hip a participant of both sites; Tulane's have labelled training rows, so that it is the source."""
    for site in ("tulane", "rochester"):
        for number in range(people_a_site):
            seed = first_seed + number + (50 if site == "rochester" else 0)
            case_id = f"{site}_{seed:08x}_v01_l"
            reference, prediction, origin = femur_fields(seed, too_large_head_at_rochester(site))
            cohort.add(case_id, None, None, sex="F" if seed % 2 else "M")
            for folder, mask in ((cohort.references, reference), (cohort.predictions, prediction)):
                write_mask(folder / f"{case_id}.nii.gz", mask, spacing_mm_xyz=SPACING_MM_ZYX[::-1], origin_mm=origin)
    cohort.add("tulane_0000ffff_v01_l", None, None, role="train")
    return cohort
