"""Finding the one CT series in a folder and saying what was left aside."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from femur_nnunet.errors import FemurError
from femur_nnunet.machine_failures import raise_machine_failure
from femur_nnunet.volume_io.dicom_geometry import SeriesGeometry, check_geometry
from femur_nnunet.volume_io.dicom_headers import PARSE_ERRORS, SliceHeader, looks_like_dicom, read_dicom_file
from femur_nnunet.volume_io.dicom_pixels import read_hounsfield
from femur_nnunet.volume_io.reading_rules import STRICT, ReadingRules
from femur_nnunet.volume_io.volume import AcquisitionTags, Volume

MINIMUM_SLICES = 3
# An axial series has its normal within 45 degrees of the body's long axis.
_AXIAL_COSINE = float(np.cos(np.pi / 4))


@dataclass
class FolderContent:
    """The CT planes of a folder by series, and counts of everything else.

    Attributes
    ----------
    series : dict
        Series UID to its planes, in the order found. UIDs never leave this module.
    skipped : Counter
        Reason to number of files.
    modalities : Counter
        Modality to number of files, of the files that are no CT.
    n_foreign, n_broken : int
        Files that are no DICOM, and DICOM files that cannot be read.
    """

    series: dict[str, list[SliceHeader]] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    modalities: Counter[str] = field(default_factory=Counter)
    n_foreign: int = 0
    n_broken: int = 0


def read_dicom_series(path: Path, *, subject: str = "", rules: ReadingRules = STRICT) -> Volume:
    """Read the CT series of a folder, or of one multi-frame file.

    Parameters
    ----------
    path : Path
        A folder, searched to any depth, or a DICOM file.
    subject : str, optional
        What errors are about.
    rules : ReadingRules, optional
        Whether uneven spacing and gantry tilt are mended or refused.

    Returns
    -------
    Volume
        HU on the grid that the slice positions give; k runs along the slices' normal.

    Raises
    ------
    FemurError
        No single sound CT series; the reason is in the message, without any name.
    """
    content = inspect_folder(path, subject=subject)
    geometry, notes = _geometry(content, subject, rules)
    array, pixel_notes = read_hounsfield(geometry.planes, subject=subject)
    if geometry.slices is not None:
        array = geometry.slices.resample_linear(array)
    tags, tag_notes = _common_tags(geometry)
    if geometry.shear_deg is not None and not tags.gantry_tilt_deg:
        tags = replace(tags, gantry_tilt_deg=geometry.shear_deg)
    return Volume(array=array, grid=geometry.grid, tags=tags, source_format="dicom",
                  notes=_skip_notes(content) + notes + geometry.notes + pixel_notes + tag_notes,
                  slices=geometry.slices)


def series_geometry(path: Path, *, subject: str = "", rules: ReadingRules = STRICT) -> SeriesGeometry:
    """Return grid and planes of the series that :func:`read_dicom_series` reads, in the order of its k axis.

    Raises
    ------
    FemurError
        As :func:`read_dicom_series`.
    """
    return _geometry(inspect_folder(path, subject=subject), subject, rules)[0]


def _geometry(content: FolderContent, subject: str, rules: ReadingRules) -> tuple[SeriesGeometry, list[str]]:
    _refuse_unusable(content, subject)
    planes, notes = _choose_series(content, subject)
    return check_geometry(planes, subject=subject, rules=rules), notes


def inspect_folder(path: Path, *, subject: str = "") -> FolderContent:
    """Read every DICOM header under a folder, in the order of the sorted paths.

    Raises
    ------
    MachineError
        The disk or the share failed, of which nothing is concluded.
    """
    content = FolderContent()
    for file in _files_under(path):
        try:
            # macOS puts a companion "._name.dcm" beside every file on foreign disks.
            if file.name.startswith("._") or not looks_like_dicom(file):
                content.n_foreign += 1
                continue
            found = read_dicom_file(file)
        except PARSE_ERRORS as error:
            raise_machine_failure(error, subject)
            content.n_broken += 1
            continue
        if found.skipped_as == "other modality":
            content.modalities[found.modality] += 1
        elif found.skipped_as is not None:
            content.skipped[found.skipped_as] += 1
        for plane in found.planes:
            content.series.setdefault(plane.series_uid, []).append(plane)
    return content


def _files_under(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(Path(folder) / name for folder, _, names in os.walk(path) for name in names)


def _refuse_unusable(content: FolderContent, subject: str) -> None:
    if content.n_broken:
        raise FemurError(f"{content.n_broken} damaged or truncated DICOM file(s)",
                         expected="a series whose files can all be read, since a lost slice shortens the scan",
                         action="copy or export the series again", subject=subject)
    if content.series:
        return
    others = [f"{count} file(s) of modality {name}" for name, count in sorted(content.modalities.items())]
    others += [f"{count} {reason} file(s)" for reason, count in sorted(content.skipped.items())]
    raise FemurError(", ".join(others) if others else "no DICOM file", expected="a series of modality CT",
                     action="give the folder of the reconstructed CT series", subject=subject)


def _choose_series(content: FolderContent, subject: str) -> tuple[list[SliceHeader], list[str]]:
    """Return the axial series with most slices and what to say of the others."""
    patients = {plane.patient for planes in content.series.values() for plane in planes} - {""}
    if len(patients) > 1:
        raise FemurError(f"CT slices of {len(patients)} patients (PatientID) in one folder", expected="one patient",
                         action="keep the files of the row's participant alone in the folder", subject=subject)
    axial = [planes for planes in content.series.values() if _is_axial(planes)]
    if not axial:
        raise FemurError(f"{len(content.series)} CT series, none of them axial", expected="an axial CT series",
                         action="export the original axial reconstruction", subject=subject)
    largest = max(len(planes) for planes in axial)
    chosen = [planes for planes in axial if len(planes) == largest]
    if len(chosen) > 1:
        raise FemurError(f"{len(chosen)} axial CT series of {largest} slices each", expected="one series a folder, "
                         "or one with more slices than the others", action="keep the series to be used alone in "
                         "the folder", subject=subject)
    if largest < MINIMUM_SLICES:
        raise FemurError(f"{largest} slice(s)", expected=f"at least {MINIMUM_SLICES} slices",
                         action="export the whole series", subject=subject)
    others = sorted(((len(planes), _is_axial(planes)) for planes in content.series.values()
                     if planes is not chosen[0]), reverse=True)
    return chosen[0], [f"another {'axial' if is_axial else 'non-axial'} CT series of {count} slice(s) in the "
                       "folder was not used" for count, is_axial in others]


def _is_axial(planes: list[SliceHeader]) -> bool:
    """Whether a series is axial; planes without orientation count as axial, for the geometry checks to refuse."""
    orientations = [plane.orientation for plane in planes if plane.orientation is not None]
    if not orientations:
        return True
    cosines = np.median(np.asarray(orientations), axis=0)
    return bool(abs(np.cross(cosines[:3], cosines[3:])[2]) >= _AXIAL_COSINE)


def _skip_notes(content: FolderContent) -> list[str]:
    notes = [f"{count} {reason} file(s) skipped" for reason, count in sorted(content.skipped.items())]
    notes += [f"{count} file(s) of modality {name} skipped" for name, count in sorted(content.modalities.items())]
    if content.n_foreign:
        notes.append(f"{content.n_foreign} file(s) that are no DICOM skipped")
    return notes


def _common_tags(geometry: SeriesGeometry) -> tuple[AcquisitionTags, list[str]]:
    """Return the acquisition tags that all slices share; one that differs among them is left out with a note."""
    notes = []
    common: dict[str, str | float | None] = {}
    for name in AcquisitionTags.__dataclass_fields__:
        values = {getattr(plane.tags, name) for plane in geometry.planes}
        if len(values) > 1:
            notes.append(f"{name} differs among the slices ({len(values)} values) and was left out")
        common[name] = values.pop() if len(values) == 1 else None
    return AcquisitionTags(**common), notes  # type: ignore[arg-type]
