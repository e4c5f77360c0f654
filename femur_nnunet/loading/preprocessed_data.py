"""What a folder of preprocessed data was made with: a record beside it, written by femur_plan, checked by trainers.

Plans of one spacing share a folder. Without this record a plan made before new scans came in would
train on data that were normalised by another plan's statistics, and nobody would be told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from femur_nnunet.errors import FemurError
from femur_nnunet.files import canonical_json, read_json, sha256_of_text, write_json

RECORD_SUFFIX = "_made_with.json"
TRAINING_FOLDERS = ("imagesTr", "labelsTr", "imagesUn")
TEST_FOLDERS = ("imagesTs", "labelsTs")
_FILES_KEY = "training_files_sha256"
_ACTION = "run femur_plan again for this plan"


def plan_side(plan: Mapping[str, Any], configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a plan decides over the voxels: spacing, transposition, normalisation."""
    return {"spacing_mm": [round(float(value), 6) for value in configuration["spacing"]],
            "transpose_forward": [int(axis) for axis in plan["transpose_forward"]],
            "normalisation": list(configuration["normalization_schemes"]),
            "intensities": sha256_of_text(canonical_json(plan["foreground_intensity_properties_per_channel"]))}


def files_side(raw: Path, folders: Sequence[str] = TRAINING_FOLDERS) -> str:
    """Return a hash over names, sizes and times of images and masks: those of training, labelled or not, by default.

    The files and not the table: a mask that was drawn anew, or a hip that was cut elsewhere, changes no
    row. Times instead of contents: reading every scan would cost about what preprocessing does, and a
    copied dataset is only preprocessed once more.
    """
    files = [path for folder in folders for path in (raw / folder).glob("*.nii.gz")]
    return sha256_of_text(canonical_json(sorted(
        [f"{path.parent.name}/{path.name}", path.stat().st_size, path.stat().st_mtime_ns] for path in files)))


def is_up_to_date(folder: Path, side: Mapping[str, Any], files: str) -> bool:
    """Say whether a data folder was made of these files by such a plan."""
    path = record_path(folder)
    return (folder.is_dir() and path.exists()
            and read_json(path, what="the record of preprocessed data", action=_ACTION)
            == {**side, _FILES_KEY: files})


def write_record(folder: Path, side: Mapping[str, Any], files: str) -> None:
    """Record what a data folder was made with, beside it: a foreign file inside would stop nnU-Net."""
    write_json(record_path(folder), {**side, _FILES_KEY: files})


def recorded_files(folder: Path) -> str | None:
    """Return :func:`files_side` of the scans that a data folder was made of; None where nnU-Net's commands made it."""
    path = record_path(folder)
    if not path.exists():
        return None
    files: str | None = read_json(path, what="the record of preprocessed data", action=_ACTION).get(_FILES_KEY)
    return files


def record_path(folder: Path) -> Path:
    """Return the path of a data folder's record."""
    return folder.with_name(folder.name + RECORD_SUFFIX)


def check_preprocessed_data(plan: Mapping[str, Any], configuration: Mapping[str, Any], preprocessed: Path) -> None:
    """Refuse a plan whose data folder was made with other voxels than it asks for.

    Data that nnU-Net's own commands made have no record and are taken as they are.

    Raises
    ------
    FemurError
        Spacing, transposition or intensity statistics differ.
    """
    path = record_path(preprocessed / configuration["data_identifier"])
    if not path.exists():
        return
    made = read_json(path, what="the record of preprocessed data", action=_ACTION)
    wanted = plan_side(plan, configuration)
    differing = [name for name, value in wanted.items() if made.get(name) != value]
    if differing:
        raise FemurError(f"preprocessed data whose {', '.join(differing)} differ from the plan's",
                         expected="data that this plan made", action=_ACTION, subject=configuration["data_identifier"])
