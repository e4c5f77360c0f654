"""From tables to tasks: which rows are converted, under which id and in which role."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from femur_nnunet.calibration.phantoms import load_phantoms
from femur_nnunet.cohort import MISSING, Role, ScanRecord
from femur_nnunet.dataset_conversion import rochester, tulane
from femur_nnunet.dataset_conversion.case_conversion import RowTask
from femur_nnunet.dataset_conversion.cohort_checks import (
    Person,
    alike_participants,
    check_cohort,
    refuse_hash_collisions,
)
from femur_nnunet.dataset_conversion.conversion_options import ConversionOptions
from femur_nnunet.dataset_conversion.conversion_state import RowKey
from femur_nnunet.dataset_conversion.locked_test_set import draw_roles
from femur_nnunet.dataset_conversion.manifest import ManifestRow, ManifestTable, RowProblem, read_manifest
from femur_nnunet.dataset_conversion.participant_ids import GivenIds, participant_digits
from femur_nnunet.dataset_conversion.site_folder import METADATA_NAME
from femur_nnunet.dataset_conversion.strata import Participant, age_band
from femur_nnunet.errors import FemurError, UsageError
from femur_nnunet.volume_io import ReadingRules


@dataclass
class ConversionPlan:
    """What is to be done: one task a sound row, and the rows that cannot be converted."""

    tasks: list[RowTask] = field(default_factory=list)
    problems: list[RowProblem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_tables(options: ConversionOptions) -> ManifestTable:
    """Read the tables of all sources that the options name."""
    tables = []
    if options.tulane is not None:
        tables.append(tulane.read_tulane(options.tulane, identifiable=options.identifiable))
    if options.rochester is not None:
        tables.append(rochester.read_rochester(options.rochester, identifiable=options.identifiable))
    if options.manifest is not None:
        tables.append(read_manifest(options.manifest, identifiable=options.identifiable))
    return ManifestTable(rows=[row for table in tables for row in table.rows],
                         problems=[problem for table in tables for problem in table.problems],
                         warnings=[warning for table in tables for warning in table.warnings])


def table_paths(options: ConversionOptions) -> dict[str, Path]:
    """Return the table of each source that the options name."""
    paths = {tulane.SITE: options.tulane, rochester.SITE: options.rochester}
    tables = {site: folder / METADATA_NAME for site, folder in paths.items() if folder is not None}
    return tables if options.manifest is None else {**tables, "manifest": options.manifest}


def plan_conversion(table: ManifestTable, options: ConversionOptions, secret: bytes,
                    listed: Sequence[ScanRecord] = (), given_ids: GivenIds | None = None) -> ConversionPlan:
    """Check the rows against each other, settle roles and make the tasks.

    Parameters
    ----------
    table : ManifestTable
        Rows of all sources.
    options : ConversionOptions
        The options.
    secret : bytes
        Key of the ids.
    listed : sequence of ScanRecord
        Cases that the dataset lists already: their participants keep their roles.
    given_ids : mapping, optional
        The user's own ids in place of keyed hashes.
    """
    rows, contradictions = check_cohort(table.rows)
    rows, collisions = (refuse_hash_collisions(rows, secret) if given_ids is None
                        else _refuse_without_id(rows, given_ids))
    hashes = {row.person: digits for row in table.rows
              if (digits := participant_digits(secret, given_ids, row.site, row.participant)) is not None}
    # By site and hash, since the 8 digits may recur at another site.
    locked: dict[tuple[str, str], Role] = {(record.site, record.participant_id[4:]): record.role
                                           for record in listed}
    locked_persons = {person: locked[person[0], hashed] for person, hashed in hashes.items()
                      if (person[0], hashed) in locked}
    rows, moved = _refuse_moved_roles(rows, locked_persons)
    roles = _settle_roles(rows, locked_persons, hashes, options)
    phantoms = load_phantoms(options.phantom_table)
    tasks = [RowTask(row=row, key=_row_key(row, hashes[row.person]), role=roles[row.person],
                     use_mask=row.mask is not None and not (row.site in options.unlabelled_sites
                                                            and roles[row.person] == "train"),
                     secret=secret, dataset=options.dataset_folder, staging=options.staging_folder,
                     mask_labels=options.mask_labels, keep_unlabelled_hip=options.keep_unlabelled_hip,
                     keep_bilateral=options.keep_bilateral, identifiable=options.identifiable,
                     reading=ReadingRules(options.resample_irregular, options.correct_tilt),
                     calibrate=options.calibrate, phantoms=phantoms)
             for row in rows]
    problems = [*table.problems, *contradictions, *collisions, *moved]
    return ConversionPlan(tasks, [_with_case_ids(problem, secret, options, given_ids) for problem in problems],
                          [*table.warnings, *alike_participants(rows)])


def refuse_unknown_sites(table: ManifestTable, options: ConversionOptions) -> None:
    """Refuse an ``--unlabelled-site`` that no source has: misspelt, it would let masks into training.

    Raises
    ------
    UsageError
        A site is unknown.
    """
    known = {row.site for row in table.rows} | {problem.row.site for problem in table.problems if problem.row}
    known |= {tulane.SITE} if options.tulane is not None else set()
    known |= {rochester.SITE} if options.rochester is not None else set()
    unknown = sorted(set(options.unlabelled_sites) - known)
    # A manifest that could not be read at all may have had any site; its failure is told instead.
    unread = any(problem.number == 0 and problem.source == "manifest" for problem in table.problems)
    if unknown and not unread:
        raise UsageError(f"--unlabelled-site {unknown[0]}",
                         expected=f"a site of the tables ({', '.join(sorted(known))})",
                         action="correct --unlabelled-site")


def problem_key(problem: RowProblem, secret: bytes, given_ids: GivenIds | None = None) -> RowKey | None:
    """Return the key of a refused row as far as it could be read."""
    row = problem.row
    digits = None if row is None else participant_digits(secret, given_ids, row.site, row.participant)
    return None if row is None or digits is None else _row_key(row, digits)


def problem_case_ids(problem: RowProblem, secret: bytes, options: ConversionOptions,
                     given_ids: GivenIds | None = None) -> list[str]:
    """Return the case ids of a refused row; none if it could not be read that far."""
    key = problem_key(problem, secret, given_ids)
    return [] if key is None else [key.case_id(side)
                                   for side in key.case_sides(keep_bilateral=options.keep_bilateral)]


def _row_key(row: ManifestRow, hashed: str) -> RowKey:
    return RowKey(row.site, hashed, row.visit, row.side)


def _with_case_ids(problem: RowProblem, secret: bytes, options: ConversionOptions,
                   given_ids: GivenIds | None) -> RowProblem:
    case_ids = problem_case_ids(problem, secret, options, given_ids)
    if not case_ids:
        return problem
    error = problem.error
    return RowProblem(problem.source, problem.number, FemurError(
        error.found, expected=error.expected, action=error.action,
        subject=f"{error.subject} ({' and '.join(case_ids)})"), problem.row)


def _refuse_without_id(rows: Sequence[ManifestRow],
                       given_ids: GivenIds) -> tuple[list[ManifestRow], list[RowProblem]]:
    lacking = [row for row in rows if row.person not in given_ids]
    return [row for row in rows if row.person in given_ids], [RowProblem(row.source, row.number, FemurError(
        "a participant whom the table of ids lacks", expected="every participant in it",
        action="add the participant to the table behind --own-ids", subject=row.label), row) for row in lacking]


def _refuse_moved_roles(rows: Sequence[ManifestRow],
                        locked: Mapping[Person, Role]) -> tuple[list[ManifestRow], list[RowProblem]]:
    sound, problems = [], []
    for row in rows:
        role = locked.get(row.person)
        if row.role is None or role is None or row.role == role:
            sound.append(row)
            continue
        problems.append(RowProblem(row.source, row.number, FemurError(
            f"role {row.role} for a participant whom this dataset holds as {role}",
            expected="the role of the first conversion: the test set is locked",
            action="restore the role, or convert into a new dataset (another --dataset-id)",
            subject=row.label), row))
    return sound, problems


def _settle_roles(rows: Sequence[ManifestRow], locked: Mapping[Person, Role], hashes: Mapping[Person, str],
                  options: ConversionOptions) -> dict[Person, Role]:
    by_person: dict[Person, list[ManifestRow]] = defaultdict(list)
    for row in rows:
        by_person[row.person].append(row)
    given: dict[Person, Role] = {row.person: row.role for row in rows if row.role is not None}
    # Without any mask a test participant could not be evaluated.
    open_persons = {f"{person[0]} {hashes[person]}": person for person, person_rows in by_person.items()
                    if person not in given and any(row.mask is not None for row in person_rows)}
    candidates = []
    for name, person in open_persons.items():
        first = min(by_person[person], key=lambda row: row.visit)
        candidates.append(Participant(name, person[0], first.sex or MISSING, age_band(first.age_years)))
    drawn = draw_roles(candidates, options.test_fraction,
                       locked={name: locked[person] for name, person in open_persons.items() if person in locked},
                       sites_with_test=sorted({person[0] for person, role in given.items() if role == "test"}),
                       seed=options.seed)
    roles: dict[Person, Role] = {person: locked.get(person, "train") for person in by_person}
    roles |= given
    roles |= {open_persons[name]: role for name, role in drawn.items()}
    return roles
