"""The comparison of several arms: their rows together in every table, and compare.csv."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from femur_nnunet.cohort import ScanRecord
from femur_nnunet.errors import UsageError
from femur_nnunet.evaluation.case_table import CASES_NAME, CaseRow, read_cases
from femur_nnunet.evaluation.compare_table import COMPARE_NAME, CompareRow, compare_arms, write_comparison
from femur_nnunet.evaluation.evaluate import (
    EvaluationSummary,
    evaluate_arm,
    finish_record,
    measure_extra_of_arm,
    read_scans,
    write_tables,
)
from femur_nnunet.evaluation.extra_tables import ExtraRows, read_extra
from femur_nnunet.evaluation.options import EvaluationOptions, RoleChoice, StatisticsOptions
from femur_nnunet.evaluation.texture.options import TextureOptions
from femur_nnunet.files import hold_folder
from femur_nnunet.provenance import RunRecord

DEFAULT_BASES = ("source_only", "source_only_aug")
DEFAULT_ORACLE = "oracle"


@dataclass(frozen=True)
class CompareOptions:
    """What to compare.

    Attributes
    ----------
    arms : dict
        Folder of each arm: a result of femur_eval (it holds cases.csv), or a folder of predictions.
    references : Path or None
        Folder of references; needed where an arm is a folder of predictions.
    scans, out : Path
        The cohort table, and the folder of the result.
    bases : tuple of str
        Arms that gap closed is given against.
    oracle : str
        Arm trained with the target's labels; without it gap closed stays empty.
    role, statistics, jobs, quiet, images, texture
        As in :class:`~femur_nnunet.evaluation.evaluate.EvaluationOptions`.
    """

    arms: Mapping[str, Path]
    references: Path | None
    scans: Path
    out: Path
    bases: tuple[str, ...] = DEFAULT_BASES
    oracle: str = DEFAULT_ORACLE
    role: RoleChoice = "test"
    statistics: StatisticsOptions = field(default_factory=StatisticsOptions)
    jobs: int = 1
    quiet: bool = False
    images: Path | None = None
    texture: TextureOptions | None = None


def compare(options: CompareOptions) -> tuple[EvaluationSummary, list[CompareRow]]:
    """Evaluate or read every arm and write all tables and compare.csv.

    Raises
    ------
    UsageError
        Fewer than two arms, a missing folder, or predictions without a folder of references.
    FemurError
        A table is broken, or the arms were evaluated against different references.
    """
    if len(options.arms) < 2:
        raise UsageError(f"{len(options.arms)} arm", expected="two arms or more, as in source_only=DIR grl=DIR",
                         action="name more arms with --compare")
    arguments = {**vars(options), "statistics": vars(options.statistics)}
    record = RunRecord("femur_eval --compare", arguments, seed=options.statistics.seed)
    records = read_scans(options.scans)
    record.add_inputs([options.scans])
    with hold_folder(options.out):
        rows: list[CaseRow] = []
        extra: ExtraRows = {}
        for arm, folder in options.arms.items():
            own, own_extra = _rows_of_arm(arm, folder, options, records)
            rows += own
            for name, further in own_extra.items():
                extra.setdefault(name, []).extend(further)
        table = compare_arms(rows, bases=options.bases, oracle=options.oracle, resamples=options.statistics.resamples,
                             seed=options.statistics.seed)
        summary = write_tables(rows, records, options.out, options.statistics, extra=extra)
        summary.files[COMPARE_NAME] = options.out / COMPARE_NAME
        write_comparison(summary.files[COMPARE_NAME], table)
        finish_record(record, summary, options.out)
    return summary, table


def _rows_of_arm(arm: str, folder: Path, options: CompareOptions,
                 records: Mapping[str, ScanRecord]) -> tuple[list[CaseRow], ExtraRows]:
    if (folder / CASES_NAME).is_file():
        return [dataclasses.replace(row, arm=arm) for row in read_cases(folder / CASES_NAME)], read_extra(folder, arm)
    if options.references is None:
        raise UsageError(f"no {CASES_NAME} in the folder of arm {arm}",
                         expected="a result of femur_eval, or --references beside a folder of predictions",
                         action="add --references", subject=str(folder))
    own = EvaluationOptions(
        predictions=folder, references=options.references, scans=options.scans, out=options.out, arm=arm,
        role=options.role, statistics=options.statistics, jobs=options.jobs, quiet=options.quiet,
        images=options.images, texture=options.texture)
    rows, _ = evaluate_arm(own, records)
    return rows, measure_extra_of_arm(own, records) if options.images else {}
