"""Further tables of ``femur_eval`` that need the scans themselves (``--images``): how they hang on the evaluation.

A table is an object with the methods of :class:`ExtraTable`; :func:`extra_tables` lists them. The evaluation asks each
for the rows of an arm, or reads them back from that arm's earlier result, writes the rows of all arms into one file and
adds the agreement that the table gives to agreement.csv.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from femur_nnunet.cohort import ScanRecord
from femur_nnunet.evaluation.agreement import AgreementRow
from femur_nnunet.evaluation.case_evaluation import CaseJob
from femur_nnunet.evaluation.case_table import CaseRow
from femur_nnunet.evaluation.options import StatisticsOptions
from femur_nnunet.evaluation.texture.options import TextureOptions


@dataclass(frozen=True)
class ArmCases:
    """The cases of one arm, as a further table gets them.

    Attributes
    ----------
    arm : str
        Name of the model.
    jobs : sequence of CaseJob
        Files and record of each case.
    images : Path
        Folder of scans named ``<case_id>_0000.nii.gz`` or ``<case_id>.nii.gz``.
    workers : int
        Processes to use.
    quiet : bool
        No progress bar.
    texture : TextureOptions, optional
        How texture is measured; None: not at all.
    """

    arm: str
    jobs: Sequence[CaseJob]
    images: Path
    workers: int = 1
    quiet: bool = False
    texture: TextureOptions | None = None


class ExtraTable(Protocol):
    """One further table."""

    @property
    def file_name(self) -> str:
        """Name of its file."""
        ...

    def measure(self, cases: ArmCases) -> list[Any]:
        """Return the rows of one arm; what is wrong with a case becomes a row's status."""
        ...

    def read(self, path: Path, arm: str) -> list[Any]:
        """Return the rows of a file that :meth:`write` wrote, under another name of the arm."""
        ...

    def write(self, path: Path, rows: Sequence[Any]) -> None:
        """Write rows of one or several arms."""
        ...

    def agreement(self, rows: Sequence[Any], case_rows: Sequence[CaseRow], records: Mapping[str, ScanRecord],
                  statistics: StatisticsOptions) -> list[AgreementRow]:
        """Return what belongs into agreement.csv."""
        ...

    def failures(self, rows: Sequence[Any]) -> list[str]:
        """Return one line for each row that makes the command end with exit code 1."""
        ...


@runtime_checkable
class SummarisedTable(ExtraTable, Protocol):
    """A further table whose agreement is summed up in a file beside it."""

    def write_summary(self, out: Path, agreement: Sequence[AgreementRow]) -> dict[str, Path]:
        """Write into the folder of the result and return the files by name."""
        ...


@dataclass
class ExtraResult:
    """What the further tables add to an evaluation."""

    files: dict[str, Path] = field(default_factory=dict)
    agreement: list[AgreementRow] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


EXTRA_FILES = ("density.csv", "radiomics.csv", "radiomics_summary.csv")
"""Every file that a further table writes, named without loading what makes it."""

ExtraRows = dict[str, list[Any]]
"""Rows by file name."""


def extra_tables() -> tuple[ExtraTable, ...]:
    """Return the further tables in the order in which they are made."""
    # Imported here: image processing is loaded only by those who ask for it.
    from femur_nnunet.evaluation.density.density_table import DensityTable
    from femur_nnunet.evaluation.texture.table import RadiomicsTable

    return DensityTable(), RadiomicsTable()


def measure_extra(cases: ArmCases) -> ExtraRows:
    """Return the rows of every further table for one arm."""
    return {table.file_name: table.measure(cases) for table in extra_tables()}


def read_extra(folder: Path, arm: str) -> ExtraRows:
    """Return the rows of those further tables that an earlier result of an arm holds."""
    return {table.file_name: table.read(folder / table.file_name, arm) for table in extra_tables()
            if (folder / table.file_name).is_file()}


def write_extra(extra: ExtraRows, case_rows: Sequence[CaseRow], records: Mapping[str, ScanRecord], out: Path,
                statistics: StatisticsOptions) -> ExtraResult:
    """Write the further tables that have rows, remove those of an earlier run, and return what is added."""
    result = ExtraResult()
    for table in extra_tables() if extra else ():
        rows = extra.get(table.file_name)
        if not rows:
            continue
        result.files[table.file_name] = out / table.file_name
        table.write(out / table.file_name, rows)
        agreement = table.agreement(rows, case_rows, records, statistics)
        if isinstance(table, SummarisedTable):
            result.files |= table.write_summary(out, agreement)
        result.agreement += agreement
        result.failures += table.failures(rows)
    # Left in place they would stand beside, and in the report among, tables of other masks.
    for name in EXTRA_FILES:
        if name not in result.files:
            (out / name).unlink(missing_ok=True)
    return result
