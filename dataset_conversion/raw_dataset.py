"""The dataset's folder in nnUNet_raw: publishing cases, clearing leftovers, tables and dataset.json."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from femur_nnunet import __version__
from femur_nnunet.cohort import (
    PARTICIPANTS_TABLE_NAME,
    SCANS_TABLE_NAME,
    ScanRecord,
    write_participants_table,
    write_scans_table,
)
from femur_nnunet.dataset_conversion.conversion_state import (
    STATE_FOLDER_NAME,
    STATE_PATTERN,
    RowState,
    case_files,
    state_path,
)
from femur_nnunet.files import PARTIAL_PREFIX, write_json

DATASET_JSON_NAME = "dataset.json"
DATASET_SCHEMA = 1
IMAGE_FOLDERS = ("imagesTr", "imagesTs", "imagesUn")
DATA_FOLDERS = (*IMAGE_FOLDERS, "labelsTr", "labelsTs", "geometry")
_OWN_FILE = re.compile(re.escape(PARTIAL_PREFIX)
                       + r".*|[a-z0-9]+_[0-9a-f]{8}_v[0-9]{2}_[lrb](_0000)?(\.nii\.gz|\.json)")


def make_data_folders(dataset: Path) -> None:
    """Make the folders of images, labels and geometry records, and that of the rows' states."""
    for name in (*DATA_FOLDERS, STATE_FOLDER_NAME):
        (dataset / name).mkdir(parents=True, exist_ok=True)


def unlist(dataset: Path) -> None:
    """Remove dataset.json before cases change: until it is written anew, nnU-Net does not know the dataset."""
    (dataset / DATASET_JSON_NAME).unlink(missing_ok=True)


def publish(dataset: Path, staged: Path, state: RowState, replaced: Sequence[RowState]) -> None:
    """Move the cases of one row from staging into the dataset.

    At every moment each image in the dataset has the label and geometry that belong to it: images of
    earlier conversions go first, new images come last.

    Parameters
    ----------
    dataset, staged : Path
        Folders on the same disk.
    state : RowState
        The row's result in ``staged``.
    replaced : sequence of RowState
        Earlier conversions of the same hips.
    """
    old = {relative for earlier in replaced for relative in earlier.outputs}
    for relative in sorted(old, key=lambda name: not name.startswith(IMAGE_FOLDERS)):
        if relative.startswith(IMAGE_FOLDERS) or relative not in state.outputs:
            (dataset / relative).unlink(missing_ok=True)
    for record in state.records:
        for relative in case_files(record):
            (staged / relative).replace(dataset / relative)
    state.write(state_path(dataset, state.key))
    for earlier in replaced:
        if earlier.key != state.key:
            state_path(dataset, earlier.key).unlink(missing_ok=True)


def withdraw(dataset: Path, state: RowState) -> None:
    """Remove the cases of a row, images first."""
    for relative in sorted(state.outputs, key=lambda name: not name.startswith(IMAGE_FOLDERS)):
        (dataset / relative).unlink(missing_ok=True)
    state_path(dataset, state.key).unlink(missing_ok=True)


def clear_leftovers(dataset: Path, states: Iterable[RowState]) -> list[str]:
    """Remove files and states of interrupted runs, and return the files in the data folders that are not ours.

    A file is ours if it is called after a case or carries the name of a temporary file.
    """
    states = list(states)
    expected = {relative for state in states for relative in state.outputs}
    foreign = []
    # Tables and states of a killed run leave half-written files where the finished ones lie.
    for parent in (dataset, dataset / STATE_FOLDER_NAME):
        for path in parent.glob(f"{PARTIAL_PREFIX}*"):
            path.unlink()
    # A row of which a stopped run has removed a part is no longer known: its state says nothing true any more.
    known = {state_path(dataset, state.key) for state in states}
    for path in (dataset / STATE_FOLDER_NAME).glob(STATE_PATTERN):
        if path not in known:
            path.unlink()
    for folder in DATA_FOLDERS:
        for path in sorted((dataset / folder).iterdir()):
            if f"{folder}/{path.name}" in expected:
                continue
            if path.is_file() and _OWN_FILE.fullmatch(path.name):
                path.unlink()
            else:
                foreign.append(f"{folder}/{path.name}")
    return foreign


def write_tables(dataset: Path, records: Sequence[ScanRecord]) -> None:
    """Write participants.tsv and scans.tsv with their sidecars."""
    write_participants_table(dataset / PARTICIPANTS_TABLE_NAME, records)
    write_scans_table(dataset / SCANS_TABLE_NAME, records)


def write_dataset_json(dataset: Path, records: Sequence[ScanRecord], *, name: str, bilateral: bool) -> None:
    """Write dataset.json, by which nnU-Net knows the dataset; it is the last file of a conversion."""
    write_json(dataset / DATASET_JSON_NAME, dataset_json(records, name=name, bilateral=bilateral))


def dataset_json(records: Sequence[ScanRecord], *, name: str, bilateral: bool = False) -> dict[str, Any]:
    """Return the content of dataset.json.

    ``numTraining`` counts labelled training cases alone. The channel is called CT: by any other name
    nnU-Net would normalise each image by itself and lose the density scale.
    """
    training = [record for record in records if record.role == "train" and record.labelled]
    labels = ({"background": 0, "left_proximal_femur": 1, "right_proximal_femur": 2} if bilateral
              else {"background": 0, "proximal_femur": 1})
    return {
        "name": name,
        "channel_names": {"0": "CT"},
        "labels": labels,
        "numTraining": len(training),
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "SimpleITKIO",
        "femur_nnunet": {
            "schema": DATASET_SCHEMA,
            "package_version": __version__,
            "sites": sorted({record.site for record in records}),
            "labelled_sites": sorted({record.site for record in training}),
            "intensity_unit": "HU",
        },
    }
