"""What a converted row left behind, so that an unchanged row is not converted again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from femur_nnunet.case_ids import CaseId, keyed_hash, parse_case_id
from femur_nnunet.cohort import ScanRecord, Side
from femur_nnunet.errors import FemurError
from femur_nnunet.files import canonical_json, sha256_of_file, write_json
from femur_nnunet.volume_io.image_files import data_files

STATE_FOLDER_NAME = ".conversion"
STAGED_STATE_NAME = "row.json"
# The files of published rows' states in their folder, beside settings and the record of own ids.
STATE_PATTERN = "*_v*.json"
# Raise it whenever the same input gives other output files: every row is then converted anew.
STATE_SCHEMA = 4


@dataclass(frozen=True)
class RowKey:
    """One row of the manifest under its keyed id: what its state file is called."""

    site: str
    participant_hash: str
    visit: int
    side: Side

    def __str__(self) -> str:
        return f"{self.visit_key}_{self.side}"

    @property
    def visit_key(self) -> str:
        """The part that all rows of one visit share."""
        return f"{self.site}_{self.participant_hash}_v{self.visit:02d}"

    def case_id(self, side: Side) -> str:
        """Return the id of the case of one side."""
        return str(CaseId(self.site, self.participant_hash, self.visit, side))

    def case_sides(self, *, keep_bilateral: bool) -> tuple[Side, ...]:
        """Return the sides of the cases that the row may become."""
        return ("left", "right") if self.side == "both" and not keep_bilateral else (self.side,)


@dataclass(frozen=True)
class RowState:
    """What one row became.

    Attributes
    ----------
    key : str
        Text of the row's :class:`RowKey`.
    fingerprint : str
        Keyed hash over the contents of the row's files, its metadata and the options that bear on it.
    records : list of ScanRecord
        Its cases.
    outputs : dict
        Files of the cases, relative to the dataset, and their sizes in bytes.
    dropped : dict
        Side -> reason, for hips that were left out.
    notes : list of str
        What the reader had to say; no names, no paths.
    """

    key: str
    fingerprint: str
    records: list[ScanRecord]
    outputs: dict[str, int]
    dropped: dict[Side, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def visit_key(self) -> str:
        """The part of the key that all rows of one visit share."""
        return self.key.rsplit("_", 1)[0]

    @property
    def source_hmacs(self) -> set[str]:
        """Keyed hashes of the source's voxels."""
        return {record.source_hmac for record in self.records if record.source_hmac is not None}

    def write(self, path: Path) -> None:
        """Write the state as JSON."""
        write_json(path, {"schema": STATE_SCHEMA, **asdict(self)})

    def is_complete_in(self, folder: Path) -> bool:
        """Say whether all output files lie below ``folder`` with the recorded sizes."""
        return all(_size(folder / relative) == size for relative, size in self.outputs.items())


def read_state(path: Path) -> RowState | None:
    """Read a state file; ``None`` if it is missing, torn or of another schema, which costs a conversion."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("schema") != STATE_SCHEMA:
            return None
        records = [ScanRecord(**record) for record in content.pop("records")]
        return RowState(records=records, **content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, FemurError):
        return None


def state_path(dataset: Path, key: str) -> Path:
    """Return where the state of a published row lies."""
    return dataset / STATE_FOLDER_NAME / f"{key}.json"


def read_states(dataset: Path, listed: Iterable[ScanRecord]) -> dict[str, RowState]:
    """Return the states of all rows whose files all lie in the dataset, by key.

    A row whose files are not whole, as after a stop between two renames, has no state: its cases are not
    listed until it has been converted again.
    A case in ``listed`` (the dataset's scans.tsv) without a state, as after copying a dataset without
    its hidden folders, gets one of its own, so that its files are not taken for leftovers.
    """
    states = {state.key: state for path in sorted((dataset / STATE_FOLDER_NAME).glob(STATE_PATTERN))
              if (state := read_state(path)) is not None and state.is_complete_in(dataset)}
    known = {record.case_id for state in states.values() for record in state.records}
    for record in listed:
        if record.case_id not in known:
            parts = parse_case_id(record.case_id)
            key = str(RowKey(parts.site, parts.participant_hash, parts.visit, record.side))
            sizes = {relative: _size(dataset / relative) for relative in case_files(record)}
            if key not in states and None not in sizes.values():
                states[key] = RowState(key, "", [record], {name: size for name, size in sizes.items()
                                                           if size is not None})
    return states


def case_files(record: ScanRecord) -> list[str]:
    """Return the files of a case relative to the dataset, in the order in which they are published.

    The image comes last: nnU-Net finds cases by their images, so a case is seen only once complete.
    """
    images, labels = case_folders(record)
    files = [f"{labels}/{record.case_id}.nii.gz"] if labels else []
    return [*files, f"geometry/{record.case_id}.json", f"{images}/{record.case_id}_0000.nii.gz"]


def case_folders(record: ScanRecord) -> tuple[str, str | None]:
    """Return the image folder and the label folder (``None``: unlabelled) of a case."""
    if record.role == "test":
        return "imagesTs", "labelsTs" if record.labelled else None
    return ("imagesTr", "labelsTr") if record.labelled else ("imagesUn", None)


def row_fingerprint(key: bytes, facts: dict[str, Any], sources: Sequence[Path]) -> str:
    """Return a keyed hash over facts and the contents of source files and folders.

    Contents count, not names or times: a copy of the same files is the same source.
    """
    contents = [[(path.suffix, sha256_of_file(path)) for path in _files_of(source)] for source in sources]
    return keyed_hash(key, "row", canonical_json([STATE_SCHEMA, facts, contents]), digits=64)


def _files_of(source: Path) -> list[Path]:
    if source.is_dir():
        return sorted(path for path in source.rglob("*") if path.is_file())
    return [source, *data_files(source)]


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
