"""The training set in numbers: spacings, shapes, HU, volumes and counts; no case, participant or path."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from femur_nnunet.cohort import SCANS_TABLE_NAME, ScanRecord, read_scans_table
from femur_nnunet.command_line import get_logger, progress
from femur_nnunet.files import read_json
from femur_nnunet.model_bundle.manifest import Distribution, Thresholds, TrainingFacts
from femur_nnunet.volume_io.image_files import read_raw_image

FINGERPRINT_NAME = "dataset_fingerprint.json"
LABELS_FOLDER = "gt_segmentations"
# Beyond the training's own range, since fields of view differ more than femora.
_VOLUME_MARGIN = 2.0

_logger = get_logger(__name__)


def training_facts(plans: Mapping[str, Any], dataset: Mapping[str, Any], preprocessed: Path | None,
                   femur_values: Sequence[int], *, name_sites: bool = False, quiet: bool = False) -> TrainingFacts:
    """Gather what is known of the labelled training cases.

    Parameters
    ----------
    plans, dataset : mapping
        plans.json and dataset.json of the trained folder.
    preprocessed : Path, optional
        The dataset's folder in nnUNet_preprocessed, with the fingerprint, scans.tsv and the labels. Without it the
        facts are those of the plan.
    femur_values : sequence of int
        Label values of femora.
    name_sites : bool
        Give the names of sites beside their counts.
    quiet : bool
        No progress bar.

    Raises
    ------
    FemurError
        A file of the folder is broken.
    """
    properties = plans["foreground_intensity_properties_per_channel"]["0"]
    hounsfield = {key: float(value) for key, value in sorted(properties.items())}
    trained = dataset.get("numTraining")
    if preprocessed is None or not _same_training(preprocessed, properties):
        return TrainingFacts(n_cases=trained if isinstance(trained, int) else None, foreground_hu=hounsfield)
    fingerprint = _fingerprint(preprocessed)
    spacings, shapes = (np.asarray(fingerprint[key], dtype=float).reshape(-1, 3)
                        for key in ("spacings", "shapes_after_crop"))
    records = cohort_of(preprocessed)
    labelled = [record for record in records if record.labelled and record.role == "train"]
    sites = Counter(record.site for record in labelled).most_common()
    return TrainingFacts(
        n_cases=len(spacings), n_participants=len({record.participant_id for record in labelled}) or None,
        n_unlabelled_cases=sum(not record.labelled and record.role == "train" for record in records)
        if records else None,
        cases_by_site=tuple(count for _, count in sites),
        site_names=tuple(site for site, _ in sites) if name_sites else (),
        spacing_mm=_by_axis(spacings), extent_mm=_by_axis(spacings * shapes), shape_voxels=_by_axis(shapes),
        foreground_hu=hounsfield, femur_volume_ml=_distribution(_volumes_ml(preprocessed, femur_values, quiet)))


def thresholds_of(facts: TrainingFacts) -> Thresholds:
    """Return the thresholds: volumes from half the smallest to twice the largest of the training, where known."""
    volumes = facts.femur_volume_ml
    if volumes is None:
        return Thresholds()
    return Thresholds(femur_volume_ml_low=_rounded(volumes.minimum / _VOLUME_MARGIN),
                      femur_volume_ml_high=_rounded(volumes.maximum * _VOLUME_MARGIN))


def cohort_of(preprocessed: Path | None) -> list[ScanRecord]:
    """Return the dataset's cohort table; none where it has none, as a dataset of another converter."""
    table = None if preprocessed is None else preprocessed / SCANS_TABLE_NAME
    return read_scans_table(table) if table is not None and table.is_file() else []


def _same_training(preprocessed: Path, properties: Mapping[str, float]) -> bool:
    """Return whether the folder's fingerprint is the one that the plan was made from."""
    if not (preprocessed / FINGERPRINT_NAME).is_file():
        return False
    found = _fingerprint(preprocessed)["foreground_intensity_properties_per_channel"]["0"]
    same = all(math.isclose(found.get(key, math.nan), value, rel_tol=1e-6, abs_tol=1e-6)
               for key, value in properties.items())
    if not same:
        _logger.warning("the preprocessed dataset is another one than the plan was made from: facts of the training "
                        "are left out")
    return same


def _fingerprint(preprocessed: Path) -> Any:
    return read_json(preprocessed / FINGERPRINT_NAME, what="nnU-Net's fingerprint", action="run femur_plan")


def _volumes_ml(preprocessed: Path, femur_values: Sequence[int], quiet: bool) -> list[float]:
    volumes = []
    paths = sorted((preprocessed / LABELS_FOLDER).glob("*.nii.gz"))
    for path in progress(paths, description="femur volumes", quiet=quiet):
        values, grid, _ = read_raw_image(path)
        voxel_ml = float(np.prod(grid.spacing_mm_ijk)) / 1000.0
        counts = (int(np.count_nonzero(values == value)) for value in femur_values)
        volumes += [count * voxel_ml for count in counts if count]
    return volumes


def _by_axis(values: np.ndarray) -> tuple[Distribution, ...]:
    columns = tuple(_distribution(values[:, axis]) for axis in range(3))
    return tuple(column for column in columns if column is not None)


def _distribution(values: Iterable[float]) -> Distribution | None:
    known = np.asarray(list(values), dtype=float)
    if not known.size:
        return None
    spread = np.percentile(known, (0, 5, 50, 95, 100))
    return Distribution(known.size, *(_rounded(value) for value in spread))


def _rounded(value: float) -> float:
    """Return a value with three digits: enough for a warning, too little to find a person by."""
    return float(f"{value:.3g}")
