"""A label-free score of the network on fixed patches of unlabelled scans."""

from __future__ import annotations

import math

import torch

from femur_nnunet.adaptation.target_score import TargetScore, perturbed, target_score
from femur_nnunet.loading.fixed_patches import fixed_patches
from femur_nnunet.trainers.unlabelled_scans import UnlabelledScansTrainer

# Read once, and not put through the network: many, since their share of femur is what the score is measured by.
_LABELLED_PATCHES = 32


class ScoringTrainer(UnlabelledScansTrainer):
    """Holds the patches that are scored, on the rank that writes checkpoints."""

    _target: tuple[torch.Tensor, torch.Tensor, float] | None = None

    def on_train_start(self) -> None:
        """Load the patches that are scored, and the share of femur that is expected in them."""
        super().on_train_start()
        count = self.settings.selection.target_patches
        if count == 0 or self.local_rank != 0:
            return
        scored = self.scoring_cases or self.cases.unlabelled
        if not scored:
            self.print_to_log_file("No unlabelled scan: no checkpoint is chosen by a target score.")
            return
        dataset = self.two_folder_dataset(self.cases.train, scored)
        patch_size = self.configuration_manager.patch_size
        patches, _ = fixed_patches(dataset, scored, count, patch_size)
        _, shares = fixed_patches(dataset.with_substitutes_everywhere(), self.cases.train, _LABELLED_PATCHES,
                                  patch_size)
        if not shares.any():
            self.print_to_log_file("Femora lie at other places in every labelled scan: no share of femur can be "
                                   "expected in unlabelled ones, and no checkpoint is chosen by a target score.")
            return
        self._target = patches, perturbed(patches), float(shares.mean())
        self.print_to_log_file(f"A checkpoint is chosen on {count} patches of {len(set(scored))} unlabelled scans, "
                               + ("kept out of training." if self.scoring_cases else
                                  "which training sees too: some are kept out only where selection.becomes_final is "
                                  "true, of sites with five participants or more."))

    def score_target(self) -> TargetScore | None:
        """Return the score where one is due after this epoch, else None."""
        done = self.current_epoch + 1
        if self._target is None or (done % self.epochs_between_scores and done != self.num_epochs):
            return None
        return target_score(self._predicted_mask, *self._target)

    @property
    def epochs_between_scores(self) -> int:
        """Epochs from one score to the next: by the plan, or as often as costs about 2 % of training.

        A training step is counted as three passes for each of its patches; unlabelled ones skip the
        decoder, so that one per cent by this count is about two of the time.
        """
        selection = self.settings.selection
        if selection.every_epochs:
            return selection.every_epochs
        passes = 3 * self.batch_size * self.num_iterations_per_epoch
        return math.ceil(2 * selection.target_patches / (0.01 * passes))

    def _predicted_mask(self, patches: torch.Tensor) -> torch.Tensor:
        # The network without its wrappers: other ranks take no part, and torch.compile would compile
        # for this size too.
        network = self.bare_network()
        with torch.no_grad(), self.precision():
            outputs = network(patches.to(self.device))
        logits = outputs[0] if isinstance(outputs, (list, tuple)) else outputs
        return logits.argmax(1) > 0
