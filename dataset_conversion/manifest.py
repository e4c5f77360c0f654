"""Reading a manifest: the table that names each scan, its mask, its participant and its site.

Columns ``site, participant_id, image`` are required; ``visit, mask, side, sex, age_years, role,
density_unit, density_slope, density_intercept, calibration_phantom`` may lack or be empty. Comma,
tabulator or semicolon separates them. Paths are relative to the manifest. An empty ``visit`` is 1, an
empty ``side`` is ``both``, a row without a mask is unlabelled. Other columns are ignored.

Rows are numbered as a spreadsheet shows them: the header is row 1, the first scan row 2.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from femur_nnunet.case_ids import SITE_PATTERN
from femur_nnunet.cohort import MISSING, Role, Side
from femur_nnunet.errors import FemurError, MachineError
from femur_nnunet.machine_failures import raise_machine_failure

REQUIRED_COLUMNS = ("site", "participant_id", "image")
OPTIONAL_COLUMNS = ("visit", "mask", "side", "sex", "age_years", "role", "density_unit", "density_slope",
                    "density_intercept", "calibration_phantom")
SIDES: tuple[Side, ...] = ("left", "right", "both")
ROLES: tuple[Role, ...] = ("train", "test")
SEXES = ("F", "M")
DENSITY_UNITS = ("K2HPO4", "HA")
OLDEST_AGE_YEARS = 120
Level = TypeVar("Level", bound=str)
Parsed = TypeVar("Parsed")
_PHANTOM_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,39}")
_SHORT_NUMBER = re.compile(r"[+-]?\d{0,3}(\.\d{1,4})?")


@dataclass(frozen=True)
class ManifestRow:
    """One scan of the manifest, checked.

    ``source`` names the table (``tulane``, ``rochester``, ``manifest``) and ``number`` its row.
    """

    source: str
    number: int
    site: str
    participant: str
    image: Path
    visit: int = 1
    mask: Path | None = None
    side: Side = "both"
    sex: str | None = None
    age_years: float | None = None
    role: Role | None = None
    density_unit: str | None = None
    density_slope: float | None = None
    density_intercept: float | None = None
    calibration_phantom: str | None = None

    @property
    def person(self) -> tuple[str, str]:
        """Site and participant, which together are one person."""
        return self.site, self.participant

    @property
    def label(self) -> str:
        """How messages call the row."""
        return row_label(self.source, self.number)


@dataclass(frozen=True)
class RowProblem:
    """A row that cannot be converted, or (``number`` 0) a table that cannot be read at all.

    ``row`` holds what could be read of it; ``None`` if site, participant, visit or side are unknown.
    """

    source: str
    number: int
    error: FemurError
    row: ManifestRow | None = None


@dataclass
class ManifestTable:
    """What a manifest gave: sound rows, rows with a problem, and remarks."""

    rows: list[ManifestRow] = field(default_factory=list)
    problems: list[RowProblem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def row_label(source: str, number: int) -> str:
    """Return how messages call a row; number 0 stands for the whole table."""
    return f"{source} row {number}" if number else f"{source} table"


def read_manifest(path: Path, *, source: str = "manifest", site: str | None = None,
                  identifiable: bool = False) -> ManifestTable:
    """Read and check a manifest.

    Parameters
    ----------
    path : Path
        The table.
    source : str
        How messages and the report call it.
    site : str, optional
        The one site of the table. The column ``site`` may then lack; where it has a value, it must
        agree.
    identifiable : bool
        Whether messages may quote what a cell holds; otherwise only what cannot be a name is quoted.

    Returns
    -------
    ManifestTable
        Nothing is raised for a bad row or table: each is a :class:`RowProblem`.

    Raises
    ------
    MachineError
        A disk or a share failed: which rows there are is then unknown.
    """
    table = ManifestTable()
    try:
        header, records = _read_cells(path, source)
        _check_header(header, source, site)
    except MachineError:
        raise
    except FemurError as error:
        table.problems.append(RowProblem(source, 0, error))
        return table
    ignored = [name for name in header if name not in REQUIRED_COLUMNS + OPTIONAL_COLUMNS]
    if ignored:
        table.warnings.append(f"{source} table: {len(ignored)} further column(s) are not used")
    for number, cells in records:
        parser = _RowParser(source, number, path.parent, site, identifiable)
        try:
            table.rows.append(parser.parse(header, cells))
        except MachineError:
            raise
        except FemurError as error:
            table.problems.append(RowProblem(source, number, error, parser.identity(header, cells)))
    return table


def _read_cells(path: Path, source: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    subject = row_label(source, 0)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise FemurError("no such table", expected=f"a table with the columns {', '.join(REQUIRED_COLUMNS)}",
                         action="give the path of a CSV or TSV file (a site folder holds metadata.csv)",
                         subject=subject) from None
    except UnicodeDecodeError:
        raise FemurError("text that is not UTF-8", expected="CSV or TSV in UTF-8",
                         action="save the table as 'CSV UTF-8'", subject=subject) from None
    except OSError as error:
        raise_machine_failure(error, subject)
        raise FemurError(f"an unreadable table ({error.strerror})", expected="CSV or TSV in UTF-8",
                         action="check that the file may be read", subject=subject) from None
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max("\t;,", key=first.count)
    try:
        # Strict, since a quote that is never closed would swallow all rows behind it.
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise FemurError(f"a table that cannot be read ({error})", expected="CSV or TSV in UTF-8",
                         action="close every quote and save the table anew as 'CSV UTF-8'",
                         subject=subject) from None
    filled = [(number, cells) for number, cells in enumerate(rows, start=1) if any(cell.strip() for cell in cells)]
    header = [name.strip().lower() for name in filled[0][1]] if filled else []
    records = filled[1:]
    if not records:
        raise FemurError("a table without rows", expected="a header and one row a scan",
                         action="fill the table", subject=subject)
    return header, records


def _check_header(header: list[str], source: str, site: str | None) -> None:
    required = [name for name in REQUIRED_COLUMNS if name != "site" or site is None]
    lacking = [name for name in required if name not in header]
    if lacking:
        raise FemurError(f"no column {', '.join(lacking)}", expected=f"at least the columns {', '.join(required)}",
                         action="add the column to the table's header", subject=row_label(source, 0))
    twice = [name for name in REQUIRED_COLUMNS + OPTIONAL_COLUMNS if header.count(name) > 1]
    if twice:
        raise FemurError(f"column {twice[0]} twice", expected="each column once",
                         action="remove one of the columns", subject=row_label(source, 0))


@dataclass(frozen=True)
class _RowParser:
    """Turns the cells of one row into a :class:`ManifestRow`."""

    source: str
    number: int
    folder: Path
    site: str | None
    identifiable: bool

    def identity(self, header: list[str], cells: list[str]) -> ManifestRow | None:
        """Return a row with site, participant, visit and side alone, or ``None`` if one of them is bad."""
        known = ("site", "participant_id", "visit", "side")
        values = {name: cell for name, cell in _by_column(header, cells).items() if name in known}
        return self._row(values, (Path(), None), [])

    def parse(self, header: list[str], cells: list[str]) -> ManifestRow:
        """Return the row, or raise a :class:`FemurError` that tells what is wrong with it."""
        if any(cell.strip() for cell in cells[len(header):]):
            raise self._error(f"{len(cells)} cells below {len(header)} columns", "one cell a column",
                              "quote cells that hold the separator")
        values = _by_column(header, cells)
        faults: list[FemurError] = []
        paths = _unless_faulty(faults, lambda: self._paths(values.get("image", ""), values.get("mask", "")))
        row = self._row(values, paths or (Path(), None), faults)
        if row is None or faults:
            # All at once: who mends a table wants to open it once.
            raise FemurError("; ".join(fault.found for fault in faults),
                             expected="; ".join(dict.fromkeys(fault.expected for fault in faults)),
                             action="; ".join(dict.fromkeys(fault.action for fault in faults)),
                             subject=row_label(self.source, self.number))
        return row

    def _row(self, values: dict[str, str], paths: tuple[Path, Path | None],
             faults: list[FemurError]) -> ManifestRow | None:
        """Return the row, or ``None`` with what is wrong with its cells added to ``faults``."""
        def number(column: str, expected: str, allowed: Callable[[float], bool]) -> float | None:
            return _unless_faulty(faults, lambda: self._number(values, column, expected, allowed))

        def level(column: str, levels: tuple[Level, ...]) -> Level | None:
            return _unless_faulty(faults, lambda: self._level(values, column, levels))

        site = _unless_faulty(faults, lambda: self._site(values.get("site", "")))
        participant = values.get("participant_id", "")
        if not participant:
            faults.append(self._error("no participant_id", "the participant's code at the site", "fill the cell"))
        n_before = len(faults)
        slope = number("density_slope", "a number above 0", lambda value: value > 0)
        intercept = number("density_intercept", "a number", lambda value: True)
        unit = level("density_unit", DENSITY_UNITS)
        if len(faults) == n_before and len({slope is None, intercept is None, unit is None}) > 1:
            faults.append(self._error("density_unit, density_slope and density_intercept of which some are empty",
                                      "all three or none", "fill the missing cells or empty all three"))
        visit = number("visit", "a whole number from 1 to 99", lambda value: value.is_integer() and 1 <= value <= 99)
        side, role, sex = level("side", SIDES), level("role", ROLES), level("sex", SEXES)
        age_years = number("age_years", f"a number of years from 0 to {OLDEST_AGE_YEARS}",
                           lambda value: 0 <= value <= OLDEST_AGE_YEARS)
        phantom = _unless_faulty(faults, lambda: self._phantom(values.get("calibration_phantom", "")))
        if faults or site is None:
            return None
        return ManifestRow(
            source=self.source, number=self.number, site=site, participant=participant, image=paths[0], mask=paths[1],
            visit=1 if visit is None else int(visit), side=side or "both", role=role, sex=sex, age_years=age_years,
            density_unit=unit, density_slope=slope, density_intercept=intercept, calibration_phantom=phantom)

    def _site(self, text: str) -> str:
        if self.site is not None and text in ("", self.site):
            return self.site
        if self.site is not None:
            raise self._error(f"site {self._shown(text)}", f"{self.site}, the site of this folder, or nothing",
                              "correct the cell, or give the row in a --manifest of its own")
        if not text:
            raise self._error("no site", "the short name of a hospital, as in tulane", "fill the cell")
        if SITE_PATTERN.match(text) is None:
            raise self._error(f"site {self._shown(text)}", "lower-case letters and digits alone, as in tulane",
                              "use the site's short name")
        return text

    def _paths(self, image: str, mask: str) -> tuple[Path, Path | None]:
        if not image:
            raise self._error("a mask without its image" if mask else "no image",
                              "the path of the image, relative to the table", "fill the cell")
        image_path, mask_path = self.folder / image, self.folder / mask if mask else None
        if not _exists(image_path):
            raise self._error("a mask without its image: no such image file or folder"
                              if mask_path is not None and _exists(mask_path)
                              else "no such image file or folder",
                              "an existing path, relative to the table", self._repair(image))
        if mask_path is not None and not _exists(mask_path):
            raise self._error("no such mask file", "an existing path, relative to the table",
                              f"{self._repair(mask)}, or empty the cell of an unlabelled scan")
        return image_path, mask_path

    def _repair(self, text: str) -> str:
        return ("write the path with / in place of \\, which is no separator here" if "\\" in text
                else "correct the cell or bring the file")

    def _level(self, values: dict[str, str], column: str, levels: tuple[Level, ...]) -> Level | None:
        text = values.get(column, "")
        if not text:
            return None
        for level in levels:
            if text.lower() == level.lower():
                return level
        raise self._error(f"{column} {self._shown(text)}", f"one of {', '.join(levels)}, or nothing",
                          "correct the cell")

    def _number(self, values: dict[str, str], column: str, expected: str,
                allowed: Callable[[float], bool]) -> float | None:
        text = values.get(column, "")
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or not allowed(value):
            raise self._error(f"{column} {self._shown(text)}", f"{expected}, or nothing", "correct the cell")
        return value

    def _phantom(self, text: str) -> str | None:
        # The name is copied into scans.tsv: a cell of free text could carry anything out of the hospital.
        if text and _PHANTOM_PATTERN.fullmatch(text) is None:
            raise self._error(f"calibration_phantom {self._shown(text)}",
                              "a product name of at most 40 letters, digits, spaces and ._+-", "shorten the name")
        return text or None

    def _shown(self, text: str) -> str:
        if self.identifiable or _SHORT_NUMBER.fullmatch(text):
            return repr(text)
        return f"of {len(text)} characters that is not allowed (--identifiable shows it)"

    def _error(self, found: str, expected: str, action: str) -> FemurError:
        return FemurError(found, expected=expected, action=action, subject=row_label(self.source, self.number))


def _unless_faulty(faults: list[FemurError], parse: Callable[[], Parsed]) -> Parsed | None:
    """Return what ``parse`` returns, or ``None`` with its error added to ``faults``."""
    try:
        return parse()
    except MachineError:
        raise
    except FemurError as error:
        faults.append(error)
        return None


def _by_column(header: list[str], cells: list[str]) -> dict[str, str]:
    return dict(zip(header, (_content(cell) for cell in cells), strict=False))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise_machine_failure(error, "the tables")
        return False  # a cell that is no path at all, such as one of 300 characters


def _content(cell: str) -> str:
    text = cell.strip()
    return "" if text.lower() == MISSING else text
