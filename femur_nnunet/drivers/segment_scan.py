"""One scan through the segmentation, and every file of its result, written together or not at all."""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from femur_nnunet.calibration.phantoms import load_phantoms
from femur_nnunet.calibration.scan_calibration import CalibrationMode, ScanCalibration, calibrate_scan
from femur_nnunet.calibration.units import DensityCalibration
from femur_nnunet.command_line import progress_bar
from femur_nnunet.drivers.segment_density import density_lines, export_femora, measure_femora
from femur_nnunet.errors import UsageError
from femur_nnunet.evaluation.density.density_row import DENSITY_NAME, write_density
from femur_nnunet.files import PARTIAL_PREFIX, hold_folder
from femur_nnunet.model_bundle import load_bundle
from femur_nnunet.provenance import RUN_RECORD_NAME, RunRecord
from femur_nnunet.segmentation.model import SegmentationModel, box_model_path
from femur_nnunet.segmentation.preview import write_preview
from femur_nnunet.segmentation.scan_sides import WantedSide
from femur_nnunet.segmentation.segment import LABEL_NAMES, LABEL_OF_SIDE, Segmentation, SegmentedFemur, segment_volume
from femur_nnunet.segmentation.warnings_table import Caution, Finding
from femur_nnunet.volume_io.archives import on_disk
from femur_nnunet.volume_io.dicom_seg_writing import SegmentLabel, write_dicom_seg
from femur_nnunet.volume_io.dicom_series import series_geometry
from femur_nnunet.volume_io.orientation import best_axis_mapping
from femur_nnunet.volume_io.reading import read_volume
from femur_nnunet.volume_io.reading_rules import ReadingRules
from femur_nnunet.volume_io.volume import Volume
from femur_nnunet.volume_io.writing import write_nifti

MASK_NAME, UNCERTAINTY_NAME, SEG_NAME, PREVIEW_NAME = ("segmentation.nii.gz", "uncertainty.nii.gz", "segmentation.dcm",
                                                       "preview.png")
FE_FOLDER = "fe_export"
OUTPUT_NAMES = (MASK_NAME, UNCERTAINTY_NAME, SEG_NAME, PREVIEW_NAME, DENSITY_NAME)
_SEGMENT_LABELS = {value: SegmentLabel(f"{side.capitalize()} femur", side) for side, value in LABEL_OF_SIDE.items()}
# Two decimals say all that an uncertainty can, and pack ten times as small.
_UNCERTAINTY_STEPS = 100.0


@dataclass(frozen=True)
class ScanOptions:
    """What femur_segment was asked for; see its ``--help``."""

    input: Path
    out: Path
    model: Path | None = None
    side: WantedSide | None = None
    fast: bool = False
    device: str = "cpu"
    force: bool = False
    dicom_seg: bool = False
    uncertainty: bool = False
    fe_export: bool = False
    table: DensityCalibration | None = None
    calibrate: CalibrationMode = "auto"
    phantom: str | None = None
    phantom_table: Path | None = None
    resample_irregular: bool = False
    correct_tilt: bool = False
    step: float | None = None
    localise: bool = True
    quiet: bool = False


@dataclass(frozen=True)
class ScanOutcome:
    """How it went: lines for people, findings, and the summary for ``--json``."""

    heading: str
    findings: tuple[Finding, ...]
    lines: list[str]
    summary: dict[str, Any]


def segment_scan(options: ScanOptions) -> ScanOutcome:
    """Segment one scan and write its results.

    A failure leaves what the folder held before; a result that replaces another one replaces it as a whole.

    Raises
    ------
    FemurError
        The scan cannot be used.
    UsageError
        The model, the device or the side.
    TargetBusyError
        Another run holds the folder.
    """
    record = RunRecord("femur_segment", asdict(options), hide_paths=True)
    bundle = load_bundle(options.model or box_model_path())
    model = SegmentationModel.of_bundle(bundle, device=options.device,
                                        folds=bundle.folds[:1] if options.fast else None)
    phantoms = load_phantoms(options.phantom_table)
    rules = ReadingRules(resample_irregular=options.resample_irregular, correct_tilt=options.correct_tilt)
    with on_disk(options.input) as source, hold_folder(options.out), _staging(options.out) as staging:
        volume = read_volume(source, rules=rules)
        if options.dicom_seg:
            _refuse_without_series(volume)
        with progress_bar(description="femora", unit=" patch", quiet=options.quiet) as bar:
            segmentation = segment_volume(
                volume, model, side=options.side, fast=options.fast, step=options.step, localise=options.localise,
                uncertainty=options.uncertainty, force=options.force, on_patch=bar.update,
                on_hip=lambda side: bar.set_description(f"{side} femur"))
        scale = _calibrate(volume, options, phantoms)
        segmentation = _with_calibration(segmentation, scale)
        heading = f"femur_segment, model {model.manifest.name} (folds {', '.join(model.folds)})"
        rows = measure_femora(volume, segmentation, scale.calibration)
        # Who names no model has not read its card.
        notice = [] if options.model else [f"the model in the box: {model.manifest.intended_use}"]
        lines = [*notice, *density_lines(rows, scale)]
        if segmentation.found_any:
            write_nifti(staging / MASK_NAME, segmentation.mask, volume.grid)
            write_density(staging / DENSITY_NAME, rows)
            if segmentation.uncertainty is not None:
                rounded = np.rint(segmentation.uncertainty * _UNCERTAINTY_STEPS) / np.float32(_UNCERTAINTY_STEPS)
                write_nifti(staging / UNCERTAINTY_NAME, rounded, volume.grid)
            if options.fe_export:
                export_femora(staging / FE_FOLDER, volume, segmentation, scale.calibration, model.manifest.name)
            if options.dicom_seg:
                geometry = series_geometry(source, rules=rules)
                write_dicom_seg(staging / SEG_NAME, segmentation.mask, geometry.planes, _SEGMENT_LABELS,
                                algorithm_name=f"femur-nnunet {model.manifest.name}")
        write_preview(staging / PREVIEW_NAME, volume, segmentation, heading=heading, lines=lines)
        summary = _summary(volume, segmentation, scale, model)
        record.counts = {"femora": len(segmentation.femora), "warnings": len(segmentation.findings)}
        record.warnings = [f"{finding.caution.value}: {finding}" for finding in segmentation.findings]
        record.inputs = {"voxels": _sha256_of_voxels(volume), "model": model.sha256 or ""}
        record.details = summary
        record.add_outputs(sorted(path for path in staging.rglob("*") if path.is_file()))
        record.write(staging, exit_code=0 if segmentation.found_any else 1)
        _publish(staging, options.out)
    return ScanOutcome(heading, segmentation.findings, lines, {**summary, "out": str(options.out)})


def _refuse_without_series(volume: Volume) -> None:
    if volume.source_format != "dicom":
        raise UsageError(f"--dicom-seg with a {volume.source_format} file", expected="a DICOM series, which a DICOM "
                         "Segmentation refers to", action="give the series, or leave --dicom-seg out")
    if volume.slices is not None:
        raise UsageError("--dicom-seg with a series that was resampled", expected="one whose slices make a grid",
                         action="leave --dicom-seg out; segmentation.nii.gz lies on the resampled grid")


def _calibrate(volume: Volume, options: ScanOptions, phantoms: Any) -> ScanCalibration:
    mapping = best_axis_mapping(volume.grid.direction_matrix)
    oriented = replace(volume, array=mapping.apply(volume.array), grid=mapping.apply_to_grid(volume.grid))
    return calibrate_scan(oriented, mode=options.calibrate, table=options.table, phantom_name=options.phantom,
                          phantoms=phantoms)


def _with_calibration(segmentation: Segmentation, scale: ScanCalibration) -> Segmentation:
    """Return the segmentation with what is to be said of the density scale."""
    told = [Finding(Caution.CALIBRATION, warning) for warning in scale.warnings]
    if scale.calibration is None and segmentation.found_any:
        told.append(Finding(Caution.UNCALIBRATED, "uncalibrated"))
    return replace(segmentation, findings=(*segmentation.findings, *told))


def _summary(volume: Volume, segmentation: Segmentation, scale: ScanCalibration,
             model: SegmentationModel) -> dict[str, Any]:
    line = scale.calibration
    return {
        "model": {"name": model.manifest.name, "sha256": model.sha256, "folds": list(model.folds),
                  "licence": model.manifest.licence, "intended_use": model.manifest.intended_use},
        "labels": {name: value for value, name in LABEL_NAMES.items()},
        "femora": [_femur(femur) for femur in segmentation.femora],
        "warnings": [{"kind": finding.caution.value, "gravity": finding.rule.gravity, "side": finding.side,
                      "text": finding.text, "action": finding.rule.action} for finding in segmentation.findings],
        "calibration": {"source": scale.source, "unit": line.unit if line else None,
                        "slope": line.slope if line else None, "intercept": line.intercept if line else None,
                        "r2": scale.r2, "se_mg_cc": scale.se_mg_cc, "phantom": scale.phantom},
        "scan": {"source_format": volume.source_format, "size": list(volume.grid.size_ijk),
                 "spacing_mm": list(volume.grid.spacing_mm_ijk), "tags": asdict(volume.tags), "notes": volume.notes},
        "seconds": segmentation.seconds,
    }


def _femur(femur: SegmentedFemur) -> dict[str, Any]:
    return {"side": femur.side, "volume_ml": round(femur.volume_ml, 3), "length_mm": round(femur.shape.length_mm, 1),
            "shaft_mm": _rounded(femur.shape.shaft_mm), "head_radius_mm": _rounded(femur.shape.head_radius_mm),
            "agreement": _rounded(femur.agreement, 4), "agreement_of": femur.agreement_of,
            "looked_at": femur.looked_at, "patches": femur.patches}


def _rounded(value: float | None, digits: int = 1) -> float | None:
    return None if value is None else round(value, digits)


def _sha256_of_voxels(volume: Volume) -> str:
    digest = hashlib.sha256()
    for plane in volume.array:
        digest.update(np.ascontiguousarray(plane).data)
    return digest.hexdigest()


@contextmanager
def _staging(out: Path) -> Iterator[Path]:
    """Yield a folder inside ``out``; what an earlier, killed run left there goes, and so does this one."""
    for left in out.glob(f"{PARTIAL_PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)
    folder = out / f"{PARTIAL_PREFIX}{uuid.uuid4().hex[:12]}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _publish(staging: Path, out: Path) -> None:
    """Put the files into place, run.json last: it vouches for all of them."""
    (out / RUN_RECORD_NAME).unlink(missing_ok=True)
    for name in OUTPUT_NAMES:
        if (staging / name).exists():
            (staging / name).replace(out / name)
        else:
            (out / name).unlink(missing_ok=True)
    shutil.rmtree(out / FE_FOLDER, ignore_errors=True)
    if (staging / FE_FOLDER).exists():
        (staging / FE_FOLDER).replace(out / FE_FOLDER)
    (staging / RUN_RECORD_NAME).replace(out / RUN_RECORD_NAME)
