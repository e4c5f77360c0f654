"""The cohort table scans.tsv: one row a case, one dataclass and one reader and writer for everybody."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from femur_nnunet.case_ids import parse_case_id
from femur_nnunet.errors import FemurError
from femur_nnunet.files import write_json, write_text

SCANS_TABLE_NAME = "scans.tsv"
PARTICIPANTS_TABLE_NAME = "participants.tsv"
MISSING = "n/a"
OLDEST_REPORTED_AGE_YEARS = 89

Side = Literal["left", "right", "both"]
Role = Literal["train", "test"]


@dataclass(frozen=True)
class ScanRecord:
    """One case: a hip of a scan (or, with side ``both``, a whole scan).

    ``None`` and NaN are written as ``n/a``. ``rho = density_slope * HU + density_intercept`` in mg/cc
    of ``density_unit``. ``age_years`` of 89 and over is stored as 89 (participants.tsv says ``89+``).

    Raises
    ------
    FemurError
        Site, participant, visit or side differ from what the case id says.
    """

    case_id: str
    participant_id: str
    site: str
    visit: int
    side: Side
    laterality_flipped: bool
    labelled: bool
    role: Role
    sex: str | None = None
    age_years: float | None = None
    source_format: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    kvp: float | None = None
    kernel: str | None = None
    slice_spacing_mm: float | None = None
    pixel_spacing_mm: float | None = None
    gantry_tilt_deg: float | None = None
    resampled: bool = False
    calibration_phantom: str | None = None
    calibration_source: str | None = None
    calibration_r2: float | None = None
    calibration_se_mg_cc: float | None = None
    density_unit: str | None = None
    density_slope: float | None = None
    density_intercept: float | None = None
    source_hmac: str | None = None

    def __post_init__(self) -> None:
        parts = parse_case_id(self.case_id)
        for name, own, of_id in (("site", self.site, parts.site), ("side", self.side, parts.side),
                                 ("visit", self.visit, parts.visit),
                                 ("participant_id", self.participant_id, parts.participant_id)):
            if own != of_id:
                raise FemurError(f"{name} {own!r} beside a case id that says {of_id!r}",
                                 expected="columns that agree with the case id",
                                 action="restore the table that convert_qct_sites wrote",
                                 subject=f"case {self.case_id}")


SCAN_COLUMNS: tuple[str, ...] = tuple(item.name for item in fields(ScanRecord))
_BOOLEAN_COLUMNS = {"laterality_flipped", "labelled", "resampled"}
_INTEGER_COLUMNS = {"visit"}
_FLOAT_COLUMNS = {"age_years", "kvp", "slice_spacing_mm", "pixel_spacing_mm", "gantry_tilt_deg", "calibration_r2",
                  "calibration_se_mg_cc", "density_slope", "density_intercept"}
_LEVELS: dict[str, tuple[str, ...]] = {"side": ("left", "right", "both"), "role": ("train", "test"),
                                       "sex": ("F", "M"), "density_unit": ("K2HPO4", "HA")}
_NEVER_MISSING = ("case_id", "participant_id", "site", "visit", "side", "laterality_flipped", "labelled", "role")

COLUMN_DESCRIPTIONS: dict[str, dict[str, Any]] = {
    "case_id": {"Description": "Case: site, keyed hash of the participant, visit, side"},
    "participant_id": {"Description": "sub- and the keyed hash of the participant"},
    "site": {"Description": "Short name of the hospital"},
    "visit": {"Description": "Number of the visit, from 1"},
    "side": {"Description": "Hip shown", "Levels": {"left": "", "right": "", "both": "a whole scan"}},
    "laterality_flipped": {"Description": "The content was flipped left-right so that it looks like a left hip"},
    "labelled": {"Description": "A mask of this case is part of the dataset"},
    "role": {"Description": "Locked role", "Levels": {"train": "training and validation", "test": "locked test"}},
    "sex": {"Description": "Sex", "Levels": {"F": "female", "M": "male"}},
    "age_years": {"Description": "Age at the visit; 89 stands for 89 and over", "Units": "years"},
    "source_format": {"Description": "File format of the source image"},
    "manufacturer": {"Description": "Manufacturer of the scanner"},
    "model": {"Description": "Model of the scanner"},
    "kvp": {"Description": "Tube voltage", "Units": "kV"},
    "kernel": {"Description": "Reconstruction kernel"},
    "slice_spacing_mm": {"Description": "Distance of slices, from their positions", "Units": "mm"},
    "pixel_spacing_mm": {"Description": "Larger of the two in-plane spacings", "Units": "mm"},
    "gantry_tilt_deg": {"Description": "Gantry tilt", "Units": "degree"},
    "resampled": {"Description": "Slices were resampled to even spacing"},
    "calibration_phantom": {"Description": "Density phantom in the scan"},
    "calibration_source": {"Description": "Where slope and intercept come from"},
    "calibration_r2": {"Description": "R2 of the calibration fit"},
    "calibration_se_mg_cc": {"Description": "Standard error of the calibration fit", "Units": "mg/cc"},
    "density_unit": {"Description": "Material that density is expressed in",
                     "Levels": {"K2HPO4": "dipotassium phosphate", "HA": "hydroxyapatite"}},
    "density_slope": {"Description": "rho = slope * HU + intercept", "Units": "mg/cc/HU"},
    "density_intercept": {"Description": "rho = slope * HU + intercept", "Units": "mg/cc"},
    "source_hmac": {"Description": "Keyed hash of the source image's voxels"},
}


def write_scans_table(path: Path, records: Iterable[ScanRecord]) -> None:
    """Write scans.tsv sorted by case id, and the JSON sidecar with units and levels beside it."""
    ordered = sorted(records, key=lambda record: record.case_id)
    rows = [{name: _to_text(getattr(record, name)) for name in SCAN_COLUMNS} for record in ordered]
    write_text(path, _tsv(SCAN_COLUMNS, rows))
    write_json(path.with_suffix(".json"), {name: COLUMN_DESCRIPTIONS[name] for name in SCAN_COLUMNS})


def read_scans_table(path: Path) -> list[ScanRecord]:
    """Read scans.tsv.

    Columns that this version does not know are ignored; optional columns may lack.

    Raises
    ------
    FemurError
        The file is missing, lacks a column that every case needs, names a case twice, or holds a
        value that its column does not allow.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FemurError(f"no readable table ({error})", expected="the scans.tsv that convert_qct_sites writes",
                         action="run convert_qct_sites, or name the right file", subject=str(path)) from None
    reader = csv.DictReader(io.StringIO(text), delimiter="\t")
    lacking = [name for name in _NEVER_MISSING if name not in (reader.fieldnames or ())]
    if lacking:
        raise FemurError(f"no column {', '.join(lacking)}", expected=f"the columns {', '.join(_NEVER_MISSING)}",
                         action="restore the table that convert_qct_sites wrote", subject=str(path))
    records: dict[str, ScanRecord] = {}
    for line, row in enumerate(reader, start=2):
        record = _record_from_row(row, subject=f"{path.name} line {line}")
        if record.case_id in records:
            raise FemurError(f"case {record.case_id} twice", expected="one row a case",
                             action="remove the second row", subject=f"{path.name} line {line}")
        records[record.case_id] = record
    return list(records.values())


def write_participants_table(path: Path, records: Iterable[ScanRecord]) -> None:
    """Write participants.tsv in the form of BIDS: one row a participant, ages of 89 and over as ``89+``."""
    rows: dict[str, dict[str, str]] = {}
    for record in sorted(records, key=lambda item: (item.participant_id, item.visit)):
        age = record.age_years
        reported = (f"{OLDEST_REPORTED_AGE_YEARS}+" if age is not None and age >= OLDEST_REPORTED_AGE_YEARS
                    else _to_text(age))
        rows.setdefault(record.participant_id, {"participant_id": record.participant_id, "site": record.site,
                                                "sex": _to_text(record.sex), "age": reported,
                                                "role": record.role})
    columns = ("participant_id", "site", "sex", "age", "role")
    write_text(path, _tsv(columns, list(rows.values())))
    write_json(path.with_suffix(".json"), {
        "participant_id": COLUMN_DESCRIPTIONS["participant_id"], "site": COLUMN_DESCRIPTIONS["site"],
        "sex": COLUMN_DESCRIPTIONS["sex"],
        "age": {"Description": "Age at the first visit; 89+ for 89 and over", "Units": "years"},
        "role": COLUMN_DESCRIPTIONS["role"]})


def _record_from_row(row: dict[str, str], *, subject: str) -> ScanRecord:
    values: dict[str, Any] = {}
    for name in SCAN_COLUMNS:
        text = (row.get(name) or "").strip()
        if text in ("", MISSING):
            if name in _NEVER_MISSING:
                raise FemurError(f"nothing in column {name}", expected="a value in every row",
                                 action="restore the table that convert_qct_sites wrote", subject=subject)
            continue
        values[name] = _from_text(name, text, subject=subject)
    return ScanRecord(**values)


def _from_text(name: str, text: str, *, subject: str) -> Any:
    action = "correct the value"
    if name in _BOOLEAN_COLUMNS:
        if text not in ("true", "false"):
            raise FemurError(f"{text!r} in column {name}", expected="true or false", action=action, subject=subject)
        return text == "true"
    if name in _LEVELS and text not in _LEVELS[name]:
        raise FemurError(f"{text!r} in column {name}", expected=f"one of {', '.join(_LEVELS[name])}",
                         action=action, subject=subject)
    if name in _INTEGER_COLUMNS or name in _FLOAT_COLUMNS:
        try:
            return int(text) if name in _INTEGER_COLUMNS else float(text)
        except ValueError:
            raise FemurError(f"{text!r} in column {name}", expected="a number", action=action,
                             subject=subject) from None
    return text


def _to_text(value: Any) -> str:
    if value is None or value != value:  # NaN is the one value that differs from itself
        return MISSING
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    # A tab or a line break inside a header string would tear the table apart.
    return " ".join(str(value).split()) or MISSING


def _tsv(columns: Sequence[str], rows: Sequence[dict[str, str]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=columns, delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
