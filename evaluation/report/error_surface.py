"""Signed surface errors of all cases on the template femur, averaged by arm and site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import joblib
import numpy as np
from numpy.typing import NDArray

from femur_nnunet.command_line import progress
from femur_nnunet.errors import FemurError
from femur_nnunet.evaluation.case_status import Outcome
from femur_nnunet.evaluation.case_table import CaseRow
from femur_nnunet.evaluation.fair_extent import common_distal_level
from femur_nnunet.evaluation.report.picture_sources import MaskLibrary, NoPictureError, PictureSources
from femur_nnunet.evaluation.report.surface_mapping import PlacedTemplate, place_template, values_on_template
from femur_nnunet.evaluation.report.template_femur import template_femur
from femur_nnunet.evaluation.surface_distance import border_voxels, nearest_mm

FloatArray = NDArray[np.float64]
_MARGIN_VOXELS = 1


@dataclass(frozen=True)
class MappedCase:
    """Errors of one hip on the template's vertices by arm; why not, where it could not be mapped."""

    case_id: str
    participant_id: str
    site: str
    errors_mm: Mapping[str, FloatArray]
    residual_mm: float = float("nan")
    reason: str = ""


@dataclass(frozen=True)
class MeanErrors:
    """The mean over participants on the template's vertices, NaN where fewer than half of the hips reach.

    Attributes
    ----------
    values_mm : ndarray
        Shape (vertices,).
    participants, hips : int
        How many went into it.
    """

    values_mm: FloatArray
    participants: int
    hips: int


def signed_errors_mm(reference: NDArray[np.bool_], prediction: NDArray[np.bool_],
                     spacing_mm_zyx: tuple[float, float, float]) -> tuple[FloatArray, FloatArray]:
    """Return positions (n, 3) of the reference's border, x, y, z in mm, and the signed error at each.

    The size of an error is the distance to the prediction's border, as in HD95 of the fair extent (both masks
    trimmed to a common distal level, the cut plane left out). It is positive where the border point lies inside the
    prediction: the prediction reaches beyond the reference there.
    """
    level = common_distal_level(reference, prediction, spacing_mm_zyx[0])
    below = level if level > 0 else 0
    trimmed = [mask[below:] for mask in (reference, prediction)]
    borders = [border_voxels(mask, open_bottom=True) for mask in trimmed]
    if not (borders[0].any() and borders[1].any()):
        raise NoPictureError("no border left above the common distal level")
    size_mm = nearest_mm(borders[0], borders[1], spacing_mm_zyx)
    inside = trimmed[1][borders[0]]
    index = np.argwhere(borders[0]) + np.array([below, 0, 0])
    return (index * np.asarray(spacing_mm_zyx))[:, ::-1], np.where(inside, size_mm, -size_mm)


def map_cases(rows: Sequence[CaseRow], sources: PictureSources, *, workers: int, quiet: bool) -> list[MappedCase]:
    """Map the errors of every measured row onto the template; the hips of one case share one fit."""
    by_hip: dict[tuple[str, int], list[CaseRow]] = {}
    for row in rows:
        if row.rule.outcome is Outcome.MEASURED:
            by_hip.setdefault((row.case_id, row.label or 1), []).append(row)
    library = MaskLibrary(sources)
    jobs = [(own, library) for own in by_hip.values()]
    parallel = joblib.Parallel(n_jobs=max(1, min(workers, len(jobs))), return_as="generator")
    found = parallel(joblib.delayed(map_hip)(*job) for job in jobs)
    return list(progress(found, description="surface errors", total=len(jobs), quiet=quiet))


def map_hip(rows: Sequence[CaseRow], library: MaskLibrary) -> MappedCase:
    """Map the errors of one hip in every arm; made to run in a worker process."""
    first, template = rows[0], template_femur()
    names = (first.case_id, first.participant_id or first.case_id, first.site or "")
    placed: PlacedTemplate | None = None
    errors: dict[str, FloatArray] = {}
    for row in rows:
        try:
            masks = library.read(row)
            if masks.prediction is None:
                continue
            box = _box(masks.reference | masks.prediction)
            reference, prediction = masks.reference[box], masks.prediction[box]
            border_mm, signed_mm = signed_errors_mm(reference, prediction, masks.spacing_mm_zyx)
            if placed is None:
                # The box differs from arm to arm: the fit is kept relative to the whole image.
                fitted = place_template(template, reference, border_mm, masks.spacing_mm_zyx)
                placed = PlacedTemplate(fitted.vertices_mm + _offset_mm(box, masks.spacing_mm_zyx), fitted.residual_mm)
            errors[row.arm] = values_on_template(placed, border_mm + _offset_mm(box, masks.spacing_mm_zyx), signed_mm)
        except NoPictureError as error:
            return MappedCase(*names, errors, reason=str(error))
        except FemurError as error:
            return MappedCase(*names, errors, reason=error.found)
    return MappedCase(*names, errors, placed.residual_mm if placed else float("nan"),
                      "" if placed else "no prediction to compare with")


def mean_errors(cases: Sequence[MappedCase], arm: str, site: str) -> MeanErrors | None:
    """Return the mean over participants, hips averaged first; None where no hip of the site was mapped."""
    by_person: dict[str, list[FloatArray]] = {}
    for case in cases:
        if case.site == site and arm in case.errors_mm:
            by_person.setdefault(case.participant_id, []).append(case.errors_mm[arm])
    if not by_person:
        return None
    hips = [errors for own in by_person.values() for errors in own]
    people = np.stack([_mean_known(np.stack(own)) for own in by_person.values()])
    reached = np.isfinite(np.stack(hips)).mean(axis=0) >= 0.5
    return MeanErrors(np.where(reached, _mean_known(people), np.nan), len(by_person), len(hips))


def _mean_known(values: FloatArray) -> FloatArray:
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=0)
    count = known.sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    box = []
    for axis in range(3):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        box.append(slice(max(int(used[0]) - _MARGIN_VOXELS, 0), int(used[-1]) + 1 + _MARGIN_VOXELS))
    return tuple(box)


def _offset_mm(box: tuple[slice, ...], spacing_mm_zyx: tuple[float, float, float]) -> FloatArray:
    return (np.array([part.start for part in box]) * np.asarray(spacing_mm_zyx))[::-1]
