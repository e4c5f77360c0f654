"""One manifest row to its cases: read, cut into hips, write into the staging folder."""

from __future__ import annotations

import shutil
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from femur_nnunet.calibration.phantoms import Phantom
from femur_nnunet.calibration.scan_calibration import CalibrationMode, ScanCalibration, calibrate_scan
from femur_nnunet.calibration.units import DensityCalibration, as_density_unit
from femur_nnunet.cohort import OLDEST_REPORTED_AGE_YEARS, Role, ScanRecord
from femur_nnunet.dataset_conversion.conversion_options import MaskLabels
from femur_nnunet.dataset_conversion.conversion_state import (
    STAGED_STATE_NAME,
    RowKey,
    RowState,
    case_files,
    read_state,
    row_fingerprint,
    state_path,
)
from femur_nnunet.dataset_conversion.hip_cases import HipCase, cut_into_cases
from femur_nnunet.dataset_conversion.manifest import ManifestRow
from femur_nnunet.dataset_conversion.mask_values import interpret_mask
from femur_nnunet.errors import FemurError, MachineError
from femur_nnunet.files import write_json
from femur_nnunet.machine_failures import raise_machine_failure
from femur_nnunet.volume_io import ReadingRules, Volume, read_mask, read_volume, voxel_hmac, write_nifti
from femur_nnunet.volume_io.orientation import best_axis_mapping
from femur_nnunet.volume_io.plausibility import refuse_what_is_no_hip_ct
from femur_nnunet.volume_io.reading_rules import STRICT

# What the notes of a row say of its density scale begins with this.
CALIBRATION_NOTE = "calibration: "


@dataclass(frozen=True)
class RowTask:
    """Everything that a worker needs to convert one row."""

    row: ManifestRow
    key: RowKey
    role: Role
    use_mask: bool
    secret: bytes
    dataset: Path
    staging: Path
    mask_labels: MaskLabels | None = None
    keep_unlabelled_hip: bool = False
    keep_bilateral: bool = False
    identifiable: bool = False
    calibrate: CalibrationMode = "auto"
    phantoms: tuple[Phantom, ...] = ()
    reading: ReadingRules = STRICT

    @property
    def staged(self) -> Path:
        """The row's own staging folder."""
        return self.staging / str(self.key)

    @property
    def sources(self) -> list[Path]:
        """The files and folders that are read."""
        return [self.row.image, *([self.row.mask] if self.use_mask and self.row.mask is not None else [])]

    @property
    def case_ids(self) -> list[str]:
        """Ids of the cases that the row may become."""
        return [self.key.case_id(side) for side in self.key.case_sides(keep_bilateral=self.keep_bilateral)]

    @property
    def subject(self) -> str:
        """How messages call the row: its place in the manifest and its case ids (``identifiable``: the image)."""
        names = [" and ".join(self.case_ids), *([str(self.row.image)] if self.identifiable else [])]
        return f"{self.row.label} ({', '.join(names)})"

    def facts(self) -> dict[str, object]:
        """Return what bears on the output beside the contents of the source files."""
        row = {name: value for name, value in asdict(self.row).items()
               if name not in ("source", "number", "participant", "image", "mask")}
        return {**row, "key": str(self.key), "role": self.role, "use_mask": self.use_mask,
                "mask_labels": self.mask_labels, "keep_unlabelled_hip": self.keep_unlabelled_hip,
                "keep_bilateral": self.keep_bilateral, "reading": asdict(self.reading),
                "calibrate": self.calibrate, "phantoms": [asdict(phantom) for phantom in self.phantoms]}


@dataclass(frozen=True)
class RowOutcome:
    """How one row ended; ``unchanged`` and converted rows have a state, failed ones an error."""

    task: RowTask
    state: RowState | None = None
    unchanged: bool = False
    error: FemurError | None = None


def convert_row(task: RowTask) -> RowOutcome:
    """Convert one row into its staging folder, unless its result is there already.

    The row's state file is written last. Any failure that the input can cause becomes the outcome's
    error, with the row as its subject. The readers quote neither names of files nor text of headers.
    """
    try:
        # Warnings of readers may quote file names and header values.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _convert_or_reuse(task)
    except FemurError as error:
        return RowOutcome(task, error=_unless_gone(error, task))
    except Exception as error:
        return RowOutcome(task, error=_unless_gone(_told(error, task), task))


def _told(error: Exception, task: RowTask) -> FemurError:
    """Return what to say of an error that no reader has put into words."""
    try:
        raise_machine_failure(error, task.subject)
    except MachineError as failure:
        return failure
    if isinstance(error, OSError):
        return FemurError(f"a failure of reading ({error.strerror or type(error).__name__})",
                          expected="readable sources", action="mend it and run the same command again",
                          subject=task.subject)
    # A defect, of ours or of a library that met a damaged file; the other rows must not pay for it.
    # Its text may quote the file: type and place say enough to mend it.
    return FemurError(f"a defect of this program ({type(error).__name__} at {_place(error)})",
                      expected="a scan that is converted or refused",
                      action="report the defect; the other rows are converted", subject=task.subject)


def _unless_gone(error: FemurError, task: RowTask) -> FemurError:
    """Return the error, unless the sources are no longer where they were when the table was read."""
    try:
        if all(source.exists() for source in task.sources):
            return error
    except OSError:  # a share that does not answer
        pass
    return MachineError("an image or a mask that was there when the table was read, and is gone",
                        expected="disks and shares that stay during the run", action="bring it back and run the same "
                        "command again", subject=task.subject)


def _place(error: Exception) -> str:
    """Return module and line of the innermost frame."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).stem}:{frame.lineno}"


def _convert_or_reuse(task: RowTask) -> RowOutcome:
    fingerprint = row_fingerprint(task.secret, task.facts(), task.sources)
    published = read_state(state_path(task.dataset, str(task.key)))
    if published is not None and published.fingerprint == fingerprint and published.is_complete_in(task.dataset):
        return RowOutcome(task, published, unchanged=True)
    staged = read_state(task.staged / STAGED_STATE_NAME)
    if staged is not None and staged.fingerprint == fingerprint and staged.is_complete_in(task.staged):
        return RowOutcome(task, staged)
    return RowOutcome(task, _convert(task, fingerprint))


def _convert(task: RowTask, fingerprint: str) -> RowState:
    volume = read_volume(task.row.image, subject=task.subject, rules=task.reading)
    refuse_what_is_no_hip_ct(volume, subject=task.subject)
    mask = None
    if task.use_mask and task.row.mask is not None:
        delivered = read_mask(task.row.mask, volume.grid, subject=task.subject, slices=volume.slices)
        mask = interpret_mask(delivered, task.row.side, task.mask_labels, subject=task.subject)
    cases, dropped = cut_into_cases(volume, task.row.side, mask, keep_unlabelled_hip=task.keep_unlabelled_hip,
                                    keep_bilateral=task.keep_bilateral, subject=task.subject)
    calibration = calibration_of(volume, task.row, task.calibrate, task.phantoms)
    source_hmac = voxel_hmac(task.secret, volume)
    try:
        shutil.rmtree(task.staged, ignore_errors=True)
        task.staged.mkdir(parents=True)
        records = [_record(task, volume, case, calibration, source_hmac) for case in cases]
        for record, case in zip(records, cases, strict=True):
            _write_case(task.staged, record, case, volume)
        outputs = {name: (task.staged / name).stat().st_size for record in records for name in case_files(record)}
        state = RowState(str(task.key), fingerprint, records, outputs, dropped,
                         [*volume.notes, *(CALIBRATION_NOTE + warning for warning in calibration.warnings)])
        state.write(task.staged / STAGED_STATE_NAME)
    except OSError as error:
        raise MachineError(f"a failure to write ({error.strerror or type(error).__name__})",
                             expected="room on the target's disk", action="mend it and run the same command again",
                             subject=task.subject) from None
    return state


def calibration_of(volume: Volume, row: ManifestRow, mode: CalibrationMode,
                   phantoms: Sequence[Phantom]) -> ScanCalibration:
    """Settle the density scale of a scan as read, with the values of its row (see :func:`calibrate_scan`)."""
    mapping = best_axis_mapping(volume.grid.direction_matrix)
    # A view: a second copy of the voxels is not needed to look at them.
    oriented = replace(volume, array=mapping.apply(volume.array), grid=mapping.apply_to_grid(volume.grid))
    unit = as_density_unit(row.density_unit)
    table = (None if unit is None or row.density_slope is None or row.density_intercept is None
             else DensityCalibration(unit, row.density_slope, row.density_intercept))
    return calibrate_scan(oriented, mode=mode, table=table, phantom_name=row.calibration_phantom, phantoms=phantoms)


def _write_case(folder: Path, record: ScanRecord, case: HipCase, volume: Volume) -> None:
    *label, geometry, image = (folder / name for name in case_files(record))
    for path in (*label, geometry, image):
        path.parent.mkdir(exist_ok=True)
    grid = case.geometry.case_grid
    if case.label is not None:
        write_nifti(label[0], case.label, grid)
    write_json(geometry, case.geometry.to_json())
    write_nifti(image, case.geometry.forward(volume.array), grid)


def _record(task: RowTask, volume: Volume, case: HipCase, scale: ScanCalibration, source_hmac: str) -> ScanRecord:
    row, tags, line = task.row, volume.tags, scale.calibration
    first_mm, second_mm, slice_mm = volume.grid.spacing_mm_ijk
    return ScanRecord(
        case_id=task.key.case_id(case.side), participant_id=f"sub-{task.key.participant_hash}", site=row.site,
        visit=row.visit, side=case.side, laterality_flipped=case.geometry.left_right_flipped,
        labelled=case.label is not None, role=task.role, sex=row.sex,
        age_years=None if row.age_years is None else min(row.age_years, float(OLDEST_REPORTED_AGE_YEARS)),
        source_format=volume.source_format, manufacturer=tags.manufacturer, model=tags.model, kvp=tags.kvp,
        kernel=tags.kernel, slice_spacing_mm=slice_mm, pixel_spacing_mm=max(first_mm, second_mm),
        gantry_tilt_deg=tags.gantry_tilt_deg, resampled=volume.slices is not None,
        calibration_phantom=row.calibration_phantom or scale.phantom,
        calibration_source=scale.source, calibration_r2=scale.r2, calibration_se_mg_cc=scale.se_mg_cc,
        density_unit=line.unit if line else None, density_slope=line.slope if line else None,
        density_intercept=line.intercept if line else None, source_hmac=source_hmac)
