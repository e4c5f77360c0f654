"""One hip in a box of muscle: the kit's bones and scanner without the rest of the body, for testing measurements.

A whole scan costs seconds, most of them for soft tissue that no measurement of bone looks at. Here a femur and its hip
bone lie in even muscle; slice profile, saturation, point spread, noise, HU scale and truth are those of the kit. Beam
hardening needs the other hip and is left out, and the calibration is the exact one instead of a fit to rods.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.calibration.units import DensityCalibration, DensityUnit
from femur_nnunet.phantom.anatomy import Participant, SideName
from femur_nnunet.phantom.calibration import CalibrationRods
from femur_nnunet.phantom.pose import Pose
from femur_nnunet.phantom.scan_grid import RenderGrid
from femur_nnunet.phantom.scanner import digitise, kernel_and_noise, saturate_bone, slice_profile
from femur_nnunet.phantom.scene import MASK_LABELS, Scene
from femur_nnunet.phantom.tiers import ScannerTier
from femur_nnunet.volume_io.volume import Grid

MUSCLE_HU = 55.0
# Room about the femur: before the lowest and behind the highest x and y of a femur from its head centre.
_MEDIAL_MM, _LATERAL_MM, _FORWARD_MM, _BACKWARD_MM = 42.0, 108.0, 72.0, 66.0


@dataclass(frozen=True)
class HipScan:
    """One rendered hip; arrays have the shape (z, y, x), axes along LPS.

    Attributes
    ----------
    hu, mask, regions : ndarray
        Image, femur (0 or 1) and region map (``REGION_MAP_LABELS``).
    grid : Grid
        Where the voxels lie.
    side : {"left", "right"}
        Which hip.
    calibration : DensityCalibration
        What undoes tube voltage, HU scale and offset.
    truth : dict
        Of this side, as in a rendered scan.
    """

    hu: NDArray[np.int16]
    mask: NDArray[np.uint8]
    regions: NDArray[np.uint8]
    grid: Grid
    side: SideName
    calibration: DensityCalibration
    truth: dict[str, Any]

    @property
    def spacing_mm_zyx(self) -> tuple[float, float, float]:
        """Distance of voxel centres along z, y and x."""
        x, y, z = self.grid.spacing_mm_ijk
        return z, y, x


def render_hip(participant: Participant, pose: Pose, scanner: ScannerTier, side: SideName, *,
               pixel_mm: float = 0.9, slice_spacing_mm: float = 2.0, extent_mm: float = 185.0,
               unit: DensityUnit = "K2HPO4", noise_hu: float = 20.0, noise_seed: int = 0) -> HipScan:
    """Render one hip.

    Parameters
    ----------
    participant, pose, scanner, side
        Who, how they lie, on what, and which hip; of the scanner its spacing and thickness factors do not count.
    pixel_mm, slice_spacing_mm : float
        Voxel size; slices are as thick as their spacing.
    extent_mm : float
        Length of the scan, from ``pose.scan_top_mm`` above the heads downwards.
    unit : {"K2HPO4", "HA"}
        Unit of calibration and truth.
    noise_hu : float
        Standard deviation of the noise.
    noise_seed : int
        Its seed.
    """
    head = pose.head_centre_mm(side, participant.head_distance_mm)
    fine = RenderGrid.build(_grid(head, side, pose, pixel_mm, slice_spacing_mm, extent_mm), slice_spacing_mm)
    scene = Scene(participant, pose, scanner, fine, CalibrationRods.place(unit, 200.0))
    scene.hu[...] = MUSCLE_HU
    scene.add_hip(side)
    hu = slice_profile(scene.hu, substeps=fine.substeps, margin=fine.margin, thickness_mm=fine.thickness_mm,
                       fine_spacing_mm=fine.fine_step_mm, slice_count=fine.grid.size_ijk[2])
    saturate_bone(hu, scanner.bone_saturation_per_1000_hu)
    hu = kernel_and_noise(hu, scanner, pixel_mm=pixel_mm, noise_hu=noise_hu, rng=np.random.default_rng(noise_seed))
    image = digitise(hu, scanner)
    labelled = np.where(scene.slice_share(side) >= 0.5, np.uint8(MASK_LABELS[side]), np.uint8(0))
    # Soft tissue is not proportional to density; bone is, and by this line.
    ratio = scanner.k2hpo4_per_ha if unit == "HA" else 1.0
    slope = 1.0 / (scanner.hu_scale * scanner.hu_per_mg_cc_k2hpo4 * ratio)
    return HipScan(image, (labelled > 0).astype(np.uint8), _regions(scene, labelled, side), fine.grid, side,
                   DensityCalibration(unit, slope, -scanner.hu_offset * slope), scene.truth[side])


def _regions(scene: Scene, labelled: NDArray[np.uint8], side: SideName) -> NDArray[np.uint8]:
    both = scene.slice_regions(labelled)
    return both % 10 if side == "right" else both


def _grid(head: NDArray[np.float64], side: SideName, pose: Pose, pixel_mm: float, slice_spacing_mm: float,
          extent_mm: float) -> Grid:
    slices = round(extent_mm / slice_spacing_mm)
    left_of_head = _MEDIAL_MM if side == "left" else _LATERAL_MM
    size = (round((_MEDIAL_MM + _LATERAL_MM) / pixel_mm), round((_FORWARD_MM + _BACKWARD_MM) / pixel_mm), slices)
    origin = (round(float(head[0]) - left_of_head, 3), round(float(head[1]) - _FORWARD_MM, 3),
              round(float(head[2]) + pose.scan_top_mm - (slices - 1) * slice_spacing_mm, 3))
    return Grid(size, (pixel_mm, pixel_mm, slice_spacing_mm), origin)
