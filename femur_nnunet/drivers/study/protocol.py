"""What a study consists of: arms (a trainer with a plan), cohorts with their folds and test cases, and its folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from femur_nnunet.cohort import SCANS_TABLE_NAME, ScanRecord, read_scans_table
from femur_nnunet.drivers.study.grid import Changes, candidates_of, concerns
from femur_nnunet.errors import FemurError, UsageError
from femur_nnunet.files import canonical_json, read_json, sha256_of_text
from femur_nnunet.loading.preprocessed_data import TEST_FOLDERS, files_side, is_up_to_date, plan_side, record_path
from femur_nnunet.nnunet_folders import find_dataset, require_folder
from femur_nnunet.plan_changes import with_changes
from femur_nnunet.planners.plan_options import CONFIGURATION, PlanOptions
from femur_nnunet.planners.presets import settings_for
from femur_nnunet.splits import COHORT_SEX, HASH_NAME, SplitSet, read_splits

TRAINER_ARCHITECTURE = {
    "VNetDiceL2Trainer": "vnet", "FemurTrainer": "unet", "TransUNetTrainer": "transunet",
    "TransUNetDATrainer": "transunet", "TransUNetGRLTrainer": "transunet", "TransUNetMMDTrainer": "transunet",
    "TransUNetDAPlusTrainer": "transunet", "TransUNetMeanTeacherTrainer": "transunet",
    "TransUNetAdaBNTrainer": "transunet"}
"""Our trainers and the architecture that femur_plan makes their plan for."""

_NAME_DIGITS = 6


@dataclass(frozen=True)
class Arm:
    """A trainer with one plan.

    Attributes
    ----------
    trainer, plans_name : str
        As ``-tr`` and ``-p`` take them.
    changes : tuple of str
        Settings of the grid's candidate.
    options : PlanOptions, optional
        What femur_plan is asked for; None where the plan is the user's own.
    """

    trainer: str
    plans_name: str
    changes: Changes = ()
    options: PlanOptions | None = None

    @property
    def name(self) -> str:
        """Name in folders and tables."""
        return f"{self.trainer}__{self.plans_name}"

    @property
    def settings(self) -> str:
        """The candidate's settings in words."""
        return "; ".join(self.changes) or "as planned"


@dataclass(frozen=True)
class CohortFolds:
    """A cohort's folds (nnU-Net's numbers) and its share of the locked test set."""

    name: str
    folds: tuple[int, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class StudyFolders:
    """Where things lie: the result, and the dataset's folder in each of nnU-Net's three."""

    out: Path
    raw: Path
    preprocessed: Path
    results: Path

    def trained(self, arm: Arm) -> Path:
        """Return nnU-Net's folder of an arm's folds."""
        return self.results / f"{arm.name}__{CONFIGURATION}"

    def fold(self, arm: Arm, fold: int) -> Path:
        """Return nnU-Net's folder of a fold."""
        return self.trained(arm) / f"fold_{fold}"

    def validation(self, arm: Arm, fold: int) -> Path:
        """Return the study's folder of a fold: log, references, tables."""
        return self.out / "validation" / arm.name / f"fold_{fold}"

    def test(self, arm: Arm, cohort: str) -> Path:
        """Return the study's folder of an arm's use of the test set."""
        return self.out / "test" / arm.name / cohort

    def plan(self, arm: Arm) -> Path:
        """Return the plans file that a training reads."""
        return self.preprocessed / f"{arm.plans_name}.json"


@dataclass(frozen=True)
class StudyData:
    """The converted dataset as the study needs it.

    ``files_sha256`` and ``test_files_sha256`` are hashes over names, sizes and times of the images and masks of
    training and of the test set.
    """

    folders: StudyFolders
    records: list[ScanRecord]
    splits: SplitSet
    cohorts: list[CohortFolds]
    file_ending: str
    files_sha256: str
    test_files_sha256: str

    @property
    def selection_cohort(self) -> CohortFolds:
        """The cohort whose cross-validation chooses the grid's candidate: the whole one where it is studied."""
        return next((cohort for cohort in self.cohorts if cohort.name == "all"), self.cohorts[0])

    def plan_is_current(self, arm: Arm) -> bool:
        """Say whether the plan is there, made of these scans and this cohort table, with these folds in place."""
        ours, theirs = self.folders.raw, self.folders.preprocessed
        if not self.folders.plan(arm).is_file() or not all(
                (theirs / name).is_file() and (theirs / name).read_bytes() == (ours / name).read_bytes()
                for name in (SCANS_TABLE_NAME, HASH_NAME)):
            return False
        plan = read_json(self.folders.plan(arm), what="a plans file", action="run femur_plan")
        configuration = plan["configurations"][CONFIGURATION]
        data = theirs / configuration["data_identifier"]
        # Data that nnU-Net's own commands made have no record.
        return ((arm.options is None and not record_path(data).exists())
                or is_up_to_date(data, plan_side(plan, configuration), self.files_sha256))


def load_study_data(dataset_id: int, out: Path, cohorts: Sequence[str]) -> StudyData:
    """Read the dataset, check its folds, and find folds and test cases of the cohorts (none named: all there are).

    Raises
    ------
    UsageError
        nnU-Net's folders are not set, or the dataset or a cohort's folds are missing.
    FemurError
        Folds, cohort table or test set are broken.
    """
    raw = find_dataset(require_folder("nnUNet_raw"), dataset_id)
    folders = StudyFolders(out, raw, require_folder("nnUNet_preprocessed") / raw.name,
                           require_folder("nnUNet_results") / raw.name)
    records, splits = read_scans_table(raw / SCANS_TABLE_NAME), read_splits(raw)
    splits.check_against(records)
    dataset = read_json(raw / "dataset.json", what="the dataset.json of convert_qct_sites", action="convert again")
    ending = str(dataset["file_ending"])
    present = list(dict.fromkeys(str(entry["cohort"]) for entry in splits.index))
    lacking = [name for name in cohorts if name not in present]
    if lacking:
        raise UsageError(f"no folds of {', '.join(lacking)} (there are {', '.join(present)})",
                         expected="folds of every cohort of the study",
                         action=f"run: femur_splits -d {dataset_id} --cohorts {','.join(dict.fromkeys(cohorts))}")
    chosen = [CohortFolds(name, tuple(number for number, entry in enumerate(splits.index) if entry["cohort"] == name),
                          _test_cases(name, splits, records, raw, ending))
              for name in (dict.fromkeys(cohorts) if cohorts else present)]
    return StudyData(folders, records, splits, chosen, ending, files_side(raw), files_side(raw, TEST_FOLDERS))


def arms_of(trainers: Sequence[str], base: PlanOptions, grid: Sequence[Changes]) -> dict[str, list[Arm]]:
    """Return the arms of each trainer, one a candidate of the grid.

    A plan made here has a hash of its settings in its name: other settings never meet in one folder of
    results.

    Parameters
    ----------
    trainers : sequence of str
        ``TRAINER``, or ``TRAINER:PLANS`` for a plan that is there already.
    base : PlanOptions
        What all plans have in common; its architecture is set by the trainer.
    grid : sequence of tuple of str
        Candidates; empty for none.

    Raises
    ------
    UsageError
        A trainer is unknown or named twice, a setting is refused, a grid key that no trainer reads, or a
        grid beside a plan of the user's own.
    """
    arms: dict[str, list[Arm]] = {}
    for text in trainers:
        trainer, _, plans_name = text.partition(":")
        if trainer in arms:
            raise UsageError(f"the trainer {trainer} twice", expected="each trainer once", action="leave one out")
        if plans_name:
            if grid or base.changes:
                raise UsageError(f"--grid or --set beside {text}", expected="plans made by femur_study, which the grid "
                                 "can change", action=f"name the trainer alone: --trainer {trainer}")
            arms[trainer] = [Arm(trainer, plans_name)]
            continue
        if trainer not in TRAINER_ARCHITECTURE:
            raise UsageError(f"the trainer {trainer!r}", expected=f"one of {', '.join(TRAINER_ARCHITECTURE)}",
                             action="correct it, or name its plan too: --trainer TRAINER:PLANS")
        architecture = TRAINER_ARCHITECTURE[trainer]
        arms[trainer] = [_planned_arm(trainer, replace(base, architecture=architecture), changes)
                         for changes in candidates_of(grid, architecture)]
    read = {TRAINER_ARCHITECTURE.get(trainer, "") for trainer in arms}
    for change in (change for changes in grid for change in changes):
        if not any(concerns(change, architecture) for architecture in read):
            raise UsageError(f"--grid {change.partition('=')[0]}, which none of {', '.join(arms)} reads",
                             expected="settings of the trainers studied", action="leave it out")
    return arms


def plan_sha256(path: Path) -> str:
    """Return a hash of what a training takes from a plans file."""
    return plan_content_sha256(read_json(path, what="a plans file", action="run femur_plan"))


def plan_content_sha256(plan: Mapping[str, Any]) -> str:
    """Return a hash of what a training takes from a plan."""
    return sha256_of_text(canonical_json({key: plan.get(key) for key in (
        "configurations", "foreground_intensity_properties_per_channel", "transpose_forward")}))


def epochs_of_plan(path: Path) -> int:
    """Return the epochs that a plans file asks for; 0 where it is no plan of ours."""
    plan: dict[str, Any] = read_json(path, what="a plans file", action="run femur_plan")
    own = plan["configurations"][CONFIGURATION].get("femur_nnunet", {})
    return int(own.get("schedule", {}).get("epochs", 0))


def _planned_arm(trainer: str, base: PlanOptions, changes: Changes) -> Arm:
    together = (*base.changes, *changes)
    # Refused here, before hours of training, rather than by femur_plan later.
    with_changes(settings_for(base.preset, base.architecture, epochs=base.epochs, seed=base.seed), together)
    told = [together, base.epochs, base.seed, base.spacing_mm_zyx]
    options = replace(base, changes=together, name=base.name + sha256_of_text(canonical_json(told))[:_NAME_DIGITS])
    return Arm(trainer, options.plans_name, changes, options)


def _test_cases(cohort: str, splits: SplitSet, records: Sequence[ScanRecord], raw: Path,
                ending: str) -> tuple[str, ...]:
    sex = COHORT_SEX.get(cohort)
    by_case = {record.case_id: record for record in records}
    unknown = [case for case in splits.test if case not in by_case or by_case[case].role != "test"]
    if unknown:
        raise FemurError(f"{unknown[0]} in the locked test list, without a row of role test in {SCANS_TABLE_NAME} "
                         f"({len(unknown)} such cases)", expected="the test set that convert_qct_sites drew",
                         action="restore the dataset, or run femur_splits again", subject=cohort)
    # A test scan without a mask can be predicted but not judged.
    cases = tuple(case for case in splits.test if by_case[case].labelled and sex in (None, by_case[case].sex))
    if not cases:
        raise UsageError(f"no labelled test case of the cohort {cohort}", expected="at least one",
                         action="leave the cohort out with --cohorts, or convert with a test set that has it")
    missing = [path for case in cases for path in (raw / "imagesTs" / f"{case}_0000{ending}",
                                                   raw / "labelsTs" / f"{case}{ending}") if not path.is_file()]
    if missing:
        raise FemurError(f"no file {missing[0].parent.name}/{missing[0].name} ({len(missing)} such files)",
                         expected="image and mask of every test case", action="convert the dataset again")
    return cases
