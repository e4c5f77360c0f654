"""Volumes of the femora in a dataset's masks, measured once and kept beside them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from femur_nnunet.cohort import ScanRecord
from femur_nnunet.command_line import progress
from femur_nnunet.files import sha256_of_file, write_json
from femur_nnunet.volume_io.image_files import read_raw_image

VOLUMES_NAME = "femur_volumes.json"
_SCHEMA = 1
_MASK_FOLDERS = {"train": "labelsTr", "test": "labelsTs"}


def femur_volumes_ml(dataset: Path, records: Sequence[ScanRecord], *, quiet: bool = False) -> dict[str, float]:
    """Return the mean volume of a case's femora in ml, for every case that has a mask.

    A mask that was measured before is not read again, as long as its SHA-256 in femur_volumes.json is
    its own.

    Parameters
    ----------
    dataset : Path
        ``nnUNet_raw/DatasetXXX_...``.
    records : sequence of ScanRecord
        Its cohort table.
    quiet : bool
        No progress bar.

    Raises
    ------
    FemurError
        A mask cannot be read.
    """
    known = _read_cache(dataset / VOLUMES_NAME)
    masks = {record.case_id: dataset / _MASK_FOLDERS[record.role] / f"{record.case_id}.nii.gz" for record in records}
    present = sorted((case, path) for case, path in masks.items() if path.is_file())
    measured: dict[str, dict[str, float | str]] = {}
    for case, path in progress(present, description="femur volumes", quiet=quiet):
        digest = sha256_of_file(path)
        entry = known.get(case, {})
        measured[case] = entry if entry.get("sha256") == digest else {
            "sha256": digest, "volume_ml": _mean_volume_ml(path, case)}
    if measured != known:
        write_json(dataset / VOLUMES_NAME, {"schema": _SCHEMA, "unit": "ml a femur", "cases": measured})
    return {case: float(entry["volume_ml"]) for case, entry in measured.items()}


def _mean_volume_ml(path: Path, case: str) -> float:
    values, grid, _ = read_raw_image(path, subject=f"mask of {case}")
    femora = len(set(np.unique(values).tolist()) - {0})
    voxel_ml = float(np.prod(grid.spacing_mm_ijk)) / 1000.0
    return int(np.count_nonzero(values)) * voxel_ml / max(femora, 1)


def _read_cache(path: Path) -> dict[str, dict[str, float | str]]:
    """Return what was measured before; nothing where the file lacks or is no such file, since it can be made anew."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        cases = content["cases"] if content["schema"] == _SCHEMA else {}
        return {case: {"sha256": str(entry["sha256"]), "volume_ml": float(entry["volume_ml"])}
                for case, entry in cases.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
