"""Whether keeping the largest component and filling holes helps, measured on the folds' validation predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.case_ids import parse_case_id
from femur_nnunet.command_line import get_logger, progress
from femur_nnunet.drivers.packing.training_facts import LABELS_FOLDER
from femur_nnunet.errors import FemurError
from femur_nnunet.evaluation.bootstrap import DEFAULT_RESAMPLES, mean_interval, seeded
from femur_nnunet.evaluation.overlap import count_overlap
from femur_nnunet.model_bundle.manifest import Evidence, Postprocessing, PostprocessingStep
from femur_nnunet.segmentation.mask_cleaning import clean_mask
from femur_nnunet.volume_io.image_files import read_raw_image

VALIDATION_FOLDER = "validation"
_SEED = 1
# Dice by step, as (largest component, holes filled).
Scores = dict[tuple[bool, bool], float]

_logger = get_logger(__name__)


def validated_postprocessing(folder: Path, folds: Sequence[str], labels: Path | None, femur_values: Sequence[int],
                             *, file_ending: str = ".nii.gz", quiet: bool = False) -> Postprocessing:
    """Decide on postprocessing by the validation predictions that nnU-Net left in each fold.

    The largest component is kept unless that lowers the mean Dice over participants; holes are filled, with the former
    choice in place, where that raises it. Without predictions or labels the defaults hold, without evidence.

    Parameters
    ----------
    folder : Path
        The trained folder.
    folds : sequence of str
        The folds that are packed.
    labels : Path, optional
        The dataset's folder in nnUNet_preprocessed, whose gt_segmentations are compared with.
    femur_values : sequence of int
        Label values of femora.
    file_ending : str
        Of the predictions.
    quiet : bool
        No progress bar.

    Raises
    ------
    FemurError
        A prediction or label cannot be read, or the two have different shapes.
    """
    pairs = _pairs(folder, folds, labels, file_ending)
    if not pairs:
        _logger.info("no validation predictions with labels: postprocessing has its defaults, not validated")
        return Postprocessing()
    scores = [(_participant(prediction.name.removesuffix(file_ending)), score)
              for prediction, label in progress(pairs, description="validation predictions", quiet=quiet)
              for score in _case_scores(prediction, label, femur_values)]
    if not scores:
        return Postprocessing()
    component = _evidence(scores, (False, False), (True, False))
    keep = component.difference >= 0
    holes = _evidence(scores, (keep, False), (keep, True))
    return Postprocessing(PostprocessingStep(keep, component), PostprocessingStep(holes.difference > 0, holes))


def _pairs(folder: Path, folds: Sequence[str], labels: Path | None, file_ending: str) -> list[tuple[Path, Path]]:
    if labels is None:
        return []
    return [(prediction, label) for fold in folds
            for prediction in sorted((folder / f"fold_{fold}" / VALIDATION_FOLDER).glob(f"*{file_ending}"))
            if (label := labels / LABELS_FOLDER / prediction.name).is_file()]


def _case_scores(prediction: Path, label: Path, femur_values: Sequence[int]) -> Iterator[Scores]:
    """Yield the Dice of each femur that is in either mask, with and without the steps."""
    predicted, grid, _ = read_raw_image(prediction)
    reference, reference_grid, _ = read_raw_image(label)
    if grid.size_ijk != reference_grid.size_ijk:
        raise FemurError("a validation prediction and a label of different sizes", expected="one grid a case",
                         action="validate the fold again (nnUNetv2_train ... --val)")
    for value in femur_values:
        mask, truth = predicted == value, reference == value
        if mask.any() or truth.any():
            yield {(component, holes): _dice(truth, clean_mask(mask, largest_component=component, fill_holes=holes))
                   for component in (False, True) for holes in (False, True)}


def _dice(reference: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> float:
    return count_overlap(reference, prediction).dice


def _evidence(scores: Sequence[tuple[str, Mapping[tuple[bool, bool], float]]], without: tuple[bool, bool],
              with_step: tuple[bool, bool]) -> Evidence:
    """Return the paired comparison of two settings, each participant's femora averaged first."""
    by_participant: dict[str, list[tuple[float, float]]] = {}
    for participant, score in scores:
        by_participant.setdefault(participant, []).append((score[without], score[with_step]))
    means = np.asarray([np.mean(by_participant[name], axis=0) for name in sorted(by_participant)])
    differences: NDArray[Any] = means[:, 1] - means[:, 0]
    low, high = mean_interval(differences, DEFAULT_RESAMPLES, seeded(_SEED, "postprocessing"))
    ci95_low, ci95_high = (None if np.isnan(bound) else round(float(bound), 6) for bound in (low, high))
    dice_without, dice_with = (round(float(value), 6) for value in means.mean(axis=0))
    return Evidence(
        n_cases=len(scores), n_participants=len(means), dice_without=dice_without, dice_with=dice_with,
        difference=round(float(differences.mean()), 6), ci95_low=ci95_low, ci95_high=ci95_high,
        n_better=int(np.count_nonzero(differences > 0)), n_worse=int(np.count_nonzero(differences < 0)))


def _participant(case: str) -> str:
    """Return whose case it is; a case with an id of another form stands for itself."""
    try:
        return parse_case_id(case).participant_id
    except FemurError:
        return case
