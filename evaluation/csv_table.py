"""Tables of ``femur_eval`` as CSV files: written atomically, read back with every fault told in one line."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from femur_nnunet.cohort import MISSING
from femur_nnunet.errors import FemurError
from femur_nnunet.files import write_text

Row = TypeVar("Row")


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]], *, exact: bool = False) -> None:
    """Write a CSV atomically: ``n/a`` for ``None`` and NaN, numbers with seven digits or all of them."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([[cell_text(value, exact=exact) for value in row] for row in rows])
    write_text(path, buffer.getvalue())


def cell_text(value: object, *, exact: bool = False) -> str:
    """Return a value as it stands in a table."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    return f"{value:.7g}" if isinstance(value, float) and not exact else str(value)


def read_table(path: Path, columns: Sequence[str], row_of: Callable[[Mapping[str, str]], Row], *,
               action: str) -> list[Row]:
    """Read a table that :func:`write_table` wrote.

    Parameters
    ----------
    path : Path
        The file; columns beyond ``columns`` are passed over.
    columns : sequence of str
        Columns that it must have.
    row_of : callable
        Makes a row of the texts of a line; raises ``ValueError`` for a text that is none of its column.
    action : str
        What an error tells the user to do.

    Raises
    ------
    FemurError
        The file cannot be read, lacks a column or holds a value that is none of its column.
    """
    try:
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise FemurError(f"no readable table ({error})", expected=f"the {path.name} that femur_eval writes",
                         action=action, subject=str(path)) from None
    lacking = [column for column in columns if column not in (reader.fieldnames or ())]
    if lacking:
        raise FemurError(f"no column {', '.join(lacking[:3])}",
                         expected=f"the columns of this version's {path.name}", action=action, subject=str(path))
    rows = []
    for line, texts in enumerate(reader, start=2):
        try:
            # A line that was cut short leaves None in place of texts.
            if any(texts[column] is None for column in columns):
                raise ValueError("a line that was cut short")
            rows.append(row_of(texts))
        except ValueError as error:
            raise FemurError(f"a value that is none of its column ({error})", expected="the table as it was written",
                             action=action, subject=f"{path} line {line}") from None
    return rows
