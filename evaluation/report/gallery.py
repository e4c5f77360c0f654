"""The worst cases first: which hips are shown, and through which point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.evaluation.case_status import Outcome
from femur_nnunet.evaluation.case_table import CaseRow
from femur_nnunet.evaluation.report.figures.case_planes import draw_case
from femur_nnunet.evaluation.report.figures.inline_svg import Picture
from femur_nnunet.evaluation.report.picture_sources import CaseMasks, MaskLibrary, NoPictureError, PictureSources
from femur_nnunet.evaluation.report.wording import figure_text, site_title
from femur_nnunet.evaluation.surface_distance import border_voxels, nearest_mm

MOST_CASES, LEAST_CASES_AN_ARM = 9, 3


@dataclass(frozen=True)
class GalleryCase:
    """One case of the gallery; without a picture ``note`` says why.

    Attributes
    ----------
    title, facts : str
        Headline, and its measures in words.
    picture : Picture or None
        Three planes.
    note : str
        What is to be known beside.
    """

    title: str
    facts: str
    picture: Picture | None
    note: str = ""


def worst_rows(rows: Sequence[CaseRow], arms: Sequence[str]) -> list[CaseRow]:
    """Return the worst rows of every arm: missed femora and false alarms first, then by HD95."""
    each = max(LEAST_CASES_AN_ARM, MOST_CASES // max(len(arms), 1))
    chosen: list[CaseRow] = []
    for arm in arms:
        own = [row for row in rows if row.arm == arm and row.rule.outcome is not Outcome.NOTHING]
        chosen += sorted(own, key=_how_bad)[:each]
    return chosen


def make_gallery(rows: Sequence[CaseRow], arms: Sequence[str], sources: PictureSources) -> list[GalleryCase]:
    """Draw the worst rows; a mask that is gone or was changed since leaves its case without a picture."""
    library = MaskLibrary(sources)
    cases = []
    for number, row in enumerate(worst_rows(rows, arms), start=1):
        title = f"{row.case_id}, {site_title(row.site or 'unknown site')}" + (f", {row.arm}" if len(arms) > 1 else "")
        title += f", {row.side} hip" if row.label == 2 or row.case_id.endswith("_b") else ""
        try:
            masks = library.read(row, with_image=sources.images is not None)
            drawn = draw_case(f"case-{number}", masks, focus_voxel(masks),
                              alt=f"Three planes of {title}: {_facts(row)}.")
            cases.append(GalleryCase(title, _facts(row), drawn, _note(masks, sources)))
        except NoPictureError as error:
            cases.append(GalleryCase(title, _facts(row), None, f"no picture: {error}"))
    return cases


def focus_voxel(masks: CaseMasks) -> tuple[int, int, int]:
    """Return the border voxel of the largest distance, of the reference's middle where there is no prediction."""
    if masks.prediction is None or not masks.reference.any():
        shown = masks.reference if masks.reference.any() else masks.prediction
        if shown is None or not shown.any():
            raise NoPictureError("both masks are empty")
        middle = [int(value) for value in np.argwhere(shown).mean(axis=0).round()]
        return middle[0], middle[1], middle[2]
    borders = [border_voxels(masks.reference), border_voxels(masks.prediction)]
    farthest: tuple[float, NDArray[np.intp]] = (-1.0, np.zeros(3, dtype=np.intp))
    for own, other in ((borders[0], borders[1]), (borders[1], borders[0])):
        distance_mm = nearest_mm(own, other, masks.spacing_mm_zyx)
        if distance_mm.max() > farthest[0]:
            farthest = float(distance_mm.max()), np.argwhere(own)[int(distance_mm.argmax())]
    z, y, x = (int(value) for value in farthest[1])
    return z, y, x


def _how_bad(row: CaseRow) -> tuple[float, ...]:
    hd95 = row.metrics["hd95_mm"]
    # No distance at all is worse than any.
    return (0.0 if math.isnan(hd95) else 1.0, 0.0 if math.isnan(hd95) else -hd95, row.metrics["dice"])


def _facts(row: CaseRow) -> str:
    if row.rule.outcome is not Outcome.MEASURED:
        return f"{row.status.value.replace('_', ' ')}: {row.detail}"
    volume = row.metrics["volume_pred_ml"] - row.metrics["volume_ref_ml"]
    return (f"HD95 {figure_text(row.metrics['hd95_mm'], 1)} mm, HD {figure_text(row.metrics['hd_mm'], 1)} mm, "
            f"Dice {figure_text(row.metrics['dice'], 3)}, volume {figure_text(volume, 1, signed=True)} ml")


def _note(masks: CaseMasks, sources: PictureSources) -> str:
    if sources.images is not None and masks.image is None:
        return "the scan is not there or lies on another grid: masks alone"
    return ""
