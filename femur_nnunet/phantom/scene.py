"""The object in front of the scanner: soft tissue, rods, sacrum, hip bones and femora on a fine grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.phantom.anatomy import SIDES, Participant, SideName
from femur_nnunet.phantom.arms import Arm
from femur_nnunet.phantom.body_shape import AIR_HU, CENTRE_BEHIND_HEADS_MM, LegLean, body_field
from femur_nnunet.phantom.bone_geometry import bones_of
from femur_nnunet.phantom.calibration import CalibrationRods
from femur_nnunet.phantom.contrast import NO_CONTRAST, ContrastMedium
from femur_nnunet.phantom.femur_shape import FemurShape
from femur_nnunet.phantom.femur_tissue import cortical_density, cortical_thickness, spongy_density
from femur_nnunet.phantom.foreign_bones import BoneShell, Ribs
from femur_nnunet.phantom.implants import implant_parts, resected
from femur_nnunet.phantom.joint_disease import narrowing, osteophytes, worn_density
from femur_nnunet.phantom.muscles import HipFrame
from femur_nnunet.phantom.pelvis_shape import CUP_OPENING
from femur_nnunet.phantom.pelvis_tissue import CORTICAL_SHARE, pelvic_cortex, pelvic_density, sacral_foramina
from femur_nnunet.phantom.pose import Pose
from femur_nnunet.phantom.scan_grid import RenderGrid
from femur_nnunet.phantom.shapes import Coordinates, FloatArray, coverage, rescale_to_distance, sphere
from femur_nnunet.phantom.soft_tissue import GRAIN_MM, place_soft_tissue
from femur_nnunet.phantom.spine import LumbarSpine, foot_of_spine
from femur_nnunet.phantom.tiers import ScannerTier
from femur_nnunet.phantom.tissue import BoneFill, Tissue, fill_bone, soft_tissue_labels
from femur_nnunet.phantom.truth import RIGHT_REGION_OFFSET, axes_truth, region_quantities
from femur_nnunet.phantom.underlay import FreeUnderlay

MASK_LABELS: dict[SideName, int] = {"left": 1, "right": 2}
LEAST_COVER_MM = 14.0
# Scar and fluid around a prosthesis.
SCAR_HU = 35.0
FEMUR_TISSUES = (Tissue.FEMUR_CORTEX, Tissue.FEMUR_SPONGIOSA, Tissue.FEMUR_MARROW)
# Sideways over downwards: how the femoral shafts converge in the pose that the thighs are drawn for.
NEUTRAL_SHAFT_LEAN = -0.07
_SLAB_SLICES = 8
_FEWEST_VOXELS = 3


@dataclass(frozen=True)
class _TurnedFemur:
    """A femur's surface on the fine grid: its box, points in the femur frame, distance and voxel width."""

    box: tuple[slice, slice, slice]
    at: Coordinates
    rotation: NDArray[np.float64]
    distance: FloatArray
    width: FloatArray
    turn_share: float


class Scene:
    """The object on the fine grid while it is put together.

    Parameters
    ----------
    participant, pose, scanner, fine
        Who, how they lie, on what, and where the fine voxels are.
    rods : CalibrationRods or FreeUnderlay
        What lies under the patient.
    contrast : ContrastMedium
        Contrast medium of this scan.
    grain_mm : float
        Coarseness of the fat within muscle.
    slab_slices : int
        Soft tissue is filled so many fine slices at a time.

    Attributes
    ----------
    hu : ndarray of float32
        HU without any effect of the scanner but the tube voltage's.
    tissue : ndarray of uint8
        What fills most of each voxel.
    truth : dict
        Truth by side, filled as femora are added.
    """

    def __init__(self, participant: Participant, pose: Pose, scanner: ScannerTier, fine: RenderGrid,
                 rods: CalibrationRods | FreeUnderlay, *, contrast: ContrastMedium = NO_CONTRAST,
                 grain_mm: float = GRAIN_MM, slab_slices: int = _SLAB_SLICES) -> None:
        self.grain_mm, self.slab_slices = grain_mm, slab_slices
        self.participant, self.pose, self.scanner = participant, pose, scanner
        self.fine, self.rods, self.contrast = fine, rods, contrast
        self.bones = bones_of(participant)
        self.turns = {side: self.bones.leg_turn(side, pose) for side in SIDES}
        self.hu: FloatArray = np.empty(fine.shape_zyx, dtype=np.float32)
        self.tissue = np.zeros(fine.shape_zyx, dtype=np.uint8)
        self.truth: dict[str, Any] = {}
        self._shares: dict[SideName, tuple[tuple[slice, slice, slice], FloatArray]] = {}
        self._hu_per_mg_cc = scanner.hu_per_mg_cc_k2hpo4

    def add_soft_tissue(self) -> None:
        """Fill the whole grid with air, body, pad, rods and table, a few slices at a time."""
        body, origin = self.participant.body, self.pose.translation_mm_lps
        pixel = self.fine.grid.spacing_mm_ijk[0]
        z_mm, y_mm, x_mm = self.fine.axes_mm_zyx()
        # Beyond this box there is air alone.
        lean = self._leg_lean()
        farthest = max(abs(value) for value in (*lean.left_xy, *lean.right_xy)) * max(origin[2] - z_mm[0], 0.0)
        rows = _within(y_mm - origin[1] - CENTRE_BEHIND_HEADS_MM, body.half_depth_mm + 20.0 + farthest)
        columns = _within(x_mm - origin[0], body.half_width_mm + 20.0 + farthest)
        soft = place_soft_tissue(
            self.participant, (z_mm, y_mm[rows], x_mm[columns]), body_rotation=self.pose.body_rotation,
            origin_mm_lps=origin, frames=[self._hip_frame(side) for side in SIDES], lean=lean,
            back_plane_mm=self.rods.pad_top_mm - origin[1],
            fat_hu=body.fat_hu + self.scanner.hu_of_fat_shift, pixel_mm=pixel, contrast=self.contrast,
            grain_mm=self.grain_mm)
        rod_slope = self._hu_per_mg_cc * (self.scanner.k2hpo4_per_ha if self.rods.unit == "HA" else 1.0)
        everywhere = self.fine.coordinates((slice(0, 1), slice(None), slice(None)))
        blend = self.fine.blend_mm
        section, share = self.rods.section_hu(everywhere.x[0], everywhere.y[0], rod_slope, blend)
        table = _bounds(share > 0)
        self.hu[...] = AIR_HU
        for start in range(0, self.hu.shape[0], self.slab_slices):
            part = slice(start, min(start + self.slab_slices, self.hu.shape[0]))
            hu = soft.slab_hu(part, blend)
            self.hu[part, rows, columns] = hu
            self.tissue[part, rows, columns] = soft_tissue_labels(hu, soft.fat_hu, body.muscle_hu)
            under = self.hu[part, table[0], table[1]]
            under += share[table] * (section[table] - under)
        self.tissue[:, share > 0.5] = Tissue.ROD_OR_TABLE

    def _hip_frame(self, side: SideName) -> HipFrame:
        """Return what the muscles of one side hang on."""
        body = self.participant.body
        femur = self.bones.femur(side)
        surface = body.half_depth_mm - body.fat_mm - body.skin_mm
        return HipFrame(
            self.pose.head_centre_mm(side, self.participant.head_distance_mm),
            self.pose.hip_rotation(side, self.participant.pelvic_tilt_deg),
            self.turns[side].rotation, femur,
            back_stretch=float(np.clip((surface + CENTRE_BEHIND_HEADS_MM) / 88.0, 0.8, 1.25)),
            front_stretch=float(np.clip((surface + 0.5 * body.fat_mm) / 92.0, 0.8, 1.25)))

    def _leg_lean(self) -> LegLean:
        """Return how the thighs lead from the heads downwards in the body frame."""
        slopes = []
        for side in SIDES:
            down = -(self.pose.body_rotation.T @ self.turns[side].rotation)[:, 2]
            neutral = NEUTRAL_SHAFT_LEAN if side == "left" else -NEUTRAL_SHAFT_LEAN
            slopes.append((float(down[0] / -down[2]) - neutral, float(down[1] / -down[2])))
        return LegLean(slopes[0], slopes[1])

    def add_sacrum(self) -> None:
        """Add sacrum and coccyx."""
        rotation = self.pose.pelvis_rotation(self.participant.pelvic_tilt_deg)
        origin = np.asarray(self.pose.translation_mm_lps)
        box = self.fine.box_around(self.bones.sacrum_box_mm(), rotation, origin)
        if _is_thin(box):
            return
        at = self.fine.coordinates(box).moved(rotation, origin)
        skin = body_field(self.fine.coordinates(box).moved(self.pose.body_rotation, origin),
                          self.participant.body, self.participant.head_distance_mm)
        # The bone lies under skin and fat however the pelvis is tilted.
        field = np.maximum(self.bones.sacrum_field(at), skin + np.float32(LEAST_COVER_MM))
        field = np.maximum(field, -sacral_foramina(at))
        distance, width = self._distance(field)
        self._add_other_bone(box, at, distance, width, self.hu[box].copy(), Tissue.SACRUM, seed=2)

    def add_spine(self) -> None:
        """Add lumbar vertebrae above the sacrum, wherever its upper end lies."""
        rotation = self.pose.pelvis_rotation(self.participant.pelvic_tilt_deg)
        origin = np.asarray(self.pose.translation_mm_lps)
        low, high = self.bones.sacrum_box_mm()
        x, y, z = (np.arange(start, end, 4.0, dtype=np.float32) for start, end in zip(low, high, strict=True))
        mesh = Coordinates(x[None, None, :], y[None, :, None], z[:, None, None])
        foot = foot_of_spine(self.bones.sacrum_field(mesh), mesh)
        if foot is None:
            return
        spine = LumbarSpine(foot, self.participant.head_distance_mm / 178.0)
        box = self.fine.box_around(spine.box_mm, rotation, origin)
        if _is_thin(box):
            return
        at = self.fine.coordinates(box).moved(rotation, origin)
        skin = body_field(self.fine.coordinates(box).moved(self.pose.body_rotation, origin),
                          self.participant.body, self.participant.head_distance_mm)
        distance, width = self._distance(np.maximum(spine.field(at), skin + np.float32(LEAST_COVER_MM)))
        self._add_other_bone(box, at, distance, width, self.hu[box].copy(), Tissue.OTHER_BONE, seed=8)

    def add_arm(self, arm: Arm) -> None:
        """Lay a forearm and hand beside or upon the body, wherever there is air."""
        box = self.fine.box_around(arm.box_mm, np.eye(3), np.zeros(3))
        if _is_empty(box):
            return
        hu, tissue = self.hu[box], self.tissue[box]
        free = np.clip((np.float32(-300) - hu) / np.float32(400), 0, 1)
        for number, (field, value) in enumerate(arm.parts(self.fine.coordinates(box))):
            share = coverage(field, self.fine.blend_mm) * free
            hu += share * (np.float32(value) - hu)
            tissue[share > 0.5] = Tissue.OTHER_SOFT if number < 3 else Tissue.OTHER_BONE

    def add_foreign_bone(self, bone: BoneShell | Ribs) -> None:
        """Put bone of another part of the body in, before the sacrum and the hips, which cover it."""
        box = self.fine.box_around(bone.box_mm, np.eye(3), np.zeros(3))
        if _is_empty(box):
            return
        hu, tissue = self.hu[box], self.tissue[box]
        for field, value in bone.parts(self.fine.coordinates(box)):
            share = coverage(field, self.fine.blend_mm)
            hu += share * (np.float32(value) - hu)
            tissue[share > 0.5] = Tissue.OTHER_BONE

    def shows_hip(self, side: SideName) -> bool:
        """Say whether enough of a hip lies on the grid to be rendered."""
        head = self.pose.head_centre_mm(side, self.participant.head_distance_mm)
        boxes = (self.fine.box_around(self.bones.femur_box_mm(side), self.turns[side].rotation, head),
                 self.fine.box_around(self.bones.hip_box_mm(side), self.pose.hip_rotation(
                     side, self.participant.pelvic_tilt_deg), head))
        return not any(_is_thin(box) for box in boxes)

    def add_hip(self, side: SideName) -> None:
        """Add one femur and the hip bone around its head."""
        femur = self.bones.femur(side)
        head = self.pose.head_centre_mm(side, self.participant.head_distance_mm)
        turned = self._locate_femur(side, femur, head)
        rotation = self.pose.hip_rotation(side, self.participant.pelvic_tilt_deg)
        box = self.fine.box_around(self.bones.hip_box_mm(side), rotation, head)
        at = self.fine.coordinates(box).moved(rotation, head)
        anatomy = femur.anatomy
        self._add_cartilage(box, at, anatomy.head_radius_mm + anatomy.joint_gap_mm)
        soft = self.hu[box].copy()
        self._fill_femur(side, femur, turned, head)
        field = self.bones.hip_field(side, at)
        joint = self.participant.joint
        if joint.narrowing_mm:
            field -= narrowing(at, joint.narrowing_mm, anatomy.head_radius_mm + anatomy.joint_gap_mm)
        near, within = _overlap(box, turned.box)
        field[near] = np.maximum(field[near], np.float32(joint.clearance_mm) - turned.distance[within])
        distance, width = self._distance(field)
        self._add_other_bone(box, at, distance, width, soft, Tissue.HIP_BONE,
                             seed=3 if side == "left" else 4,
                             cup_radius_mm=anatomy.head_radius_mm + anatomy.joint_gap_mm)

    def add_implant(self) -> None:
        """Put the metal of a nail or a prosthesis into the hip that has one."""
        findings = self.participant.findings
        kind, side = findings.implant, findings.implant_side
        if kind is None or side is None:
            return
        femur = self.bones.femur(side)
        head = self.pose.head_centre_mm(side, self.participant.head_distance_mm)
        rotation = self.turns[side].rotation
        corners = self.bones.femur_box_mm(side) + np.array([[-8.0, -8.0, 0.0], [8.0, 8.0, 10.0]])
        box = self.fine.box_around(corners, rotation, head)
        at = self.fine.coordinates(box).moved(rotation, head)
        blend = self.fine.blend_mm
        hu, tissue = self.hu[box], self.tissue[box]
        if kind == "prosthesis":
            own = np.isin(tissue, FEMUR_TISSUES)
            removed = coverage(resected(femur, at), blend) * own
            hu += removed * (np.float32(SCAR_HU) - hu)
            tissue[removed > 0.5] = Tissue.OTHER_SOFT
        cup = rotation.T @ self.pose.hip_rotation(side, self.participant.pelvic_tilt_deg) @ CUP_OPENING
        for field, value in implant_parts(kind, femur, at, cup):
            share = coverage(field, blend)
            hu += share * (np.float32(value) - hu)
            tissue[share > 0.5] = Tissue.METAL if value > 0 else Tissue.OTHER_SOFT
        # What was measured on the intact bone is true of nothing that the image shows.
        self.truth[side].update({"mask_label": None, "implant": kind, "regions": None})

    def slice_share(self, side: SideName) -> FloatArray:
        """Return the share of every voxel of the scan's own grid that a femur fills."""
        box, share = self._shares[side]
        fine = np.zeros(self.fine.shape_zyx, dtype=np.float32)
        fine[box] = share
        inner = fine[self.fine.margin:fine.shape[0] - self.fine.margin]
        return inner.reshape(-1, self.fine.substeps, *fine.shape[1:]).mean(axis=1)

    def slice_regions(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the region of every voxel of a mask on the scan's own grid, 0 outside it.

        A voxel has the region of its centre: a plane between two regions then cuts as much from one as it
        adds to the other, however thick the slices are.
        """
        grid, result = self.fine.grid, np.zeros_like(mask)
        for side, label in MASK_LABELS.items():
            index = np.nonzero(mask == label)
            x, y, z = ((start + step * number).astype(np.float32) for start, step, number in zip(
                grid.origin_mm_lps, grid.spacing_mm_ijk, index[::-1], strict=True))
            head = self.pose.head_centre_mm(side, self.participant.head_distance_mm)
            at = Coordinates(x, y, z).moved(self.turns[side].rotation, head)
            offset = RIGHT_REGION_OFFSET if side == "right" else 0
            result[index] = self.bones.femur(side).region_map(at) + np.uint8(offset)
        return result

    def _distance(self, field: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the distance to a field's surface and the width of a voxel across it."""
        return rescale_to_distance(field, self.fine.spacing_mm_zyx, voxel_mm_zyx=self.fine.voxel_mm_zyx)

    def _locate_femur(self, side: SideName, femur: FemurShape, head: NDArray[np.float64]) -> _TurnedFemur:
        """Evaluate a femur's surface in the box that it fills."""
        turn = self.turns[side]
        rotation = turn.rotation
        box = self.fine.box_around(self.bones.femur_box_mm(side), rotation, head)
        at = self.fine.coordinates(box).moved(rotation, head)
        distance, width = self._distance(femur.field(at))
        return _TurnedFemur(box, at, rotation, distance, width, turn.share)

    def _fill_femur(self, side: SideName, femur: FemurShape, turned: _TurnedFemur,
                    head: NDArray[np.float64]) -> None:
        """Put a femur's cortex and spongiosa into the object and note what is true of it."""
        bone, box, at = self.participant.bone, turned.box, turned.at
        distance, width = turned.distance, turned.width
        worn = self.participant.findings.osteoarthritis == side
        if worn:
            # In place: the hip bone has to keep clear of the osteophytes too.
            np.minimum(distance, osteophytes(femur, at, self.participant.texture_seed), out=distance)
        touched = distance < 0.5 * width
        points = Coordinates(at.x[touched], at.y[touched], at.z[touched])
        seed = self.participant.texture_seed + (5 if side == "left" else 6)
        thickness = cortical_thickness(femur, points, bone, seed)
        spongy = spongy_density(femur, points, -distance[touched], bone, seed)
        if worn:
            spongy = worn_density(femur, points, -distance[touched], spongy, seed)
        fill = fill_bone(distance, width, thickness, touched=touched,
                         cortical_mg_cc=cortical_density(femur, points, bone, seed),
                         spongy_mg_cc=spongy.astype(np.float32))
        fill.mix_into(self.hu[box], self.hu[box].copy(), self._hu_per_mg_cc)
        regions = femur.region_map(points)
        kinds = np.where(spongy < 0, Tissue.FEMUR_MARROW, Tissue.FEMUR_SPONGIOSA)
        kinds = np.where(fill.inside < 0.5, Tissue.FEMUR_CORTEX, kinds).astype(np.uint8)
        solid = fill.whole >= 0.5
        self.tissue[box][touched] = np.where(solid, kinds, self.tissue[box][touched])
        share = np.zeros(distance.shape, dtype=np.float32)
        share[touched] = fill.whole
        self._shares[side] = (box, share)
        self._add_truth(side, femur, turned, head, fill, regions, thickness,
                        np.abs(distance[touched]) < 0.5 * width[touched])

    def _add_truth(self, side: SideName, femur: FemurShape, turned: _TurnedFemur,
                   head: NDArray[np.float64], fill: BoneFill, regions: NDArray[np.uint8],
                   thickness: FloatArray, surface: NDArray[np.bool_]) -> None:
        # Fine slices beyond the image serve the slice profile and do not belong to it.
        depth = np.arange(turned.box[0].start, turned.box[0].stop)
        inside = (depth >= self.fine.margin) & (depth < self.fine.shape_zyx[0] - self.fine.margin)
        shown = np.where(inside[np.nonzero(fill.touched)[0]], regions, 0)
        unit_factor = 1.0 / self.scanner.k2hpo4_per_ha if self.rods.unit == "HA" else 1.0
        voxel_ml = float(np.prod(self.fine.spacing_mm_zyx)) / 1000.0
        self.truth[side] = {
            "mask_label": MASK_LABELS[side],
            **axes_truth(femur, turned.rotation, head),
            "bones": {**self.bones.origin, "leg_turn_share": round(turned.turn_share, 3)},
            "regions": region_quantities(fill, shown, thickness, surface, voxel_ml=voxel_ml,
                                         unit_per_k2hpo4=unit_factor),
        }

    def _add_cartilage(self, box: tuple[slice, slice, slice], at: Coordinates, radius_mm: float) -> None:
        """Fill the cup with cartilage, into which the femoral head comes next."""
        normal = CUP_OPENING.astype(np.float32)
        below_rim = at.x * normal[0] + at.y * normal[1] + at.z * normal[2] - np.float32(3)
        share = coverage(np.maximum(sphere(at, (0, 0, 0), radius_mm), below_rim),
                         self.fine.blend_mm)
        self.hu[box] += share * (np.float32(self.participant.joint.cartilage_hu) - self.hu[box])
        self.tissue[box][share > 0.5] = Tissue.OTHER_SOFT

    def _add_other_bone(self, box: tuple[slice, slice, slice], at: Coordinates, distance: FloatArray,
                        width: FloatArray, soft: FloatArray, kind: Tissue, *, seed: int,
                        cup_radius_mm: float | None = None) -> None:
        touched = distance < 0.5 * width
        bone = self.participant.bone
        points = Coordinates(at.x[touched], at.y[touched], at.z[touched])
        seed = self.participant.texture_seed + seed
        thickness = pelvic_cortex(points, bone, seed, cup_radius_mm=cup_radius_mm)
        spongy = pelvic_density(points, -distance[touched], bone, seed, cup_radius_mm=cup_radius_mm)
        fill = fill_bone(distance, width, thickness, touched=touched,
                         cortical_mg_cc=CORTICAL_SHARE * bone.cortical_mg_cc,
                         spongy_mg_cc=spongy.astype(np.float32))
        fill.mix_into(self.hu[box], soft, self._hu_per_mg_cc)
        kinds = self.tissue[box]
        kinds[touched] = np.where(fill.whole >= 0.5, kind, kinds[touched])


def _overlap(box: tuple[slice, slice, slice], other: tuple[slice, slice, slice],
             ) -> tuple[tuple[slice, slice, slice], tuple[slice, slice, slice]]:
    """Return where two boxes overlap, in the indices of each."""
    first, second = [], []
    for one, two in zip(box, other, strict=True):
        low, high = max(one.start, two.start), max(min(one.stop, two.stop), max(one.start, two.start))
        first.append(slice(low - one.start, high - one.start))
        second.append(slice(low - two.start, high - two.start))
    return (first[0], first[1], first[2]), (second[0], second[1], second[2])


def _within(offset_mm: NDArray[np.float64], reach_mm: float) -> slice:
    """Return the indices of a rising axis that lie within a distance of zero."""
    return slice(int(np.searchsorted(offset_mm, -reach_mm)), int(np.searchsorted(offset_mm, reach_mm)))


def _bounds(chosen: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the rows and columns that hold everything chosen."""
    rows, columns = np.flatnonzero(chosen.any(axis=1)), np.flatnonzero(chosen.any(axis=0))
    if rows.size == 0:
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _is_empty(box: tuple[slice, slice, slice]) -> bool:
    return any(part.stop <= part.start for part in box)


def _is_thin(box: tuple[slice, slice, slice]) -> bool:
    """Say whether a box has too few voxels along an axis for the slope of a field."""
    return any(part.stop - part.start < _FEWEST_VOXELS for part in box)
