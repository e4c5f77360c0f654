"""From the label map of a subject to smooth bones in their own frames, ready to be turned and warped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage import measure

from femur_nnunet.landmarks.femur_landmarks import FemurLandmarks, bone_volume
from femur_nnunet.landmarks.femur_search import SHAFT_AXIS_ASSUMED
from femur_nnunet.landmarks.sections import BoneVolume
from femur_nnunet.phantom.anatomy import SIDES, FemurAnatomy, SideName
from femur_nnunet.phantom.anatomy_file import AnatomyFile
from femur_nnunet.phantom.hip_measurement import HipMeasurement, measure_hips
from femur_nnunet.phantom.label_maps import Bone, HipLabelMap
from femur_nnunet.phantom.lattice import Lattice, distance_from_share
from femur_nnunet.phantom.shapes import Coordinates, FloatArray, ellipse_tube, smooth_step
from femur_nnunet.regions import REFERENCE_HEAD_RADIUS_MM, SHAFT_BEGINS_BELOW_MM

FEMUR_STEP_MM, HIP_STEP_MM, SACRUM_STEP_MM = 1.0, 1.25, 2.0
_BLUR_MM = 0.9
_MARGIN_MM = 8.0
# Below the cut the last section turns into the shaft's within this length.
TAPER_MM = 45.0
# The shaft's section is the mean over this length above the cut: further up it widens to the trochanters.
MEAN_OVER_MM = 12.0
# What is kept of hip bone and sacrum: nothing higher above the head centres than this.
TOP_ABOVE_HEADS_MM = 160.0
_CONTACT_POINTS = 1500


@dataclass(frozen=True)
class PreparedFemur:
    """One femur in its own frame (of a left femur; a right one is seen in a mirror).

    Attributes
    ----------
    lattice : Lattice
        Distance in the femur frame.
    rotation : ndarray
        Columns: the axes of the femur frame in the hip frame, as the leg lay in the map.
    anatomy : FemurAnatomy
        From the landmarks.
    neck_axis, shaft_point : ndarray
        In the femur frame.
    surface_mm : ndarray
        Points (n, 3) on the surface near the joint, femur frame.
    cut_mm : float or None
        Height in the femur frame below which the shaft is continued; None where the bone ends in the image.
    assumed_shaft : bool
        Too little shaft was in view, so its direction is the mean one.
    """

    lattice: Lattice
    rotation: NDArray[np.float64]
    anatomy: FemurAnatomy
    neck_axis: NDArray[np.float64]
    shaft_point: NDArray[np.float64]
    surface_mm: NDArray[np.float32]
    cut_mm: float | None
    assumed_shaft: bool


@dataclass(frozen=True)
class PreparedMap:
    """All bones of one subject; the hip bones in their hip frames, the sacrum in the pelvis frame."""

    name: str
    sha256: str
    head_distance_mm: float
    femora: dict[SideName, PreparedFemur]
    hip_bones: dict[SideName, Lattice]
    sacrum: Lattice


def prepare_map(hips: HipLabelMap, distributions: AnatomyFile) -> PreparedMap:
    """Measure a label map and turn its bones into distance lattices.

    Parameters
    ----------
    hips : HipLabelMap
        The cleaned map.
    distributions : AnatomyFile
        Where a quantity cannot be had from this map (mean direction and radius of the shaft, bow).

    Raises
    ------
    FemurError
        A femur has no head in view.
    """
    measured = measure_hips(hips, assumed_shaft_axis=distributions.assumed_shaft_axis)
    heads = {side: measured.femora[side].head_centre_mm for side in SIDES}
    pelvis = _pelvis_axes(heads["left"] - heads["right"])
    femora, hip_bones = {}, {}
    for side in SIDES:
        mirror = np.diag([1.0 if side == "left" else -1.0, 1.0, 1.0])
        # Columns: the hip frame's axes in the map's world; its x is lateral on both sides.
        hip_axes = pelvis @ mirror
        femora[side] = _prepare_femur(hips, side, measured, hip_axes, distributions)
        hip_bones[side] = _pelvic_lattice(hips.hip_bones[side], hips, heads[side], hip_axes, HIP_STEP_MM)
    middle = (heads["left"] + heads["right"]) / 2
    return PreparedMap(hips.name, hips.sha256, measured.head_distance_mm, femora, hip_bones,
                       _pelvic_lattice(hips.sacrum, hips, middle, pelvis, SACRUM_STEP_MM))


def _pelvis_axes(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the pelvis frame: x along the line through both heads, z as near to the image's as that allows."""
    x = line / np.linalg.norm(line)
    z = np.array([0.0, 0.0, 1.0]) - x[2] * x
    z /= np.linalg.norm(z)
    return np.column_stack([x, np.cross(z, x), z])


def _prepare_femur(hips: HipLabelMap, side: SideName, measured: HipMeasurement, hip_axes: NDArray[np.float64],
                   distributions: AnatomyFile) -> PreparedFemur:
    marks = measured.femora[side]
    head, bone = marks.head_centre_mm, hips.femora[side]
    # Given by measure_hips, since an axis was assumed for maps that show none.
    assert marks.shaft_axis is not None
    assert marks.shaft_point_mm is not None
    to_hip = hip_axes.T
    shaft, neck = to_hip @ marks.shaft_axis, to_hip @ marks.neck_axis
    anatomy = _anatomy(marks, measured.joint_gap_mm[side], distributions)
    # The frame is turned about the shaft so that the neck's anteversion in it is the estimated true one.
    up = -shaft
    outwards = neck - (neck @ up) * up
    outwards /= np.linalg.norm(outwards)
    version = np.radians(anatomy.anteversion_deg)
    x = outwards * np.cos(version) - np.cross(up, outwards) * np.sin(version)
    rotation = np.column_stack([x, np.cross(up, x), up])
    shaft_point = rotation.T @ to_hip @ (marks.shaft_point_mm - head)
    axes = hip_axes @ rotation
    lattice, cut_mm = _femur_lattice(bone, hips, head, axes, anatomy, shaft_point, marks)
    return PreparedFemur(lattice, rotation, anatomy, rotation.T @ neck, shaft_point, _joint_surface(lattice), cut_mm,
                         SHAFT_AXIS_ASSUMED in marks.flags)


def _anatomy(marks: FemurLandmarks, joint_gap_mm: float, distributions: AnatomyFile) -> FemurAnatomy:
    """Return what the landmarks say; the rest is the mean for a head of this size."""
    radius = marks.head_radius_mm

    def known(name: str, value: float | None) -> float:
        return distributions.expected(name, radius) if value is None or not np.isfinite(value) else float(value)

    assert marks.anteversion_deg is not None
    return FemurAnatomy(
        head_radius_mm=radius, neck_shaft_angle_deg=known("neck_shaft_angle_deg", marks.neck_shaft_angle_deg),
        anteversion_deg=float(marks.anteversion_deg) + distributions.leg_rotation_of_maps_deg,
        offset_mm=known("offset_mm", marks.offset_mm),
        neck_half_minor_mm=known("neck_half_minor_mm", marks.neck_half_minor_mm),
        neck_half_major_mm=known("neck_half_major_mm", marks.neck_half_major_mm),
        shaft_radius_mm=known("shaft_radius_mm", marks.shaft_radius_mm),
        bow_radius_mm=distributions.expected("bow_radius_mm", radius),
        trochanter_height_mm=known("trochanter_height_mm", marks.trochanter_height_mm),
        trochanter_width_mm=known("trochanter_width_mm", marks.trochanter_width_mm),
        lesser_trochanter_mm=distributions.expected("lesser_trochanter_mm", radius), joint_gap_mm=joint_gap_mm)


def _femur_lattice(bone: Bone, hips: HipLabelMap, head: NDArray[np.float64], axes: NDArray[np.float64],
                   anatomy: FemurAnatomy, shaft_point: NDArray[np.float64],
                   marks: FemurLandmarks) -> tuple[Lattice, float | None]:
    """Sample a femur in its frame and continue its shaft below the image's cut."""
    volume = _blurred(bone, hips)
    low, high = _ends_in_frame(volume, head, axes)
    cut = None
    if bone.touches["bottom"]:
        # The lowest height at which a whole section of the shaft lies inside the image.
        tilt = float(np.hypot(axes[2, 0], axes[2, 1]) / abs(axes[2, 2]))
        foot = head + axes @ shaft_point
        along = (bone.origin_mm_xyz[2] + hips.spacing_mm_zyx[0] - foot[2]) / axes[2, 2]
        cut = float(along + 1.1 * anatomy.shaft_radius_mm * tilt + 1.0)
        low[2] = cut - TAPER_MM
    share, corner = _sampled(volume, low, high, FEMUR_STEP_MM, head, axes)
    if cut is None:
        return Lattice.store(distance_from_share(share, FEMUR_STEP_MM, _blur_of(hips)), FEMUR_STEP_MM, corner), None
    last = int(np.ceil((cut - corner[2]) / FEMUR_STEP_MM))
    share[:last] = share[last]
    distance = distance_from_share(share, FEMUR_STEP_MM, _blur_of(hips))
    heights = np.asarray(corner[2] + FEMUR_STEP_MM * np.arange(share.shape[0]), dtype=np.float64)
    usual = _shaft_section(distance, heights, corner, anatomy, shaft_point, marks, last)
    weight = smooth_step(heights[:last].astype(np.float32), cut, cut - TAPER_MM)[:, None, None]
    distance[:last] = (1 - weight) * distance[last] + weight * usual
    return Lattice.store(distance, FEMUR_STEP_MM, corner), cut


def _shaft_section(distance: FloatArray, heights: NDArray[np.float64], corner: tuple[float, float, float],
                   anatomy: FemurAnatomy, shaft_point: NDArray[np.float64], marks: FemurLandmarks,
                   last: int) -> FloatArray:
    """Return the section that the shaft keeps below: the mean of the sound ones, or a round one."""
    begins = -SHAFT_BEGINS_BELOW_MM * anatomy.head_radius_mm / REFERENCE_HEAD_RADIUS_MM
    if marks.shaft_radius_mm is not None:
        sound = (np.arange(len(heights)) >= last) & (heights < begins)
        return np.asarray(distance[sound][:round(MEAN_OVER_MM / FEMUR_STEP_MM)].mean(axis=0), dtype=np.float32)
    rows, columns = (np.float32(corner[axis]) + np.float32(FEMUR_STEP_MM) * np.arange(distance.shape[2 - axis],
                                                                                    dtype=np.float32)
                     for axis in (1, 0))
    return ellipse_tube((columns - np.float32(shaft_point[0]))[None, :] + 0 * rows[:, None],
                        (rows - np.float32(shaft_point[1]))[:, None] + 0 * columns[None, :],
                        anatomy.shaft_radius_mm, anatomy.shaft_radius_mm)


def _pelvic_lattice(bone: Bone, hips: HipLabelMap, origin: NDArray[np.float64], axes: NDArray[np.float64],
                    step_mm: float) -> Lattice:
    volume = _blurred(bone, hips)
    low, high = _ends_in_frame(volume, origin, axes)
    high[2] = min(high[2], TOP_ABOVE_HEADS_MM)
    share, corner = _sampled(volume, low, high, step_mm, origin, axes)
    return Lattice.store(distance_from_share(share, step_mm, _blur_of(hips)), step_mm, corner)


def _blurred(bone: Bone, hips: HipLabelMap) -> BoneVolume:
    # A rim of air, so that nothing is taken for a bone cut by the image: the shaft is continued further on.
    x, y, z = (start - step for start, step in zip(bone.origin_mm_xyz, hips.spacing_mm_zyx[::-1], strict=True))
    return bone_volume(np.pad(bone.mask, 1), hips.spacing_mm_zyx, (x, y, z), mirrored=False, smoothing_mm=_BLUR_MM)


def _blur_of(hips: HipLabelMap) -> float:
    """Return the blur's standard deviation, that of a voxel's own extent included."""
    return float(np.sqrt(_BLUR_MM ** 2 + np.mean(np.square(hips.spacing_mm_zyx)) / 12))


def _ends_in_frame(volume: BoneVolume, origin: NDArray[np.float64],
                   axes: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    local = (volume.centres_mm()[::7] - origin) @ axes
    return local.min(axis=0) - _MARGIN_MM, local.max(axis=0) + _MARGIN_MM


def _sampled(volume: BoneVolume, low: NDArray[np.float64], high: NDArray[np.float64], step_mm: float,
             origin: NDArray[np.float64], axes: NDArray[np.float64]) -> tuple[FloatArray, tuple[float, float, float]]:
    x, y, z = (np.arange(start, end + step_mm, step_mm, dtype=np.float32)
               for start, end in zip(low, high, strict=True))
    share = np.empty((len(z), len(y), len(x)), dtype=np.float32)
    plane = (x[None, :, None] * axes[:, 0] + y[:, None, None] * axes[:, 1] + origin).astype(np.float32)
    for index, height in enumerate(z):
        share[index] = volume.at(plane + (height * axes[:, 2]).astype(np.float32))
    return share, (float(x[0]), float(y[0]), float(z[0]))


def _joint_surface(lattice: Lattice) -> NDArray[np.float32]:
    """Return evenly picked surface points within reach of the hip bone."""
    vertices = measure.marching_cubes(lattice.values, 0.0, step_size=2)[0][:, ::-1] * lattice.step_mm
    points = vertices + np.asarray(lattice.corner_mm_xyz)
    points = points[np.linalg.norm(points, axis=1) < 85.0]
    chosen = np.linspace(0, len(points) - 1, min(_CONTACT_POINTS, len(points))).astype(np.intp)
    return np.asarray(points[chosen], dtype=np.float32)


def coordinates_of(points_mm: NDArray[np.floating]) -> Coordinates:
    """Return points (n, 3) as coordinates."""
    columns = np.asarray(points_mm, dtype=np.float32).T
    return Coordinates(columns[0], columns[1], columns[2])
