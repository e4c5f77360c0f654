"""Render one scan: anatomy and pose become an object on a fine grid, the scanner makes an image of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.phantom.anatomy import SIDES, Participant
from femur_nnunet.phantom.body_shape import CENTRE_BEHIND_HEADS_MM
from femur_nnunet.phantom.calibration import CalibrationRods, DensityUnit
from femur_nnunet.phantom.metal_streaks import COARSE_PIXELS, VIEWS, add_metal_streaks
from femur_nnunet.phantom.pose import Pose
from femur_nnunet.phantom.scan_grid import SCAN_SIZES, RenderGrid, ScanSize
from femur_nnunet.phantom.scan_noise import BodySection, noise_sd_hu
from femur_nnunet.phantom.scanner import (
    digitise,
    harden_beam,
    kernel_and_noise,
    saturate_bone,
    slice_profile,
)
from femur_nnunet.phantom.scene import MASK_LABELS, Scene
from femur_nnunet.phantom.shapes import FloatArray
from femur_nnunet.phantom.tiers import ScannerTier
from femur_nnunet.volume_io.volume import Grid

FLATTENED_BACK_MM = 7.0
# Bone makes a pelvis attenuate like this much more water than its outline holds.
WATER_EQUIVALENT_FACTOR = 1.2


@dataclass
class RenderedScan:
    """One rendered scan on its grid; arrays have the shape (z, y, x), axes along LPS.

    Attributes
    ----------
    hu : ndarray of int16
        The image.
    mask : ndarray of uint8
        1 left femur, 2 right femur: everything inside the periosteal surface.
    regions : ndarray of uint8
        Region map: ``REGION_MAP_LABELS`` on the left, plus 10 on the right.
    tissue : ndarray of uint8
        What fills the middle of each voxel, by :class:`~femur_nnunet.phantom.tissue.Tissue`.
    grid : Grid
        Where the voxels lie.
    slice_thickness_mm : float
        Thickness, which may differ from the spacing.
    rods : CalibrationRods
        Known densities and where the rods lie.
    rod_hu : list of float
        Mean HU measured in the image's rods.
    density_slope, density_intercept : float
        Fit to the rods: density = slope * HU + intercept in mg/cc of the rods' unit.
    truth : dict
        Truth by side, ready for JSON.
    """

    hu: NDArray[np.int16]
    mask: NDArray[np.uint8]
    regions: NDArray[np.uint8]
    tissue: NDArray[np.uint8]
    grid: Grid
    slice_thickness_mm: float
    rods: CalibrationRods
    rod_hu: list[float]
    density_slope: float
    density_intercept: float
    truth: dict[str, Any]


def render_scan(participant: Participant, pose: Pose, scanner: ScannerTier, *, unit: DensityUnit = "K2HPO4",
                size: ScanSize = SCAN_SIZES["small"], noise_seed: int = 0) -> RenderedScan:
    """Render one bilateral hip QCT.

    Parameters
    ----------
    participant, pose, scanner
        Who, how they lie, and on what.
    unit : {"K2HPO4", "HA"}
        Material of the calibration rods.
    size : ScanSize
        Matrix and spacing before the scanner's factors.
    noise_seed : int
        Seed of the noise.

    Returns
    -------
    RenderedScan
        Image, mask, region map and truth.
    """
    rods = CalibrationRods.place(unit, pose.translation_mm_lps[1] + CENTRE_BEHIND_HEADS_MM
                                 + participant.body.half_depth_mm - FLATTENED_BACK_MM)
    fine = _place_grid(pose, scanner, size, rods)
    scene = Scene(participant, pose, scanner, fine, rods)
    scene.add_soft_tissue()
    scene.add_sacrum()
    for side in SIDES:
        scene.add_hip(side)
    scene.add_implant()
    image, formed = form_image(scene.hu, fine, scanner, body_section(participant, pose, fine.grid),
                               np.random.default_rng(noise_seed))
    _, y_mm, x_mm = fine.axes_mm_zyx()
    rod_hu = rods.measure_hu(image, x_mm, y_mm)
    slope, intercept = rods.fit(rod_hu)
    mask = np.zeros(image.shape, dtype=np.uint8)
    for side, label in MASK_LABELS.items():
        # A hip with metal has no reference; the truth says so.
        if side == participant.findings.implant_side:
            continue
        mask[scene.slice_share(side) >= 0.5] = label
    regions = scene.slice_regions(mask)
    truth = {
        "density_unit": unit,
        "k2hpo4_per_ha": scanner.k2hpo4_per_ha,
        "rods": [{"density_mg_cc": known, "measured_hu": round(measured, 3)}
                 for known, measured in zip(rods.densities_mg_cc, rod_hu, strict=True)],
        "noise_sd_hu": round(formed.noise_sd_hu, 4),
        "scan_offset_hu": round(formed.offset_hu, 4),
        "findings": {**asdict(participant.findings), "slices_with_streaks": formed.slices_with_streaks},
        "participant": {"sex": participant.sex, "age_years": participant.age_years},
        "anatomy": {"bone": asdict(participant.bone), "body": asdict(participant.body),
                    "femora": {side: asdict(participant.femora[side]) for side in SIDES}},
        "pose": asdict(pose),
        "sides": scene.truth,
    }
    return RenderedScan(image, mask, regions, scene.tissue[_middle(fine)], fine.grid, fine.thickness_mm, rods,
                        rod_hu, slope, intercept, truth)


@dataclass(frozen=True)
class ImageFormation:
    """What was drawn or computed while an image was formed."""

    noise_sd_hu: float
    offset_hu: float
    slices_with_streaks: int


def form_image(object_hu: FloatArray, fine: RenderGrid, scanner: ScannerTier, body: BodySection,
               rng: np.random.Generator, *, streak_pixels: int = COARSE_PIXELS,
               streak_views: int = VIEWS) -> tuple[NDArray[np.int16], ImageFormation]:
    """Make the scanner's image of an object.

    Parameters
    ----------
    object_hu : ndarray
        The object on the fine grid, shape (z, y, x).
    fine, scanner
        Where it lies and what looks at it.
    body : BodySection
        Shapes the noise.
    rng : numpy.random.Generator
        Source of noise, streaks and this scan's own offset.
    streak_pixels, streak_views : int
        Grid and projections from which metal streaks are computed.

    Returns
    -------
    image : ndarray of int16
        On the scan's own grid.
    formation : ImageFormation
        What belongs to the truth.
    """
    pixel_mm = fine.grid.spacing_mm_ijk[0]
    hu = slice_profile(object_hu, substeps=fine.substeps, margin=fine.margin, thickness_mm=fine.thickness_mm,
                       fine_spacing_mm=fine.fine_step_mm, slice_count=fine.grid.size_ijk[2])
    saturate_bone(hu, scanner.bone_saturation_per_1000_hu)
    harden_beam(hu, scanner.beam_hardening_hu, pixel_mm)
    streaked = add_metal_streaks(hu, pixel_mm, rng, pixels=streak_pixels, views=streak_views)
    noise = noise_sd_hu(scanner, body.diameter_mm * WATER_EQUIVALENT_FACTOR)
    offset = float(rng.normal(0.0, scanner.hu_offset_sd)) if scanner.hu_offset_sd else 0.0
    hu = kernel_and_noise(hu, scanner, pixel_mm=pixel_mm, noise_hu=noise, rng=rng, body=body)
    image = digitise(hu, scanner, slice_spacing_mm=fine.grid.spacing_mm_ijk[2], scan_offset_hu=offset)
    return image, ImageFormation(noise, offset, streaked)


def body_section(participant: Participant, pose: Pose, grid: Grid) -> BodySection:
    """Return the body as an ellipse, its centre from the image's middle."""
    body = participant.body
    middle = [start + (count - 1) / 2 * step for start, count, step
              in zip(grid.origin_mm_lps, grid.size_ijk, grid.spacing_mm_ijk, strict=True)]
    return BodySection(body.half_width_mm, body.half_depth_mm, (
        pose.translation_mm_lps[0] - middle[0],
        pose.translation_mm_lps[1] + CENTRE_BEHIND_HEADS_MM - middle[1]))


def _place_grid(pose: Pose, scanner: ScannerTier, size: ScanSize, rods: CalibrationRods) -> RenderGrid:
    """Centre the field of view on the scanner's axis and choose slices from above the heads downwards."""
    pixel = size.pixel_mm * scanner.pixel_spacing_factor
    spacing = size.slice_spacing_mm * scanner.slice_spacing_factor
    slices = round(size.extent_mm / spacing)
    top = pose.translation_mm_lps[2] + pose.scan_top_mm
    middle = pose.translation_mm_lps[1] + CENTRE_BEHIND_HEADS_MM
    last_row = max(rods.bottom_mm + 12.0, middle + (size.rows - 1) / 2 * pixel)
    # Positions on a grid of 0.001 mm, so that every file format can hold them exactly enough.
    origin = (-(size.columns - 1) / 2 * pixel, last_row - (size.rows - 1) * pixel,
              top - (slices - 1) * spacing)
    rounded = (round(origin[0], 3), round(origin[1], 3), round(origin[2], 3))
    grid = Grid((size.columns, size.rows, slices), (round(pixel, 6), round(pixel, 6), round(spacing, 4)),
                rounded)
    return RenderGrid.build(grid, round(size.slice_spacing_mm * scanner.slice_thickness_factor, 4))


def _middle(fine: RenderGrid) -> slice:
    """Return the fine slices nearest to the middle of each slice."""
    start = fine.margin + fine.substeps // 2
    return slice(start, start + fine.substeps * (fine.grid.size_ijk[2] - 1) + 1, fine.substeps)
