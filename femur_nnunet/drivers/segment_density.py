"""Bone density of the femora of one segmentation, and their export for finite elements."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from femur_nnunet.calibration.scan_calibration import ScanCalibration
from femur_nnunet.calibration.units import DensityCalibration
from femur_nnunet.evaluation.density.density_row import DensityRow
from femur_nnunet.evaluation.density.density_status import DENSITY_RULES
from femur_nnunet.evaluation.density.measurement import measure_density
from femur_nnunet.evaluation.fe_export.export import export_femur
from femur_nnunet.regions import Region
from femur_nnunet.segmentation.segment import LABEL_OF_SIDE, Segmentation
from femur_nnunet.volume_io.volume import Volume

CASE_ID = "scan"


def measure_femora(volume: Volume, segmentation: Segmentation,
                   calibration: DensityCalibration | None) -> list[DensityRow]:
    """Return the rows of density.csv: every region of each femur.

    Parameters
    ----------
    volume : Volume
        The scan as read.
    segmentation : Segmentation
        Of this scan.
    calibration : DensityCalibration or None
        Without one volumes and cortical thickness alone are given.
    """
    rows: list[DensityRow] = []
    for femur in segmentation.femora:
        hounsfield = femur.record.forward(volume.array)
        mask = femur.record.forward(segmentation.mask) == LABEL_OF_SIDE[femur.side]
        x_mm, y_mm, z_mm = femur.record.lps_grid.spacing_mm_ijk
        # What a record cuts out looks like a left hip.
        measured = measure_density(hounsfield, mask.view(np.uint8), (z_mm, y_mm, x_mm), side="left",
                                   calibration=calibration, case_id=CASE_ID, source="prediction")
        rows += [replace(row, side=femur.side) for row in measured]
    return rows


def export_femora(folder: Path, volume: Volume, segmentation: Segmentation, calibration: DensityCalibration | None,
                  model_name: str) -> None:
    """Write each femur for finite elements, in the patient's own frame: right femora are not mirrored.

    Parameters
    ----------
    folder : Path
        Made where it is missing; files begin with ``left_femur`` and ``right_femur``.
    volume : Volume
        The scan as read.
    segmentation : Segmentation
        Of this scan.
    calibration : DensityCalibration or None
        Without one there is no density map.
    model_name : str
        For the sidecar.
    """
    for femur in segmentation.femora:
        record = replace(femur.record, left_right_flipped=False)
        mask = record.forward(segmentation.mask) == LABEL_OF_SIDE[femur.side]
        export_femur(folder, f"{femur.side}_femur", record.forward(volume.array), mask, record.case_grid,
                     side=femur.side, calibration=calibration,
                     facts={"model": model_name, "side": femur.side, "laterality_flipped": False})


def density_lines(rows: list[DensityRow], scale: ScanCalibration) -> list[str]:
    """Return a line for each femur's total, for people."""
    lines = []
    for row in rows:
        if row.region is not Region.TOTAL:
            continue
        words = [f"{row.side} femur: {row.volume_ml:.1f} ml"]
        if not math.isnan(row.vbmd_integral):
            words.append(f"BMC {row.bmc_mg / 1000:.2f} g, vBMD {row.vbmd_integral:.0f} mg/cc {row.unit} "
                         f"(trabecular {row.vbmd_trabecular:.0f}, cortical {row.vbmd_cortical:.0f})")
        if not math.isnan(row.cortical_thickness_mm):
            words.append(f"cortex {row.cortical_thickness_mm:.2f} mm")
        words.append(f"[{row.status.value}: {DENSITY_RULES[row.status].meaning}]" if row.status.value != "ok"
                     else f"[calibrated from {scale.source}]")
        lines.append(", ".join(words))
    return lines
