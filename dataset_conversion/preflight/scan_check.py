"""All checks on one row of the table, in a worker process: one volume in memory, findings and thumbnails out."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.calibration.tissue import tissue_peaks
from femur_nnunet.dataset_conversion.case_conversion import RowTask, calibration_of
from femur_nnunet.dataset_conversion.hip_cases import HipCase, cut_into_cases
from femur_nnunet.dataset_conversion.mask_values import interpret_mask
from femur_nnunet.dataset_conversion.preflight import header_checks, image_checks, mask_checks
from femur_nnunet.dataset_conversion.preflight.findings import Finding, Verdict, go, look, stop, worst
from femur_nnunet.dataset_conversion.preflight.thumbnails import WINDOW_HU, Thumbnail, draw
from femur_nnunet.errors import FemurError
from femur_nnunet.volume_io import Volume, orient_to_lps, read_mask, read_volume, voxel_hmac
from femur_nnunet.volume_io.archives import on_disk
from femur_nnunet.volume_io.body import find_body
from femur_nnunet.volume_io.dicom_headers import SliceHeader, looks_like_dicom
from femur_nnunet.volume_io.dicom_pixels import read_hounsfield
from femur_nnunet.volume_io.dicom_series import inspect_folder
from femur_nnunet.volume_io.hip_search import HipsInView, find_hips
from femur_nnunet.volume_io.hips import BILATERAL_BODY_WIDTH_MM, LEFT_LABEL, RIGHT_LABEL
from femur_nnunet.volume_io.image_files import image_suffix
from femur_nnunet.volume_io.plausibility import refuse_what_is_no_hip_ct


@dataclass
class ScanReport:
    """What preflight found of one row.

    Attributes
    ----------
    source, number : str, int
        The table and its row.
    site : str
        Site.
    case_ids : list of str
        Cases that the row may become.
    visit_key : str
        Site, participant and visit, as a keyed hash.
    facts : dict
        A few words on the scan for the page.
    findings : list of Finding
        In the order of the checks.
    thumbnails : list of Thumbnail
        Pictures.
    hmac : str or None
        Keyed hash of the voxels.
    """

    source: str
    number: int
    site: str
    case_ids: list[str]
    visit_key: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    thumbnails: list[Thumbnail] = field(default_factory=list)
    hmac: str | None = None

    @property
    def verdict(self) -> Verdict:
        """The worst of the findings."""
        return worst(self.findings)


def check_row(task: RowTask) -> ScanReport:
    """Check one row; whatever the input causes becomes a finding."""
    report = ScanReport(task.row.source, task.row.number, task.row.site, task.case_ids, task.key.visit_key)
    # Warnings of readers may quote file names and header values.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        planes: list[SliceHeader] = []
        try:
            with on_disk(task.row.image) as source:
                planes = _check_headers(source, report)
                _check_voxels(task, source, report)
        except FemurError as error:
            _add_refusal(report, "reading", error)
            if planes and not report.thumbnails:
                _draw_middle_plane(planes, report)
        except OSError as error:
            report.findings.append(stop("reading", f"a failure of reading ({error.strerror or type(error).__name__})",
                                        "check permissions and the disk"))
        except MemoryError:
            report.findings.append(stop("reading", "too little memory for this scan", "run with fewer --jobs"))
        except Exception as error:
            # A defect, of ours or of a library that met a damaged file; the other rows must not pay for it.
            report.findings.append(stop("reading", f"a defect of this program ({type(error).__name__})",
                                        "report the defect; the other rows are checked"))
    return report


def _check_headers(source: Path, report: ScanReport) -> list[SliceHeader]:
    """Check DICOM headers; other formats have none."""
    if not source.is_dir() and (not source.is_file() or image_suffix(source) is not None
                                or not looks_like_dicom(source)):
        report.findings.append(go("modality", "no DICOM header: modality, rescale and tilt are not checked"))
        return []
    content = inspect_folder(source)
    report.findings += [header_checks.check_modality(content), header_checks.check_series(content)]
    planes = header_checks.largest_series(content)
    if planes:
        report.findings += [check(planes) for check in header_checks.HEADER_CHECKS]
        tags = planes[0].tags
        report.facts.update({"scanner": " ".join(text for text in (tags.manufacturer, tags.model) if text),
                             "tube": f"{tags.kvp:g} kVp" if tags.kvp else "", "kernel": tags.kernel or ""})
    return planes


def _check_voxels(task: RowTask, source: Path, report: ScanReport) -> None:
    volume = read_volume(source, rules=task.reading)
    refuse_what_is_no_hip_ct(volume)
    report.findings.append(look("reading", "; ".join(volume.notes), "see whether the reader's remark is harmless")
                           if any("lossy" in note for note in volume.notes)
                           else go("reading", "; ".join(volume.notes)))
    report.hmac = voxel_hmac(task.secret, volume)
    mask = _read_mask(task, volume, report)
    oriented, mapping = orient_to_lps(volume)
    mask_lps = None if mask is None else mapping.apply(mask)
    report.facts["voxels"] = " x ".join(map(str, oriented.grid.size_ijk))
    report.facts["spacing"] = " x ".join(f"{value:.3g}" for value in oriented.grid.spacing_mm_ijk) + " mm"
    hips = _check_image(task, oriented, report)
    _draw_planes(oriented, mask_lps, hips, report)
    del oriented, mask_lps
    report.findings.append(image_checks.check_calibration(calibration_of(volume, task.row, task.calibrate,
                                                                         task.phantoms)))
    _check_cases(task, volume, mask, report)


def _check_image(task: RowTask, oriented: Volume, report: ScanReport) -> HipsInView:
    body = find_body(oriented)
    midline = body.midline_x if body.width_mm >= BILATERAL_BODY_WIDTH_MM else None
    hips = find_hips(oriented, midline)
    report.findings += [
        image_checks.check_voxel_spacing(oriented.grid), image_checks.check_grid_orientation(oriented.grid),
        image_checks.check_hounsfield(tissue_peaks(oriented)), image_checks.check_hip_in_view(hips),
        image_checks.check_field_of_view(hips, task.row.side), image_checks.check_laterality(hips, task.row.side),
        image_checks.check_metal(oriented, midline)]
    return hips


def _read_mask(task: RowTask, volume: Volume, report: ScanReport) -> NDArray[np.uint8] | None:
    """Return the interpreted mask, also that of an unlabelled site: it serves the test scans."""
    if task.row.mask is None:
        report.findings.append(go("mask", "no mask: unlabelled"))
        return None
    try:
        delivered = read_mask(task.row.mask, volume.grid, slices=volume.slices)
        return interpret_mask(delivered, task.row.side, task.mask_labels)
    except FemurError as error:
        _add_refusal(report, "mask", error)
        return None


def _check_cases(task: RowTask, volume: Volume, mask: NDArray[np.uint8] | None, report: ScanReport) -> None:
    """Cut the scan as the conversion does, which refuses masks on the wrong side, and check each hip's mask."""
    try:
        cases, dropped = cut_into_cases(volume, task.row.side, mask, keep_unlabelled_hip=task.keep_unlabelled_hip)
        if task.keep_bilateral:
            # The whole scan is one case and falls with either hip; each hip's mask is checked by itself all the same.
            _, dropped = cut_into_cases(volume, task.row.side, mask, keep_unlabelled_hip=task.keep_unlabelled_hip,
                                        keep_bilateral=True)
    except FemurError as error:
        _add_refusal(report, "mask" if mask is not None else "laterality", error)
        return
    if mask is None:
        return
    remark = "; ".join(f"{side}: {reason}" for side, reason in dropped.items())
    report.findings.append(look("mask", remark, "draw the missing hip, or give the side that was drawn") if remark
                           else go("mask", "on the image's grid"))
    drawn = [case for case in cases if case.label is not None]
    findings: dict[str, list[tuple[str, Finding]]] = {}
    for case in drawn:
        for finding in _check_hip_mask(case, volume):
            findings.setdefault(finding.check, []).append((case.side, finding))
    report.findings += [mask_checks.combine(check, by_side) for check, by_side in findings.items()]


def _check_hip_mask(case: HipCase, volume: Volume) -> list[Finding]:
    assert case.label is not None  # the caller leaves hips without a mask out
    femur = case.label > 0
    spacing_zyx = case.geometry.case_grid.spacing_mm_ijk[::-1]
    box = tuple(slice(max(0, int(found.min()) - 1), int(found.max()) + 2) for found in np.nonzero(femur))
    small = femur[box]
    return [mask_checks.check_mask_components(small, spacing_zyx), mask_checks.check_mask_volume(small, spacing_zyx),
            mask_checks.check_mask_holes(small, spacing_zyx),
            mask_checks.check_mask_on_bone(small, case.geometry.forward(volume.array)[box], spacing_zyx),
            mask_checks.check_mask_extent(femur)]


def _add_refusal(report: ScanReport, check: str, error: FemurError) -> None:
    """Add what the conversion would refuse, unless a check has told it already."""
    if check == "reading" and any(finding.verdict == Verdict.STOP for finding in report.findings):
        return
    report.findings.append(stop(check, f"{error.found}; expected {error.expected}", error.action))


def _draw_planes(oriented: Volume, mask_lps: NDArray[np.uint8] | None, hips: HipsInView, report: ScanReport) -> None:
    """Draw an axial and a coronal plane through the masks, else the joints, else the middle."""
    spacing_x, spacing_y, spacing_z = oriented.grid.spacing_mm_ijk
    level, row = oriented.array.shape[0] // 2, oriented.array.shape[1] // 2
    joints = [hip for hip in (hips.left, hips.right) if hip is not None and hip.joint_level_mm is not None]
    if joints:
        level = round(float(np.mean([hip.joint_level_mm for hip in joints if hip.joint_level_mm is not None]))
                      / spacing_z)
        row = round(float(np.mean([hip.joint_y_mm for hip in joints if hip.joint_y_mm is not None])) / spacing_y)
    if mask_lps is not None and mask_lps.any():
        level = int(np.argmax(np.count_nonzero(mask_lps, axis=(1, 2))))
        row = int(np.argmax(np.count_nonzero(mask_lps, axis=(0, 2))))
    level, row = min(level, oriented.array.shape[0] - 1), min(row, oriented.array.shape[1] - 1)
    shown = None if mask_lps is None else np.where(mask_lps > RIGHT_LABEL, LEFT_LABEL, mask_lps)
    report.thumbnails = [
        draw(oriented.array[level], (spacing_y, spacing_x), "axial", None if shown is None else shown[level]),
        draw(oriented.array[::-1, row], (spacing_z, spacing_x), "coronal",
             None if shown is None else shown[::-1, row])]


def _draw_middle_plane(planes: list[SliceHeader], report: ScanReport) -> None:
    """Draw one slice of a series that makes no volume; without a picture if it cannot be decoded or is blank."""
    plane = planes[len(planes) // 2]
    spacing = plane.pixel_spacing_mm or (1.0, 1.0)
    if plane.slope is None or plane.intercept is None or min(spacing) <= 0:
        return
    try:
        array, _ = read_hounsfield([plane])
    except FemurError:
        return
    if array[0].min() == array[0].max() or array[0].max() <= WINDOW_HU[0]:
        return  # a black square tells nothing
    report.thumbnails = [draw(array[0], (float(spacing[0]), float(spacing[1])), "one slice as stored")]
