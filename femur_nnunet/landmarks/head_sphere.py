"""The sphere of the femoral head, fitted to the part of the surface that the neck does not disturb."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from femur_nnunet.errors import FemurError
from femur_nnunet.landmarks.sections import BoneVolume, Vector

# Radii outside this range are no adult femoral head.
LEAST_RADIUS_MM, LARGEST_RADIUS_MM = 15.0, 35.0
# Surface within this angle of the neck's direction belongs to neck or fillet.
NECK_CONE_DEG = 65.0
LEAST_CAP_SHARE = 0.6


@dataclass(frozen=True)
class HeadSphere:
    """A fitted sphere.

    Attributes
    ----------
    centre_mm : ndarray
        Centre (x, y, z).
    radius_mm : float
        Radius.
    residual_mm : float
        Median distance of the cap's surface from the sphere.
    cap_share : float
        Share of the directions away from the neck in which the surface lies on the sphere: 1 for a whole
        cap, less where the head is cut by the image or deformed.
    """

    centre_mm: Vector
    radius_mm: float
    residual_mm: float
    cap_share: float


def find_head(bone: BoneVolume, surface_mm: Vector, subject: str = "") -> HeadSphere:
    """Find the head of a femur (left, or a right one seen in a mirror) in LPS.

    The start is the centre of the largest ball inside the upper medial part. The fit then alternates
    between choosing surface points near the sphere outside a cone about the neck's direction, and a
    least-squares sphere with Tukey's biweight, whose scale shrinks: fovea and osteophytes lose their say.

    Parameters
    ----------
    bone : BoneVolume
        The femur.
    surface_mm : ndarray
        Points (n, 3) on its surface.
    subject : str
        What errors are about.

    Raises
    ------
    FemurError
        No sphere of the size of an adult head fits.
    """
    centre, radius = _largest_ball(bone)
    for tolerance in (6.0, 4.0, 3.0, 2.0, 1.5, 1.5, 1.2, 1.2):
        cap = surface_mm[_away_from_neck(bone, surface_mm, centre, radius)]
        distance = np.linalg.norm(cap - centre, axis=1) - radius
        weight = np.clip(1 - (distance / tolerance) ** 2, 0, None) ** 2
        if np.count_nonzero(weight) < 100:
            raise _no_head(radius, subject)
        centre, radius = _sphere(cap, weight)
        if not LEAST_RADIUS_MM < radius < LARGEST_RADIUS_MM:
            raise _no_head(radius, subject)
    cap = surface_mm[_away_from_neck(bone, surface_mm, centre, radius)]
    distance = np.abs(np.linalg.norm(cap - centre, axis=1) - radius)
    return HeadSphere(centre, radius, float(np.median(distance[distance < 3.0])),
                      _share_covered(bone, centre, radius))


def direction_of_neck(bone: BoneVolume, centre_mm: Vector, radius_mm: float) -> Vector:
    """Return the unit vector from the head to the middle of the bone 1.3 to 2 radii away from it."""
    offsets = bone.centres_mm() - centre_mm
    distance = np.linalg.norm(offsets, axis=1)
    shell = offsets[(distance > 1.3 * radius_mm) & (distance < 2.0 * radius_mm)]
    mean = shell.mean(axis=0) if len(shell) else np.zeros(3)
    if np.linalg.norm(mean) < 1e-6:
        # Nothing there, or as much on every side: the usual direction.
        mean = np.array([0.8, 0.1, -0.6])
    return np.asarray(mean / np.linalg.norm(mean))


def _largest_ball(bone: BoneVolume) -> tuple[Vector, float]:
    inside = bone.share > 0.5
    # The image cuts the shaft: beyond its edge there is bone, not a surface.
    depth = ndimage.distance_transform_edt(inside, sampling=bone.spacing_mm_xyz[::-1])
    points = bone.centres_mm()
    top = points[:, 2].max()
    upper = points[:, 2] > top - 75.0
    upward_medial = (points[:, 2] - points[:, 0]) / np.sqrt(2)
    chosen = upper & (upward_medial > np.quantile(upward_medial[upper], 0.55))
    values = depth[inside][chosen]
    best = int(np.argmax(values))
    return points[chosen][best], float(values[best])


def _away_from_neck(bone: BoneVolume, surface_mm: Vector, centre: Vector, radius: float) -> np.ndarray:
    offsets = surface_mm - centre
    distance = np.linalg.norm(offsets, axis=1)
    cosine = offsets @ direction_of_neck(bone, centre, radius) / np.maximum(distance, 1e-6)
    return (cosine < np.cos(np.radians(NECK_CONE_DEG))) & (distance < 1.4 * radius)


def _sphere(points: Vector, weight: np.ndarray) -> tuple[Vector, float]:
    """Return the weighted algebraic least-squares sphere."""
    middle = np.average(points, axis=0, weights=weight)
    local = points - middle
    root = np.sqrt(weight)
    design = np.column_stack([2 * local, np.ones(len(local))]) * root[:, None]
    solution = np.linalg.lstsq(design, (local ** 2).sum(axis=1) * root, rcond=None)[0]
    return middle + solution[:3], float(np.sqrt(solution[3] + solution[:3] @ solution[:3]))


def _share_covered(bone: BoneVolume, centre: Vector, radius: float) -> float:
    """Return the share of evenly spread directions away from the neck that have surface on the sphere."""
    count = 400
    index = np.arange(count) + 0.5
    height, turn = 1 - 2 * index / count, np.pi * (1 + 5 ** 0.5) * index
    ring = np.sqrt(1 - height ** 2)
    directions = np.column_stack([ring * np.cos(turn), ring * np.sin(turn), height])
    neck = direction_of_neck(bone, centre, radius)
    directions = directions[directions @ neck < np.cos(np.radians(NECK_CONE_DEG))]
    inner, outer = (bone.at(centre + (radius + step) * directions) for step in (-1.5, 1.5))
    return float(np.mean((inner > 0.5) & (outer < 0.5)))


def _no_head(radius: float, subject: str) -> FemurError:
    return FemurError(f"no sphere of a femoral head (last radius {radius:.1f} mm)",
                      expected=f"a head of {LEAST_RADIUS_MM:.0f} to {LARGEST_RADIUS_MM:.0f} mm radius in view",
                      action="check that the mask holds the head, and that side and spacing are right",
                      subject=subject)
