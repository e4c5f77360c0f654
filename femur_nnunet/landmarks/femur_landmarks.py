"""Head, neck and shaft of a proximal femur from its mask: centres, axes, angles and widths.

Frame: positions are (x, y, z) in mm in LPS (x to the patient's left, y backwards, z upwards), relative to
the centre of the mask's first voxel unless an origin is given. Both axes point downwards along the bone:
the neck's from the head to the shaft, the shaft's to the knee.

What a mask of a *proximal* femur cannot give: the line through the condyles. Anteversion is therefore the
angle of the neck, seen along the shaft, against the line through both femoral heads where the caller gives
it, else against the image's x axis; it includes however the leg was turned during the scan. The width of
the medullary canal cannot be read off a filled mask at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import measure

from femur_nnunet.errors import FemurError
from femur_nnunet.landmarks.femur_search import FemurSearch
from femur_nnunet.landmarks.sections import BoneVolume, Vector

SideName = Literal["left", "right"]
_SMOOTHING_MM = 0.6
_POSITIONS = ("head_centre_mm", "shaft_point_mm")
_DIRECTIONS = ("neck_axis", "shaft_axis", "shaft_curvature_per_mm")


@dataclass(frozen=True)
class FemurLandmarks:
    """What was found; a quantity that cannot be had is None and its reason stands in ``missing``.

    Attributes
    ----------
    head_centre_mm, head_radius_mm, head_residual_mm, head_cap_share
        Fitted sphere, see :class:`~femur_nnunet.landmarks.head_sphere.HeadSphere`.
    neck_axis : ndarray
        Unit vector from the head centre through the centroid of the narrowest section.
    neck_narrowest_mm : float
        Distance of the narrowest section from the head centre.
    neck_half_minor_mm, neck_half_major_mm : float
        Half axes of the ellipse with that section's second moments.
    shaft_axis, shaft_point_mm : ndarray
        Unit vector downwards, and the point of the axis nearest to the head centre.
    shaft_length_mm : float
        Length of shaft in view below the lesser trochanter, 0 if none.
    neck_shaft_angle_deg, anteversion_deg : float
        See the module's text for the line that anteversion refers to.
    offset_mm : float
        Distance of the head centre from the shaft axis.
    neck_length_mm : float
        From the head centre along the neck axis to where it passes the shaft axis most closely.
    shaft_radius_mm : float
        Radius of the circle with the mean area of the shaft's thinner half of sections.
    shaft_curvature_per_mm : ndarray
        Second derivative of the upper shaft's centreline, across the axis, shape (3,); backwards in a shaft bowed to
        the front.
    bow_radius_mm : float
        Radius of the circle through the shaft's section centroids seen from the side.
    trochanter_height_mm, trochanter_width_mm : float
        Top of the greater trochanter above the head centre along the shaft; its reach beyond the shaft axis.
    lesser_trochanter_below_mm, lesser_trochanter_reach_mm : float
        Its tip below the head centre along the shaft; the tip's distance from the shaft axis.
    missing : dict
        Reason by quantity.
    flags : tuple of str
        Doubts about what was found.
    """

    side: SideName
    head_centre_mm: Vector
    head_radius_mm: float
    head_residual_mm: float
    head_cap_share: float
    neck_axis: Vector
    neck_narrowest_mm: float
    neck_half_minor_mm: float
    neck_half_major_mm: float
    shaft_length_mm: float
    shaft_axis: Vector | None = None
    shaft_point_mm: Vector | None = None
    neck_shaft_angle_deg: float | None = None
    anteversion_deg: float | None = None
    offset_mm: float | None = None
    neck_length_mm: float | None = None
    shaft_radius_mm: float | None = None
    shaft_curvature_per_mm: Vector | None = None
    bow_radius_mm: float | None = None
    trochanter_height_mm: float | None = None
    trochanter_width_mm: float | None = None
    lesser_trochanter_below_mm: float | None = None
    lesser_trochanter_reach_mm: float | None = None
    missing: dict[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ()


def find_landmarks(mask_zyx: NDArray[np.generic], spacing_mm_zyx: tuple[float, float, float], side: SideName, *,
                   origin_mm_xyz: tuple[float, float, float] = (0.0, 0.0, 0.0),
                   head_line: Vector | None = None, assumed_shaft_axis: Vector | None = None,
                   subject: str = "") -> FemurLandmarks:
    """Find the landmarks of one femur.

    Parameters
    ----------
    mask_zyx : ndarray
        Shape (z, y, x), axes along LPS; non-zero inside the bone. One component, without holes.
    spacing_mm_zyx : tuple of float
        Voxel spacing.
    side : {"left", "right"}
        Which femur it is.
    origin_mm_xyz : tuple of float
        Position of the first voxel's centre.
    head_line : ndarray, optional
        Shape (3,), from the right to the left head centre: the line that anteversion refers to.
    assumed_shaft_axis : ndarray, optional
        Shape (3,), downwards; used where the shaft in view is too short; what rests on it is given and
        the flag ``shaft axis assumed`` set.
    subject : str
        What errors are about.

    Raises
    ------
    FemurError
        The mask is empty or holds no femoral head.
    """
    if not np.any(mask_zyx):
        raise FemurError("an empty mask", expected="the mask of one femur", action="check the label", subject=subject)
    mirror = np.array([1.0 if side == "left" else -1.0, 1.0, 1.0])
    bone = bone_volume(mask_zyx, spacing_mm_zyx, origin_mm_xyz, mirrored=side == "right")
    surface = surface_points(bone)
    if not len(surface):
        raise FemurError(f"a mask of {np.count_nonzero(mask_zyx)} voxel(s)", expected="the mask of one femur",
                         action="check the mask", subject=subject)
    line = np.array([1.0, 0.0, 0.0]) if head_line is None else np.asarray(head_line, dtype=np.float64) * mirror
    # Seen in the mirror a right femur's lateral side is where x grows, too.
    line = line if line[0] > 0 else -line
    assumed = None if assumed_shaft_axis is None else np.asarray(assumed_shaft_axis, dtype=np.float64) * mirror
    found = FemurSearch(bone, surface, line, assumed, subject).run()
    for name in (*_POSITIONS, *_DIRECTIONS):
        if found.get(name) is not None:
            found[name] = found[name] * mirror
    return FemurLandmarks(side=side, **found)


def bone_volume(mask_zyx: NDArray[np.generic], spacing_mm_zyx: tuple[float, float, float],
                origin_mm_xyz: tuple[float, float, float], *, mirrored: bool,
                smoothing_mm: float = _SMOOTHING_MM) -> BoneVolume:
    """Return the mask's surroundings, blurred by a Gaussian of ``smoothing_mm``; ``mirrored`` negates x."""
    inside = np.asarray(mask_zyx) != 0
    spacing = np.asarray(spacing_mm_zyx, dtype=np.float64)[::-1]
    ranges = [np.flatnonzero(inside.any(axis=tuple(set(range(3)) - {axis}))) for axis in range(3)]
    low = [int(found[0]) for found in ranges]
    cropped = inside[tuple(slice(found[0], found[-1] + 1) for found in ranges)]
    # Where the image cuts the bone its last slice is repeated, so that the cut is no surface.
    padding = [(4, 4)] * 3
    below = cropped[:1] if low[0] == 0 else np.zeros_like(cropped[:1])
    share = np.pad(np.concatenate([np.repeat(below, 4, axis=0), cropped]), [(0, 4), *padding[1:]]).astype(np.float32)
    origin = np.asarray(origin_mm_xyz) + (np.array(low[::-1]) - 4) * spacing
    share = ndimage.gaussian_filter(share, smoothing_mm / spacing[::-1], mode="nearest")
    if mirrored:
        share = np.ascontiguousarray(share[:, :, ::-1])
        origin[0] = -(origin[0] + (share.shape[2] - 1) * spacing[0])
    return BoneVolume(share, spacing, origin)


def surface_points(bone: BoneVolume) -> Vector:
    """Return points (n, 3) on the surface with sub-voxel accuracy; none of a bone that its smoothing made vanish."""
    if not bone.share.max() > 0.5:
        return np.empty((0, 3))
    vertices = measure.marching_cubes(bone.share, 0.5)[0][:, ::-1]
    return np.asarray(bone.origin_mm_xyz + vertices * bone.spacing_mm_xyz, dtype=np.float64)
