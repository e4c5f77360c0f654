"""TransUNet trained on labelled scans, its batch statistics then taken from unlabelled ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from femur_nnunet.adaptation.batch_statistics import has_batch_statistics, take_statistics
from femur_nnunet.errors import UsageError
from femur_nnunet.loading.drawn_patches import drawn_patches
from femur_nnunet.trainers.transunet_trainer import TransUNetTrainer
from femur_nnunet.trainers.unlabelled_scans import UnlabelledScansTrainer

SOURCE_STATISTICS_NAME = "checkpoint_source_statistics.pth"


class TransUNetAdaBNTrainer(UnlabelledScansTrainer):
    """AdaBN (Li et al. 2018): weights of the labelled sites, statistics of the unlabelled ones.

    ``checkpoint_final.pth`` is for the unlabelled sites; ``checkpoint_source_statistics.pth`` has the same weights
    with training's own statistics, for the labelled ones (``nnUNetv2_predict -chk``).
    """

    # One step, and the same batches, as an arm that sees labelled scans alone.
    training_loader = TransUNetTrainer.training_loader
    patches_a_step = TransUNetTrainer.patches_a_step
    _statistics_taken = False

    def extra_state(self) -> dict[str, Any]:
        """Keep whose statistics the network has."""
        return {**super().extra_state(), "statistics_taken": self._statistics_taken}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Know whose statistics the network has."""
        super().load_extra_state(state)
        self._statistics_taken = state["statistics_taken"]

    def on_train_start(self) -> None:
        """Refuse at the start what would fail at the end.

        Raises
        ------
        UsageError
            The plan has no batch normalisation, or there is no unlabelled scan.
        """
        super().on_train_start()
        if not has_batch_statistics(self.bare_network()):
            raise UsageError("a plan with instance normalisation", expected="batch normalisation",
                             action="plan with: femur_plan --set architecture.normalisation=batch")
        if not self._target_cases():
            raise UsageError("no unlabelled scan", expected="scans without masks to take statistics from",
                             action="convert the other site with --unlabelled-site, or train with TransUNetTrainer")

    def on_train_end(self) -> None:
        """Write the state with training's statistics, then checkpoint_final.pth with those of unlabelled scans."""
        if not self._statistics_taken:
            self._take_statistics()
        # Else training was done before, and --c has loaded its checkpoint_final.pth.
        super().on_train_end()

    def _take_statistics(self) -> None:
        self.save_ended_epoch(str(Path(self.output_folder, SOURCE_STATISTICS_NAME)))
        cases = self._target_cases()
        # Placed as training's are: statistics of patches that show the femur oftener would be of other content.
        patches = drawn_patches(self.two_folder_dataset(self.cases.train, cases), cases,
                                self.settings.adaptation.statistics_patches, self.configuration_manager.patch_size,
                                foreground_fraction=self.settings.sampling.foreground_fraction,
                                seed=self.settings.schedule.seed)
        take_statistics(self.bare_network(), patches, self.batch_size)
        self._statistics_taken = True
        self.print_to_log_file(
            f"checkpoint_final.pth: batch statistics of {len(patches)} patches of {len(cases)} unlabelled scans; "
            f"{SOURCE_STATISTICS_NAME}: those of training.")

    def _target_cases(self) -> list[str]:
        # None is kept out of training for a score here.
        return [*self.cases.unlabelled, *self.scoring_cases]
