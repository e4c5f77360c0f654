"""One randomised rendering: draws, object, image, mask and the record of it all."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from femur_nnunet.phantom.cohort_plan import KIT_VERSION
from femur_nnunet.phantom.map_preparation import PreparedMap
from femur_nnunet.phantom.render import body_section, form_image
from femur_nnunet.phantom.scanner import field_of_view
from femur_nnunet.phantom.scene import MASK_LABELS, Scene
from femur_nnunet.randomised.acquisition import draw_grid, draw_scanner, field_of, shown_sides
from femur_nnunet.randomised.foreign_bone import draw_foreign_bones
from femur_nnunet.randomised.person import draw_lying, draw_person
from femur_nnunet.randomised.ranges import Drawer, ranges_hash
from femur_nnunet.randomised.surroundings import draw_arms, draw_contrast, draw_underlay
from femur_nnunet.volume_io.volume import Grid

RENDERING_VERSION = 3
"""Raised whenever the same seed gives another image than before."""
RENDERING_SCHEMA = 1
# Less of a femur than this at the edge of a field is not worth a mask.
LEAST_FEMUR_ML = 20.0
# Coarse slices are small: fewer, larger slabs.
_SLAB_SLICES = 24
# Streaks at half the cohort's resolution, at a fifth of its time.
_STREAK_PIXELS, _STREAK_VIEWS = 96, 100


@dataclass
class Rendering:
    """One rendered scan; arrays have the shape (z, y, x), axes along LPS.

    Attributes
    ----------
    hu : ndarray of int16
        The image.
    mask : ndarray of uint8
        1 left femur, 2 right femur.
    grid : Grid
        Where the voxels lie.
    record : dict
        Subject, seed, versions, every draw; ready for JSON.
    """

    hu: NDArray[np.int16]
    mask: NDArray[np.uint8]
    grid: Grid
    record: dict[str, Any]


def generator_of(seed: int, subject: str, number: int) -> np.random.Generator:
    """Return the source of a rendering: what the seed, the subject's name and the number say, and nothing else."""
    return np.random.default_rng([seed, zlib.crc32(subject.encode("utf-8")), number])


# The last bits of a matrix product depend on the number of threads, and pools are the same for any number of workers.
@threadpool_limits.wrap(limits=1, user_api="blas")
def render_randomised(prepared: PreparedMap, *, seed: int, number: int, finest_mm: float,
                      fixed: Mapping[str, Any] | None = None) -> Rendering:
    """Render one scan of a subject's anatomy.

    Parameters
    ----------
    prepared : PreparedMap
        The subject's bones.
    seed, number : int
        Seed of the pool, and the rendering's number among those of this subject.
    finest_mm : float
        Voxels are rendered no finer than this.
    fixed : mapping, optional
        Draws to be given instead, by name.
    """
    drawer = Drawer(generator_of(seed, prepared.name, number), fixed=dict(fixed or {}))
    person = draw_person(drawer, prepared)
    pose = draw_lying(drawer)
    scanner = draw_scanner(drawer)
    fine = draw_grid(drawer, person, pose, finest_mm=finest_mm)
    underlay, arms = draw_underlay(drawer, person), draw_arms(drawer, person, scanner)
    scene = Scene(person, pose, scanner, fine, underlay, contrast=draw_contrast(drawer),
                  grain_mm=drawer("muscle_grain_mm"), slab_slices=_SLAB_SLICES)
    scene.add_soft_tissue()
    for arm in arms:
        scene.add_arm(arm)
    for bone in draw_foreign_bones(drawer, person, pose.scan_top_mm):
        scene.add_foreign_bone(bone)
    scene.add_sacrum()
    scene.add_spine()
    findings = person.findings
    field = field_of(drawer.drawn, findings.implant_side)
    sides = [side for side in shown_sides(field) if scene.shows_hip(side)]
    for side in sides:
        scene.add_hip(side)
    if findings.implant_side in sides:
        scene.add_implant()
    image, formed = form_image(scene.hu, fine, scanner, body_section(person, pose, fine.grid), drawer.rng,
                               streak_pixels=_STREAK_PIXELS, streak_views=_STREAK_VIEWS)
    mask = np.zeros(image.shape, dtype=np.uint8)
    for side in sides:
        # A hip with metal has no reference.
        if side != findings.implant_side:
            mask[scene.slice_share(side) >= 0.5] = MASK_LABELS[side]
    mask[:, ~field_of_view(image.shape[1:], scanner.field_of_view_factor)] = 0
    voxel_ml = float(np.prod(fine.grid.spacing_mm_ijk)) / 1000.0
    volumes = {side: round(float((mask == MASK_LABELS[side]).sum()) * voxel_ml, 3) for side in MASK_LABELS}
    for side, volume in volumes.items():
        if volume < LEAST_FEMUR_ML:
            mask[mask == MASK_LABELS[side]] = 0
    record = {
        "schema": RENDERING_SCHEMA, "rendering_version": RENDERING_VERSION, "kit_version": KIT_VERSION,
        "ranges_sha256": ranges_hash(), "subject": prepared.name, "subject_sha256": prepared.sha256, "seed": seed,
        "number": number, "finest_mm": finest_mm, "fixed": dict(fixed or {}), "draws": drawer.drawn,
        "spacing_mm_xyz": list(fine.grid.spacing_mm_ijk), "voxel_box_mm_zyx": list(fine.voxel_mm_zyx),
        "slice_thickness_mm": fine.thickness_mm, "field": field, "sides_shown": sides,
        "metal_side": findings.implant_side, "metal": findings.implant, "osteoarthritis": findings.osteoarthritis,
        "femur_ml": {side: volume for side, volume in volumes.items() if volume >= LEAST_FEMUR_ML},
        "noise_sd_hu": round(formed.noise_sd_hu, 4), "slices_with_streaks": formed.slices_with_streaks,
        "neck_trabecular_mg_cc": round(person.bone.neck_trabecular_mg_cc, 3)}
    return Rendering(image, mask, fine.grid, record)
