"""Writing one femur for finite elements: mask, regions, density map, surface and a sidecar that says what they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femur_nnunet._version import __version__
from femur_nnunet.calibration.units import DensityCalibration
from femur_nnunet.errors import FemurError
from femur_nnunet.evaluation.fe_export.isotropic import IsotropicFemur, resample
from femur_nnunet.evaluation.fe_export.options import DEFAULT_SPACING_MM
from femur_nnunet.evaluation.fe_export.surface import Surface, closed_surface, write_stl
from femur_nnunet.files import sha256_of_file, write_json
from femur_nnunet.landmarks.femur_landmarks import SideName
from femur_nnunet.landmarks.femur_regions import find_regions, planes_of
from femur_nnunet.regions import REGION_MAP_LABELS
from femur_nnunet.volume_io.volume import Grid
from femur_nnunet.volume_io.writing import write_nifti

EXPORT_SCHEMA = 1
SPACING_RANGE_MM = (0.3, 5.0)


class ExportStatus(str, Enum):
    """How an export went."""

    OK = "ok"
    UNCALIBRATED = "uncalibrated"
    """No density map, since the scan has no calibration; everything else is there."""
    SURFACE_HAS_HANDLES = "surface_has_handles"
    """The mask has a tunnel: its surface is closed but no ball, and a mesher may stumble over it."""
    SURFACE_OPEN = "surface_open"
    """The surface is not closed and was not written."""


@dataclass(frozen=True)
class FeExport:
    """What was written.

    Attributes
    ----------
    status : tuple of ExportStatus
        ``ok`` alone, or everything that is not.
    files : dict
        Path by kind: ``mask, regions, density, surface, sidecar``; what could not be made is left out.
    """

    status: tuple[ExportStatus, ...]
    files: dict[str, Path]


def export_femur(folder: Path, name: str, hounsfield_zyx: NDArray[np.generic], mask_zyx: NDArray[np.generic],
                 grid: Grid, *, side: SideName, calibration: DensityCalibration | None,
                 spacing_mm: float = DEFAULT_SPACING_MM, facts: Mapping[str, Any] | None = None) -> FeExport:
    """Write one femur on an isotropic grid.

    Parameters
    ----------
    folder : Path
        Made where it is missing.
    name : str
        Files are ``<name>_mask.nii.gz, _regions.nii.gz, _density.nii.gz, _surface.stl`` and ``<name>.json``.
    hounsfield_zyx, mask_zyx : ndarray
        Shape (z, y, x), axes along LPS: image in HU and femur (non-zero).
    grid : Grid
        Where both lie.
    side : {"left", "right"}
        Which femur the image shows.
    calibration : DensityCalibration or None
        Without it no density map is written.
    spacing_mm : float
        Spacing of the isotropic grid, 0.3 to 5 mm.
    facts : mapping, optional
        Written into the sidecar under ``source``: case id, model, whether the image was flipped.

    Raises
    ------
    FemurError
        The mask is empty, or the spacing is none.
    """
    if not SPACING_RANGE_MM[0] <= spacing_mm <= SPACING_RANGE_MM[1]:
        raise FemurError(f"a spacing of {spacing_mm:g} mm", expected=f"{SPACING_RANGE_MM[0]:g} to "
                         f"{SPACING_RANGE_MM[1]:g} mm", action="choose another spacing", subject=name)
    x, y, z = grid.spacing_mm_ijk
    regions = find_regions(mask_zyx, (z, y, x), side, subject=name)
    femur = resample(hounsfield_zyx, mask_zyx, grid, spacing_mm)
    folder.mkdir(parents=True, exist_ok=True)
    files = {"mask": folder / f"{name}_mask.nii.gz"}
    write_nifti(files["mask"], femur.mask.astype(np.uint8), femur.grid)
    if regions.landmarks is not None:
        files["regions"] = folder / f"{name}_regions.nii.gz"
        labels = np.zeros(femur.mask.shape, dtype=np.uint8)
        index = np.nonzero(femur.mask)
        points = femur.offset_mm_xyz + np.column_stack(index[::-1]) * spacing_mm
        labels[index] = planes_of(points, regions.landmarks).labels()
        write_nifti(files["regions"], labels, femur.grid)
    doubts = []
    if calibration is None:
        doubts.append(ExportStatus.UNCALIBRATED)
        (folder / f"{name}_density.nii.gz").unlink(missing_ok=True)
    else:
        files["density"] = folder / f"{name}_density.nii.gz"
        density = calibration.density_mg_cc(femur.hounsfield.astype(np.float64)).astype(np.float32)
        write_nifti(files["density"], density, femur.grid)
    surface = _in_world(closed_surface(femur.distance_mm, spacing_mm), femur)
    if surface.is_closed:
        files["surface"] = folder / f"{name}_surface.stl"
        write_stl(files["surface"], surface)
    doubts += _doubts_of(surface)
    status = tuple(doubts) or (ExportStatus.OK,)
    files["sidecar"] = folder / f"{name}.json"
    write_json(files["sidecar"], {
        "schema": EXPORT_SCHEMA, "package_version": __version__, "status": [one.value for one in status],
        "source": {**(facts or {}), "spacing_mm_xyz": list(grid.spacing_mm_ijk)},
        "side_shown": side, "frame": "LPS, mm", "spacing_mm": spacing_mm, "size_xyz": list(femur.grid.size_ijk),
        "region_labels": {region.value: label for region, label in REGION_MAP_LABELS.items()},
        "region_status": {region.value: one.value for region, one in regions.status.items()},
        "density": None if calibration is None else {
            "unit": f"mg/cc {calibration.unit}", "slope_mg_cc_per_hu": calibration.slope,
            "intercept_mg_cc": calibration.intercept, "interpolation": "linear, not masked"},
        "mask_volume_ml": {"source": _volume_ml(mask_zyx, grid), "isotropic": _volume_ml(femur.mask, femur.grid)},
        "surface": {"triangles": len(surface.faces), "volume_ml": round(surface.volume_mm3 / 1000.0, 4),
                    "closed": surface.is_closed, "euler_characteristic": surface.euler_characteristic},
        "sha256": {kind: sha256_of_file(path) for kind, path in files.items() if kind != "sidecar"}})
    return FeExport(status, files)


def _doubts_of(surface: Surface) -> list[ExportStatus]:
    if not surface.is_closed:
        return [ExportStatus.SURFACE_OPEN]
    return [] if surface.euler_characteristic == 2 else [ExportStatus.SURFACE_HAS_HANDLES]


def _in_world(surface: Surface, femur: IsotropicFemur) -> Surface:
    turned = surface.vertices @ femur.grid.direction_matrix.T + np.asarray(femur.grid.origin_mm_lps)
    # Axes that are no right-handed frame turn triangles inside out.
    faces = surface.faces if np.linalg.det(femur.grid.direction_matrix) > 0 else surface.faces[:, ::-1]
    return replace(surface, vertices=turned, faces=faces)


def _volume_ml(mask: NDArray[np.generic], grid: Grid) -> float:
    return round(float(np.count_nonzero(mask) * np.prod(grid.spacing_mm_ijk)) / 1000.0, 4)
