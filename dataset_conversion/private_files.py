"""The secret key of a dataset and the table that leads from ids back to participants."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterable
from pathlib import Path

from femur_nnunet.case_ids import read_or_create_key
from femur_nnunet.dataset_conversion.case_conversion import RowTask
from femur_nnunet.dataset_conversion.conversion_options import ConversionOptions

ID_MAP_COLUMNS = ("case_id", "participant_id", "site", "site_participant_id", "visit", "side", "image", "mask")


def secret_key(options: ConversionOptions) -> bytes:
    """Return the key of the ids: from the key file, or from ``key_seed`` for a synthetic cohort."""
    if options.key_seed is not None:
        return hashlib.sha256(f"femur-nnunet synthetic cohort {options.key_seed}".encode()).digest()
    return read_or_create_key(options.key_path)


def update_id_map(path: Path, tasks: Iterable[RowTask]) -> None:
    """Add cases to the table of ids, participants and paths (mode 600); earlier entries stay.

    Parameters
    ----------
    path : Path
        The table, outside the dataset's folder.
    tasks : iterable of RowTask
        Rows whose cases are entered.
    """
    rows: dict[str, dict[str, str]] = {}
    if path.exists():
        with path.open(encoding="utf-8", newline="") as handle:
            rows = {row["case_id"]: row for row in csv.DictReader(handle, delimiter="\t") if row.get("case_id")}
    for task in tasks:
        for side in task.key.case_sides(keep_bilateral=task.keep_bilateral):
            case_id = task.key.case_id(side)
            rows[case_id] = {
                "case_id": case_id, "participant_id": f"sub-{task.key.participant_hash}", "site": task.row.site,
                "site_participant_id": task.row.participant, "visit": str(task.row.visit), "side": side,
                "image": str(task.row.image.absolute()),
                "mask": "" if task.row.mask is None else str(task.row.mask.absolute())}
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, ID_MAP_COLUMNS, delimiter="\t", lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows[case_id] for case_id in sorted(rows))
    _write_private(path, buffer.getvalue())


def _write_private(path: Path, text: str) -> None:
    """Write text into a file that nobody else could read at any moment."""
    temporary = path.with_name(f".{path.name}.partial")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)
