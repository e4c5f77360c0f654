"""Running the protocol: what is missing is done, each finished fold leaves its row, the test set comes last."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from femur_nnunet.command_line import get_logger
from femur_nnunet.drivers.steps import Step, StepRunner
from femur_nnunet.drivers.study.commands import (
    RunSettings,
    link_files,
    links_line,
    locked_test_step,
    plan_step,
    predict_step,
    shell_line,
    train_step,
    validation_step,
)
from femur_nnunet.drivers.study.fold_table import (
    FOLDS_NAME,
    GRID_NAME,
    CandidateScore,
    FoldRow,
    add_fold,
    read_folds,
    score_candidates,
    values_of,
    write_grid,
)
from femur_nnunet.drivers.study.group_values import measure_group, read_judged
from femur_nnunet.drivers.study.locked_test import TEST_USE_NAME, Choice, claim_test_set
from femur_nnunet.drivers.study.protocol import Arm, CohortFolds, StudyData, epochs_of_plan, plan_sha256
from femur_nnunet.drivers.study.study_table import StudyRow, rows_of_test_set, validation_row
from femur_nnunet.drivers.study.training_state import FINAL_NAME, Training, name_aside, training_needed
from femur_nnunet.errors import FemurError
from femur_nnunet.evaluation.case_table import CASES_NAME
from femur_nnunet.files import hold_folder, read_json, write_json

LOG = get_logger(__name__)
_INPUTS_NAME = "inputs.json"
_SECONDS_A_MINUTE = 60.0


class OutOfTimeError(Exception):
    """The next fold would not fit into the minutes that were given; all before it is written."""


@dataclass
class StudyRunner:
    """Runs a study on a dataset.

    Attributes
    ----------
    data : StudyData
        The dataset.
    arms : mapping
        Of each trainer: one arm a candidate of the grid.
    run : RunSettings
        How the commands run.
    max_minutes : float, optional
        No fold is begun that would end after this time.
    again : bool
        Let another choice see the test set.
    quiet : bool
        No bars.
    held : tuple of int
        File descriptors that the commands hold as well, such as that of the lock of ``--out``.
    """

    data: StudyData
    arms: Mapping[str, Sequence[Arm]]
    run: RunSettings
    max_minutes: float | None = None
    again: bool = False
    quiet: bool = False
    held: tuple[int, ...] = ()
    scores: list[CandidateScore] = field(default_factory=list)
    test_rows: list[StudyRow] = field(default_factory=list)
    _started: float = field(default_factory=lambda: time.monotonic())

    @property
    def folds_path(self) -> Path:
        """The table of finished folds."""
        return self.data.folders.out / FOLDS_NAME

    def run_all(self) -> None:
        """Do all that is missing.

        Raises
        ------
        OutOfTimeError
            The time is over; ``scores`` and ``test_rows`` hold what is done.
        FemurError
            A command failed.
        """
        # Looked at before any is made: femur_plan also renews tables and data, beside which an old plan looks present.
        stale = self._stale_plans()
        for arm in self._all_arms():
            self._plan(arm, renew=arm in stale)
        selection = self.data.selection_cohort
        for arm in self._all_arms():
            self._cross_validate(arm, selection)
        chosen = self._choose()
        for arm in chosen:
            for cohort in self.data.cohorts:
                self._cross_validate(arm, cohort)
        for arm in chosen:
            self._use_test_set(arm)

    def validation_rows(self) -> list[StudyRow]:
        """Return the validation rows of the chosen arms, of cohorts whose folds are all there."""
        rows, found = {row.key: row for row in self._valid_rows()}, []
        for arm in (score.arm for score in self.scores if score.chosen):
            for cohort in self.data.cohorts:
                own = [rows[key] for fold in cohort.folds if (key := (arm.trainer, arm.plans_name, fold)) in rows]
                if len(own) == len(cohort.folds):
                    found.append(validation_row(own))
        return found

    def missing_folds(self) -> list[tuple[Arm, CohortFolds, int]]:
        """Return the folds that have no valid row and whose arm is known: candidates first, then the chosen ones."""
        done = {row.key for row in self._valid_rows()}
        selection = self.data.selection_cohort
        wanted = [(arm, selection, fold) for arm in self._all_arms() for fold in selection.folds]
        known = self._known_choices()
        wanted += [(arm, cohort, fold) for arm in known for cohort in self.data.cohorts for fold in cohort.folds
                   if cohort is not selection]
        return [(arm, cohort, fold) for arm, cohort, fold in wanted if (arm.trainer, arm.plans_name, fold) not in done]

    def shell_lines(self) -> list[str]:
        """Return, as a shell would take them, the commands of all that is missing."""
        folders = self.data.folders
        lines = [shell_line(plan_step(arm, self.run)) for arm in self._stale_plans()]
        for arm, _, fold in self.missing_folds():
            validation = self.data.splits.folds[fold]["val"]
            needed, trained = self._training_needed(arm, fold), folders.fold(arm, fold)
            if needed is Training.ANEW and (aside := name_aside(trained)):
                lines.append(shlex.join(["mv", str(trained), str(aside)]))
            lines += [shell_line(step) for step in self._training_steps(arm, fold, needed)]
            lines += [links_line(folders.validation(arm, fold) / "references", "labelsTr", validation),
                      shell_line(validation_step(arm, fold, self.run, folders))]
        known = self._known_choices()
        for trainer in (trainer for trainer in self.arms if trainer not in {arm.trainer for arm in known}):
            names = ", ".join(cohort.name for cohort in self.data.cohorts if cohort is not self.data.selection_cohort)
            lines.append(f"# {trainer}: the candidate is chosen by its cross-validation on "
                         f"{self.data.selection_cohort.name}; then come the folds of {names or 'no other cohort'}, and "
                         "the test set. Run --dry-run again then.")
        for arm in known:
            for cohort in (cohort for cohort in self.data.cohorts if not self._test_is_done(arm, cohort)):
                own = folders.test(arm, cohort.name)
                lines += [links_line(own / "images", "imagesTs", cohort.test),
                          links_line(own / "references", "labelsTs", cohort.test),
                          shell_line(predict_step(arm, cohort, self.run, folders)),
                          shell_line(locked_test_step(arm, cohort, self.run, folders))]
        return lines

    def folds_to_train(self) -> list[tuple[Arm, int]]:
        """Return the missing folds whose network is not trained or not validated."""
        return [(arm, fold) for arm, _, fold in self.missing_folds()
                if self._training_needed(arm, fold) is not Training.NONE]

    def prepare_training(self, arm: Arm, fold: int) -> Training:
        """Note what a fold is about to be trained on, an older network moved aside; return what is to be done."""
        needed, trained = self._training_needed(arm, fold), self.data.folders.fold(arm, fold)
        if needed is Training.NONE:
            return needed
        if needed is Training.ANEW and (aside := name_aside(trained)):
            # First, so that a study that is stopped here finds no network that the note would not fit.
            trained.rename(aside)
            LOG.warning("%s holds no network of this plan, this fold and these scans: moved to %s", trained, aside.name)
        own = self.data.folders.validation(arm, fold)
        own.mkdir(parents=True, exist_ok=True)
        write_json(own / _INPUTS_NAME, self._fold_inputs(arm, fold))
        return needed

    def plan_lines(self) -> list[str]:
        """Return the commands that make the plans."""
        return [shell_line(plan_step(arm, self.run)) for arm in self._all_arms() if arm.options is not None]

    def _all_arms(self) -> list[Arm]:
        return [arm for arms in self.arms.values() for arm in arms]

    def _known_choices(self) -> list[Arm]:
        """Return the chosen arm of each trainer whose choice needs no more folds."""
        rows, known = self._valid_rows(), []
        for arms in self.arms.values():
            if len(arms) == 1:
                known.append(arms[0])
                continue
            try:
                scores = score_candidates(arms, self.data.selection_cohort, rows)
            except FemurError:
                continue
            known += [score.arm for score in scores if score.chosen]
        return known

    def _stale_plans(self) -> list[Arm]:
        return [arm for arm in self._all_arms() if arm.options is not None and not self.data.plan_is_current(arm)]

    def _plan(self, arm: Arm, *, renew: bool) -> None:
        if renew:
            self._steps(self.data.folders.out / "plans" / arm.plans_name, [plan_step(arm, self.run)])
        if not self.data.plan_is_current(arm):
            raise FemurError(f"no {self.data.folders.plan(arm).name}, or one beside other folds or other scans",
                             expected="a plan of this dataset with its present folds in place",
                             action="run femur_plan for it", subject=arm.name)

    def _cross_validate(self, arm: Arm, cohort: CohortFolds) -> None:
        for fold in cohort.folds:
            done = {row.key for row in self._valid_rows()}
            if (arm.trainer, arm.plans_name, fold) not in done:
                self._check_time(arm)
                self._run_fold(arm, cohort, fold)

    def _run_fold(self, arm: Arm, cohort: CohortFolds, fold: int) -> None:
        folders, started = self.data.folders, time.monotonic()
        own = folders.validation(arm, fold)
        validation = self.data.splits.folds[fold]["val"]
        inputs, needed = self._fold_inputs(arm, fold), self.prepare_training(arm, fold)
        steps, seconds = self._training_steps(arm, fold, needed), float("nan")
        link_files(own / "references", [folders.raw / "labelsTr" / f"{case}{self.data.file_ending}"
                                        for case in validation])
        self._steps(own, [*steps, validation_step(arm, fold, self.run, folders)])
        if needed is Training.ANEW:
            seconds = round(time.monotonic() - started, 1)
        write_json(own / _INPUTS_NAME, inputs)
        group = measure_group(read_judged(own / "tables" / CASES_NAME, validation))
        add_fold(self.folds_path, FoldRow(
            arm.trainer, arm.plans_name, arm.settings, cohort.name, fold, group.n, group.n_missed, seconds,
            self.run.device, datetime.now(tz=timezone.utc).isoformat(), inputs["plan_sha256"], inputs["fold_sha256"],
            inputs["files_sha256"], values=values_of(group)))

    def _choose(self) -> list[Arm]:
        rows = self._valid_rows()
        self.scores = [score for arms in self.arms.values()
                       for score in score_candidates(arms, self.data.selection_cohort, rows)]
        write_grid(self.data.folders.out / GRID_NAME, self.scores)
        return [score.arm for score in self.scores if score.chosen]

    def _use_test_set(self, arm: Arm) -> None:
        folders = self.data.folders
        with hold_folder(folders.results):
            choices = claim_test_set(folders.results / TEST_USE_NAME, self._choice(arm), again=self.again)
        for cohort in self.data.cohorts:
            own = folders.test(arm, cohort.name)
            if not self._test_is_done(arm, cohort):
                self._check_time(None)
                # A prediction that is stopped half-way must not pass for the present one.
                (own / _INPUTS_NAME).unlink(missing_ok=True)
                for name, source, ending in (("images", "imagesTs", f"_0000{self.data.file_ending}"),
                                             ("references", "labelsTs", self.data.file_ending)):
                    link_files(own / name, [folders.raw / source / f"{case}{ending}" for case in cohort.test])
                self._steps(own, [predict_step(arm, cohort, self.run, folders),
                                  locked_test_step(arm, cohort, self.run, folders)])
                write_json(own / _INPUTS_NAME, self._test_inputs(arm, cohort))
            self.test_rows += rows_of_test_set(
                read_judged(own / "tables" / CASES_NAME, cohort.test), trainer=arm.trainer, plans=arm.plans_name,
                settings=arm.settings, cohort=cohort.name, choices=choices)

    def _choice(self, arm: Arm) -> Choice:
        return Choice(arm.trainer, arm.plans_name, arm.settings, plan_sha256(self.data.folders.plan(arm)),
                      self.data.splits.sha256)

    def _test_inputs(self, arm: Arm, cohort: CohortFolds) -> dict[str, Any]:
        finished = {row.key: row.finished for row in self._valid_rows()}
        return {"choice_sha256": self._choice(arm).sha256, "test": list(cohort.test),
                "test_files_sha256": self.data.test_files_sha256,
                "folds": [finished.get((arm.trainer, arm.plans_name, fold)) for fold in cohort.folds]}

    def _test_is_done(self, arm: Arm, cohort: CohortFolds) -> bool:
        own = self.data.folders.test(arm, cohort.name)
        return (self.data.plan_is_current(arm) and (own / "tables" / CASES_NAME).is_file()
                and self._recorded(own) == self._test_inputs(arm, cohort))

    def _valid_rows(self) -> list[FoldRow]:
        """Return the rows whose plan, fold, scans and checkpoint are those of now."""
        arms = {(arm.trainer, arm.plans_name): arm for arm in self._all_arms() if self.data.plan_is_current(arm)}
        valid = []
        for row in read_folds(self.folds_path):
            arm = arms.get((row.trainer, row.plans))
            if arm is None or row.fold >= len(self.data.splits.folds):
                continue
            inputs, folders = self._fold_inputs(arm, row.fold), self.data.folders
            # A fold that was begun anew since has another note.
            if (inputs == {name: getattr(row, name) for name in inputs}
                    and self._recorded(folders.validation(arm, row.fold)) == inputs
                    and (folders.fold(arm, row.fold) / FINAL_NAME).is_file()):
                valid.append(row)
        return valid

    def _fold_inputs(self, arm: Arm, fold: int) -> dict[str, str]:
        """Return hashes of what a network of a fold is made of; without the plan's where there is none yet."""
        plan = self.data.folders.plan(arm)
        inputs = {"fold_sha256": self.data.splits.fold_sha256[fold], "files_sha256": self.data.files_sha256}
        return inputs | ({"plan_sha256": plan_sha256(plan)} if plan.is_file() else {})

    def _training_needed(self, arm: Arm, fold: int) -> Training:
        folders = self.data.folders
        return training_needed(folders.fold(arm, fold), self._fold_inputs(arm, fold),
                               self._recorded(folders.validation(arm, fold)), self.data.splits.folds[fold]["val"],
                               self.data.file_ending)

    def _training_steps(self, arm: Arm, fold: int, needed: Training) -> list[Step]:
        if needed is Training.NONE:
            return []
        plan = self.data.folders.plan(arm)
        return [train_step(arm, fold, self.run, epochs=epochs_of_plan(plan) if plan.is_file() else 0,
                           go_on=needed is Training.GO_ON)]

    def _recorded(self, own: Path) -> dict[str, Any] | None:
        path = own / _INPUTS_NAME
        return read_json(path, what="the study's own note", action="remove it") if path.exists() else None

    def _check_time(self, arm: Arm | None) -> None:
        """Stop before a fold whose like took longer than what is left of the time."""
        if self.max_minutes is None:
            return
        passed = time.monotonic() - self._started
        like = [row.seconds for row in read_folds(self.folds_path)
                if arm is not None and row.trainer == arm.trainer and row.device == self.run.device
                and math.isfinite(row.seconds)]
        expected = max(like, default=0.0)
        if passed + expected > self.max_minutes * _SECONDS_A_MINUTE:
            raise OutOfTimeError(f"{passed / _SECONDS_A_MINUTE:.1f} of {self.max_minutes:g} minutes are over and the "
                                 f"next fold takes about {expected / _SECONDS_A_MINUTE:.1f}")

    def _steps(self, folder: Path, steps: list[Step]) -> None:
        runner = StepRunner(folder, quiet=self.quiet, held=self.held)
        # What is done is known from folds.csv and the checkpoints; a note from before may be of other inputs.
        runner.state_path.unlink(missing_ok=True)
        runner.run(steps)
