"""Everything soft, put together slab by slab: skin, fat, muscles with fat between and within, organs, vessels.

The fields of :mod:`muscles`, :mod:`organs` and :mod:`vessels` are evaluated once on a coarse lattice;
here they become HU on the fine grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from femur_nnunet.phantom.anatomy import BodyAnatomy, Participant
from femur_nnunet.phantom.body_shape import AIR_HU, LegLean, body_field, fat_depth
from femur_nnunet.phantom.coarse_lattice import WHOLE, Axes, Box, CoarseLattice, LatticeField, draw_noise
from femur_nnunet.phantom.contrast import NO_CONTRAST, ContrastMedium
from femur_nnunet.phantom.findings import Findings
from femur_nnunet.phantom.muscles import MUSCLES, REACH_MM, HipFrame, muscle_field
from femur_nnunet.phantom.organs import BLADDER_HU, CONTRAST_URINE_HU, SoftPart, pelvic_organs
from femur_nnunet.phantom.shapes import Coordinates, FloatArray, coverage
from femur_nnunet.phantom.vessels import CALCIUM_HU, TUBES, VESSEL_BED_MM, tube_field

SKIN_HU = 20.0
LATTICE_STEP_MM = 4.0
# The lattice need not be finer than twice the pixel of a small scan.
LATTICE_PIXELS = 2.0
WARP_MM = 3.0
GRAIN_MM = 2.6
BED_BLEND_MM = 6.0
_FAR = np.float32(30.0)


@dataclass(frozen=True)
class SoftTissue:
    """The soft tissue of one scan on its lattices, ready to be read slab by slab.

    Attributes
    ----------
    lattice, grain_lattice : CoarseLattice
        Lattice of the fields, and of the fine grain of fat within muscle.
    skin, fascia : LatticeField
        Fields of the outer surface and of the surface below which muscle lies.
    seam_mm : LatticeField
        Half the width of the fat between muscles.
    muscles : tuple of (LatticeField, float)
        Field and difference of HU of each muscle.
    parts : tuple of SoftPart
        Organs, vessels and nerves; later ones cover earlier ones.
    calcified : tuple of LatticeField
        Arteries whose wall holds calcium.
    grain : ndarray
        Values of the grain on its lattice.
    """

    lattice: CoarseLattice
    grain_lattice: CoarseLattice
    skin: LatticeField
    fascia: LatticeField
    seam_mm: LatticeField
    muscles: tuple[tuple[LatticeField, float], ...]
    parts: tuple[SoftPart, ...]
    calcified: tuple[LatticeField, ...]
    grain: LatticeField
    body: BodyAnatomy
    fat_hu: float

    @cached_property
    def _fine_boxes(self) -> dict[int, Box | None]:
        """Fine points of every field, by the field's identity: the same for all slabs."""
        fields = [field for field, _ in self.muscles] + [part.field for part in self.parts] + list(self.calcified)
        return {id(field): self.lattice.fine_slices(field.box) for field in fields}

    def slab_hu(self, depth: slice, voxel_mm: float) -> FloatArray:
        """Return the HU of a slab of fine slices over the lattice's rows and columns.

        Parameters
        ----------
        depth : slice
            Fine slices.
        voxel_mm : float
            Width over which borders are blended (partial volume).
        """
        fine = (depth, slice(0, self.lattice.weights[1].shape[0]), slice(0, self.lattice.weights[2].shape[0]))
        body = self.body
        skin = self.lattice.interpolate(self.skin, fine)
        fascia = self.lattice.interpolate(self.fascia, fine)
        grain = self.grain_lattice.interpolate(self.grain, fine)
        hu = np.full(skin.shape, np.float32(AIR_HU))
        _blend(hu, coverage(skin, voxel_mm), SKIN_HU)
        _blend(hu, coverage(skin + np.float32(body.skin_mm), voxel_mm), self.fat_hu)
        # Septa of the fat under the skin.
        septa = np.clip(grain - np.float32(0.9), 0, 1.5)
        septa *= skin < -np.float32(body.skin_mm + 1)
        hu += np.float32(24) * septa
        self._add_muscle(hu, fine, fascia, grain, voxel_mm)
        for part in self.parts:
            self._add_part(hu, fine, part, skin, grain, voxel_mm)
        for vessel in self.calcified:
            self._add_calcium(hu, fine, vessel, grain, voxel_mm)
        return hu

    def _add_muscle(self, hu: FloatArray, fine: Box, fascia: FloatArray, grain: FloatArray,
                    voxel_mm: float) -> None:
        first = np.full(hu.shape, _FAR)
        second = np.full(hu.shape, _FAR)
        own = np.full(hu.shape, np.float32(self.body.muscle_hu))
        for field, hu_offset in self.muscles:
            inner = _common(self._fine_boxes[id(field)], fine)
            if inner is None:
                continue
            within = _relative(inner, fine)
            value = self.lattice.interpolate(field, inner)
            nearest, next_one = first[within], second[within]
            np.minimum(next_one, np.maximum(nearest, value), out=next_one)
            closer = value < nearest
            np.copyto(own[within], np.float32(self.body.muscle_hu + hu_offset), where=closer)
            np.minimum(nearest, value, out=nearest)
        seam = self.lattice.interpolate(self.seam_mm, fine)
        # Negative inside a muscle, outside its fascia and the fat that parts it from the next muscle.
        second -= first
        np.minimum(second, np.float32(2 * REACH_MM), out=second)
        seam -= np.float32(0.5) * second
        np.maximum(first, seam, out=first)
        np.maximum(first, fascia, out=first)
        share = coverage(first, np.float32(1.3 * voxel_mm))
        marbling = np.clip(grain - np.float32(1.5 - 1.3 * self.body.fat_infiltration), 0, 2.0)
        marbling *= np.float32(0.10 + 0.22 * self.body.fat_infiltration)
        own += grain * np.float32(2.0)
        own += marbling * (np.float32(self.fat_hu) - own)
        own -= hu
        own *= share
        hu += own

    def _add_part(self, hu: FloatArray, fine: Box, part: SoftPart, skin: FloatArray, grain: FloatArray,
                  voxel_mm: float) -> None:
        inner = _common(self._fine_boxes[id(part.field)], fine)
        if inner is None:
            return
        within = _relative(inner, fine)
        share = coverage(np.maximum(self.lattice.interpolate(part.field, inner), skin[within] + np.float32(3)),
                         max(voxel_mm, part.blend_mm))
        value: FloatArray | float = part.hu
        if part.mottled_hu:
            value = np.minimum(np.float32(part.hu) + np.float32(part.mottled_hu) * grain[within],
                               np.float32(part.hu + 40))
        hu[within] += share * (value - hu[within])

    def _add_calcium(self, hu: FloatArray, fine: Box, vessel: LatticeField, grain: FloatArray,
                     voxel_mm: float) -> None:
        inner = _common(self._fine_boxes[id(vessel)], fine)
        if inner is None:
            return
        within = _relative(inner, fine)
        wall = np.abs(self.lattice.interpolate(vessel, inner)) - np.float32(0.9)
        share = coverage(wall, voxel_mm) * np.clip(grain[within] - np.float32(0.35), 0, 1)
        hu[within] += share * (np.float32(CALCIUM_HU) - hu[within])


def place_soft_tissue(participant: Participant, fine_axes_mm: Axes, *, body_rotation: NDArray[np.float64],
                      origin_mm_lps: tuple[float, float, float], frames: list[HipFrame], lean: LegLean,
                      back_plane_mm: float, fat_hu: float, pixel_mm: float,
                      contrast: ContrastMedium = NO_CONTRAST, grain_mm: float = GRAIN_MM) -> SoftTissue:
    """Evaluate a person's soft tissue on the lattices of one scan.

    Parameters
    ----------
    participant : Participant
        Whose it is; every random number follows from the texture seed.
    fine_axes_mm : tuple of ndarray
        Fine points along z, y and x that the body may reach.
    body_rotation, origin_mm_lps
        Axes (columns) and origin of the body frame in the world.
    frames : list of HipFrame
        Bones of both sides, which carry muscles and vessels.
    lean : LegLean
        Where the thighs lead.
    back_plane_mm : float
        y (body frame) of the face on which the body lies.
    fat_hu : float
        Fat at the scan's tube voltage.
    pixel_mm : float
        In-plane pixel of the scan.
    contrast : ContrastMedium
        Contrast medium of this scan.
    grain_mm : float
        Distance of independent values of the grain of fat in muscle, across its threads.
    """
    body = participant.body
    findings = participant.findings
    rng = np.random.default_rng([participant.texture_seed, 1])
    lattice = CoarseLattice.around(fine_axes_mm, max(LATTICE_STEP_MM, LATTICE_PIXELS * pixel_mm))
    at = lattice.coordinates().moved(body_rotation, origin_mm_lps)
    wobble = [_noise_on(rng, lattice, origin_mm_lps, (30.0, 24.0, 24.0)) for _ in range(4)]
    skin = body_field(at, body, participant.head_distance_mm, lean=lean, back_plane_mm=back_plane_mm)
    fascia = skin + fat_depth(at, body) + np.float32(1.2) * wobble[3]
    seam = np.float32(0.6 + 1.2 * body.fat_infiltration) * np.maximum(
        1 + np.float32(0.55) * wobble[2], np.float32(0.3))

    def warp(points: Coordinates, box: Box) -> Coordinates:
        return Coordinates(points.x + np.float32(WARP_MM) * wobble[0][box],
                           points.y + np.float32(WARP_MM) * wobble[1][box],
                           points.z + np.float32(WARP_MM) * wobble[2][box])

    fields = [(field, muscle.hu_offset) for frame in frames for muscle in MUSCLES
              if (field := muscle_field(muscle, frame, lattice, body.muscle_mass, warp)) is not None]
    box = _pelvic_box(lattice, at, participant.head_distance_mm / 2)
    parts: list[SoftPart] = []
    if all(part.stop - part.start > 2 for part in box):
        near = Coordinates(at.x[box], at.y[box], at.z[box])
        parts = pelvic_organs(lattice, near, box, body, participant.sex, half_mm=participant.head_distance_mm / 2,
                              urine_hu=_urine_hu(contrast, findings), rng=rng, bowel_contrast_hu=contrast.bowel_hu)
    calcified = []
    for frame in frames:
        for tube in TUBES:
            field = tube_field(tube, frame, lattice)
            if field is None:
                continue
            if tube.bedded:
                # An uneven bed of fat that thins out into the muscles around.
                bed = field.values - np.float32(VESSEL_BED_MM) + np.float32(2.2) * wobble[3][field.box]
                parts.append(SoftPart(LatticeField(bed, field.box), fat_hu, blend_mm=BED_BLEND_MM))
            blood_hu = contrast.artery_hu if tube.calcifies else contrast.vein_hu
            parts.append(SoftPart(field, tube.hu + (blood_hu if tube.carries_blood else 0.0)))
            if tube.calcifies and findings.calcified_vessels:
                calcified.append(field)
    grain_lattice, grain = _draw_grain(rng, fine_axes_mm, origin_mm_lps, grain_mm)
    return SoftTissue(lattice, grain_lattice, _whole(skin), _whole(fascia), _whole(seam), tuple(fields),
                      tuple(parts), tuple(calcified), grain, body, fat_hu)


def _urine_hu(contrast: ContrastMedium, findings: Findings) -> float:
    if contrast.urine_hu is not None:
        return contrast.urine_hu
    return CONTRAST_URINE_HU if findings.bladder_contrast else BLADDER_HU


def _draw_grain(rng: np.random.Generator, fine_axes_mm: Axes, origin_mm_lps: tuple[float, float, float],
                grain_mm: float) -> tuple[CoarseLattice, LatticeField]:
    """Draw the grain of fat in muscle: bundles along the thigh, slanting sheets in the buttock."""
    lattice, values = draw_noise(rng, fine_axes_mm, origin_mm_lps, (14.0, grain_mm, grain_mm))
    dots = ndimage.gaussian_filter(values, (0.8, 0.5, 0.5), mode="wrap")
    y = (lattice.axes_mm[1] - origin_mm_lps[1]).astype(np.float32)[None, :, None]
    z = (lattice.axes_mm[0] - origin_mm_lps[2]).astype(np.float32)[:, None, None]
    # The bundles of gluteus maximus run from medial and behind to lateral and in front.
    row, column = np.meshgrid(np.fft.fftfreq(values.shape[1]), np.fft.rfftfreq(values.shape[2]), indexing="ij")
    half = values.shape[2] // 2
    sheets = np.empty_like(values)
    for side, part in ((1.0, slice(half, None)), (-1.0, slice(0, half))):
        along = 0.88 * column - side * 0.47 * row
        across = side * 0.47 * column + 0.88 * row
        response = np.exp(-2 * np.pi ** 2 * ((4.0 * along) ** 2 + (0.45 * across) ** 2)).astype(np.float32)
        smooth = np.fft.irfft2(np.fft.rfft2(values, axes=(1, 2)) * response, s=values.shape[1:], axes=(1, 2))
        sheets[:, :, part] = smooth[:, :, part]
    behind = np.clip((y - 22) / 16, 0, 1) * np.clip((z + 110) / 30, 0, 1)
    mixed = (1 - behind) * (dots / dots.std()) + behind * (sheets / sheets.std())
    return lattice, _whole(mixed.astype(np.float32))


def _noise_on(rng: np.random.Generator, lattice: CoarseLattice, origin_mm_lps: tuple[float, float, float],
              cell_mm: tuple[float, float, float]) -> FloatArray:
    cells, values = draw_noise(rng, lattice.axes_mm, origin_mm_lps, cell_mm)
    whole = (slice(0, lattice.shape[0]), slice(0, lattice.shape[1]), slice(0, lattice.shape[2]))
    return cells.interpolate(LatticeField(values, WHOLE), whole)


def _pelvic_box(lattice: CoarseLattice, at: Coordinates, half_mm: float) -> Box:
    """Return the part of the lattice in which pelvic organs may lie."""
    near = (np.abs(at.x) < half_mm) & (np.abs(at.y) < 105) & (at.z > -95)
    parts = []
    for other in ((1, 2), (0, 2), (0, 1)):
        found = np.flatnonzero(near.any(axis=other))
        parts.append(slice(int(found[0]), int(found[-1]) + 1) if found.size else slice(0, 0))
    return parts[0], parts[1], parts[2]


def _whole(values: FloatArray) -> LatticeField:
    return LatticeField(np.ascontiguousarray(values, dtype=np.float32), WHOLE)


def _common(first: Box | None, second: Box) -> Box | None:
    if first is None:
        return None
    parts = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(first, second, strict=True)]
    if any(part.stop <= part.start for part in parts):
        return None
    return parts[0], parts[1], parts[2]


def _relative(box: Box, start: Box) -> Box:
    parts = [slice(a.start - b.start, a.stop - b.start) for a, b in zip(box, start, strict=True)]
    return parts[0], parts[1], parts[2]


def _blend(hu: FloatArray, share: FloatArray, value: float) -> None:
    hu += share * (np.float32(value) - hu)
