"""A last look at what goes into a bundle: no case, no participant, no path of this machine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from femur_nnunet.cohort import ScanRecord
from femur_nnunet.errors import UsageError

# As case_ids.CASE_ID_PATTERN, anywhere in a text.
_CASE_ID = re.compile(r"(?<![a-z0-9])[a-z0-9]+_[0-9a-f]{8}_v[0-9]{2}_[lrb](?![a-z0-9])")
_PARTICIPANT_ID = re.compile(r"(?<![a-z0-9])sub-[0-9a-zA-Z]+")
_SHORTEST_PATH = 5


def refuse_identities(texts: Mapping[str, bytes], records: Iterable[ScanRecord], folders: Iterable[Path]) -> None:
    """Refuse texts that name a case or participant, or a folder of this machine.

    Parameters
    ----------
    texts : mapping of str to bytes
        Text files of the bundle by name.
    records : iterable of ScanRecord
        The dataset's cohort table: own ids need not have the form of ours.
    folders : iterable of Path
        Folders that were read.

    Raises
    ------
    UsageError
        A text names one; the message says in which file and of what kind, and does not repeat it.
    """
    known = {"a case id": set(), "a participant id": set(), "a folder of this machine": set()}  # type: dict[str, set[str]]
    for record in records:
        known["a case id"].add(record.case_id)
        known["a participant id"] |= {record.participant_id, record.participant_id.removeprefix("sub-")}
    for folder in folders:
        known["a folder of this machine"] |= {str(path) for path in (folder, folder.absolute(), folder.resolve())
                                              if path.is_absolute() and len(str(path)) >= _SHORTEST_PATH}
    for name, data in sorted(texts.items()):
        text = data.decode("utf-8", errors="replace")
        found = [kind for kind, values in known.items() if any(value in text for value in values)]
        found += ["a case id"] if _CASE_ID.search(text) else []
        found += ["a participant id"] if _PARTICIPANT_ID.search(text) else []
        if found:
            raise UsageError(f"{found[0]} in {name}", expected="numbers and names of the model alone",
                             action="take it out of the model card, --name, --licence or --attribution")
