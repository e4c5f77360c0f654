"""The 8 hexadecimal digits that stand for a participant: a keyed hash, or what the user's own table says."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path

from femur_nnunet.case_ids import SITE_PATTERN, participant_hash
from femur_nnunet.errors import UsageError

ID_TABLE_COLUMNS = ("site", "participant_id", "id")
GivenIds = Mapping[tuple[str, str], str]
_ID = re.compile(r"(?:sub-)?([0-9a-f]{1,8})")


def participant_digits(secret: bytes, given: GivenIds | None, site: str, participant: str) -> str | None:
    """Return the digits of a participant; ``None`` if the user's own table lacks the participant."""
    return participant_hash(secret, site, participant) if given is None else given.get((site, participant))


def read_given_ids(path: Path) -> GivenIds:
    """Read the user's own table of ids: columns ``site, participant_id, id``.

    An id is 1 to 8 of the digits 0-9 and a-f, filled up with zeros: study number 1042 becomes 00001042.

    Parameters
    ----------
    path : Path
        CSV or TSV in UTF-8.

    Returns
    -------
    mapping
        (site, participant_id) to 8 digits.

    Raises
    ------
    UsageError
        An unreadable table, a cell of another form, a participant with two ids, two participants with one id,
        of whatever sites. The message names the row, never the cell.
    """
    action = "correct the table behind --own-ids"
    expected = f"CSV or TSV in UTF-8 with the columns {', '.join(ID_TABLE_COLUMNS)}"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"a table of ids that cannot be read ({type(error).__name__})", expected=expected,
                         action=action) from None
    header = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max("\t;,", key=header.count),
                            # Strict, since a quote that is never closed would swallow all rows behind it.
                            strict=True)
    try:
        reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or []]
        rows = list(reader)
    except csv.Error as error:
        raise UsageError(f"a table of ids that cannot be read ({error})", expected=expected,
                         action=f"close every quote and {action}") from None
    if not set(ID_TABLE_COLUMNS) <= set(reader.fieldnames):
        raise UsageError("a table of ids without these columns", expected=expected, action=action)
    ids: dict[tuple[str, str], str] = {}
    # Over all sites: the participant's id in tables and splits is made of these digits alone.
    owner: dict[str, tuple[str, str]] = {}
    for number, row in enumerate(rows, start=2):
        site, participant, text = ((row[name] or "").strip() for name in ID_TABLE_COLUMNS)
        # Sites are small letters in every table; a participant's code is what the site writes.
        site, match = site.lower(), _ID.fullmatch(text.lower())
        if SITE_PATTERN.match(site) is None or not participant or match is None:
            raise UsageError(f"row {number} of the table of ids with an empty cell, a site or an id of another form",
                             expected="letters and digits as site, 1 to 8 of the digits 0-9 and a-f as id",
                             action=action)
        person, digits = (site, participant), match[1].zfill(8)
        if ids.setdefault(person, digits) != digits or owner.setdefault(digits, person) != person:
            raise UsageError(f"row {number} of the table of ids, whose participant or id stands in an earlier row",
                             expected="one id a participant, one participant an id over all sites", action=action)
    return ids
