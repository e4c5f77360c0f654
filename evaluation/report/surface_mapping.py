"""Laying the template femur onto a reference: landmarks first, then an affine fit to its border.

Landmarks (the head's sphere, the direction of the neck, the shaft's axis) give turn, place and size. Twelve rounds of
iterative closest points (Besl & McKay 1992) then fit an affine map, drawn towards the one before so that what the
borders do not tell (sliding along the shaft) stays as it was. Errors are taken from the reference's border, so a poor
fit blurs where an error is shown, by about the distance that remains between template and border, and never how large
it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from femur_nnunet.evaluation.report.template_femur import TemplateFemur
from femur_nnunet.landmarks.femur_landmarks import bone_volume, surface_points
from femur_nnunet.landmarks.femur_search import LEAST_SHAFT_MM, REFERENCE_HEAD_RADIUS_MM, SHAFT_BEGINS_BELOW_MM
from femur_nnunet.landmarks.head_sphere import direction_of_neck, find_head
from femur_nnunet.landmarks.sections import BoneVolume, fit_line

Points = NDArray[np.float64]
# A lying patient's shaft where too little of it is in view: straight down.
ASSUMED_SHAFT_AXIS = np.array([0.0, 0.0, -1.0])
ROUNDS = 12
FITTED_VERTICES = 1500
FARTHEST_MM = 8.0
BLUR_MM = 2.5
_PULL = 30.0
_NEIGHBOURS = 8


@dataclass(frozen=True)
class LandmarkFrame:
    """Where a femur lies.

    Attributes
    ----------
    centre_mm : ndarray
        Centre of the head's sphere, shape (3,).
    radius_mm : float
        Its radius.
    axes : ndarray
        Unit vectors as columns: along the neck across the shaft, backwards, upwards along the shaft.
    """

    centre_mm: Points
    radius_mm: float
    axes: Points


@dataclass(frozen=True)
class PlacedTemplate:
    """The template's vertices where they lie on a case.

    Attributes
    ----------
    vertices_mm : ndarray
        Shape (n, 3), in the case's frame.
    residual_mm : float
        Median distance of the vertices that face border from that border.
    """

    vertices_mm: Points
    residual_mm: float


def place_template(template: TemplateFemur, mask_zyx: NDArray[np.bool_], border_mm: Points,
                   spacing_mm_zyx: tuple[float, float, float]) -> PlacedTemplate:
    """Lay the template onto a femur.

    Parameters
    ----------
    template : TemplateFemur
        The template.
    mask_zyx : ndarray of bool
        The femur, as of a left one.
    border_mm : ndarray
        Positions (n, 3) of its border, x, y, z from the first voxel's centre.
    spacing_mm_zyx : tuple of float
        Distance of voxel centres.

    Raises
    ------
    FemurError
        The mask holds no femoral head.
    """
    own, other = _template_frame(template), landmark_frame(mask_zyx, spacing_mm_zyx)
    matrix = other.radius_mm / own.radius_mm * other.axes @ own.axes.T
    offset = other.centre_mm - matrix @ own.centre_mm
    lowest_mm = border_mm[:, 2].min() + 2.0
    tree = cKDTree(border_mm)
    vertices = template.vertices_mm[np.linspace(0, len(template.vertices_mm) - 1, FITTED_VERTICES).astype(int)]
    design = np.column_stack([vertices, np.ones(len(vertices))])
    # Coordinates of the size of the bone and the constant weigh alike in the pull.
    pull = _PULL * np.diag([40.0**2, 40.0**2, 40.0**2, 1.0])
    solution = np.vstack([matrix.T, offset])
    for _ in range(ROUNDS):
        placed = design @ solution
        distance_mm, nearest = tree.query(placed)
        used = (placed[:, 2] > lowest_mm) & (distance_mm < max(6.0, 2.5 * float(np.median(distance_mm))))
        own = design[used]
        solution = np.linalg.solve(own.T @ own + pull, own.T @ border_mm[nearest[used]] + pull @ solution)
    placed = template.vertices_mm @ solution[:3] + solution[3]
    distance_mm, _ = tree.query(placed)
    facing = (placed[:, 2] > lowest_mm) & (distance_mm < FARTHEST_MM)
    return PlacedTemplate(placed, float(np.median(distance_mm[facing])) if facing.any() else float("nan"))


def values_on_template(placed: PlacedTemplate, border_mm: Points, values: Points) -> Points:
    """Return values of border points on the template's vertices, a Gaussian mean over the nearest border.

    The border's points have the shape (n, 3), their values (n,), what comes back the shape (vertices,). A vertex with
    no border within 8 mm, such as shaft that the scan does not show, is NaN.
    """
    count = min(_NEIGHBOURS, len(border_mm))
    distance_mm, nearest = cKDTree(border_mm).query(placed.vertices_mm, k=count)
    distance_mm, nearest = distance_mm.reshape(-1, count), nearest.reshape(-1, count)
    # Relative to the nearest one, so that a vertex off the border still has weights.
    weight = np.exp((distance_mm[:, :1] ** 2 - distance_mm**2) / (2 * BLUR_MM**2))
    mean = (weight * values[nearest]).sum(axis=1) / weight.sum(axis=1)
    return np.where(distance_mm[:, 0] <= FARTHEST_MM, mean, np.nan)


def landmark_frame(mask_zyx: NDArray[np.bool_], spacing_mm_zyx: tuple[float, float, float],
                   origin_mm_xyz: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> LandmarkFrame:
    """Return the frame of a left femur: enough to begin a fit with, in a fifth of the time of all landmarks.

    Raises
    ------
    FemurError
        The mask holds no femoral head.
    """
    bone = bone_volume(mask_zyx, spacing_mm_zyx, origin_mm_xyz, mirrored=False)
    head = find_head(bone, surface_points(bone))
    up = -_shaft_direction(bone, head.centre_mm, head.radius_mm)
    neck = direction_of_neck(bone, head.centre_mm, head.radius_mm)
    lateral = neck - (neck @ up) * up
    lateral /= np.linalg.norm(lateral)
    return LandmarkFrame(head.centre_mm, head.radius_mm, np.column_stack([lateral, np.cross(up, lateral), up]))


@lru_cache(maxsize=1)
def _template_frame(template: TemplateFemur) -> LandmarkFrame:
    """Return the template's frame, found in the same way as a case's so that both err alike."""
    return landmark_frame(template.mask_zyx, (template.step_mm,) * 3, template.origin_mm_xyz)


def _shaft_direction(bone: BoneVolume, head_centre_mm: Points, head_radius_mm: float) -> Points:
    """Return the unit vector downwards through the centroids of the shaft's slices, or straight down."""
    begins_mm = head_centre_mm[2] - SHAFT_BEGINS_BELOW_MM * head_radius_mm / REFERENCE_HEAD_RADIUS_MM
    voxels = bone.centres_mm()
    shaft = voxels[voxels[:, 2] < begins_mm]
    heights = np.unique(shaft[:, 2]) if len(shaft) else np.empty(0)
    if not heights.size or heights[-1] - heights[0] < LEAST_SHAFT_MM:
        return ASSUMED_SHAFT_AXIS
    return fit_line(np.array([shaft[shaft[:, 2] == height].mean(axis=0) for height in heights]))[1]
