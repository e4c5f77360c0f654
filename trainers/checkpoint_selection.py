"""Choice of a checkpoint by the source's Dice and a label-free score on unlabelled scans."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from femur_nnunet.adaptation.target_score import TargetScore, combined_score, perturbed, target_score
from femur_nnunet.files import atomic_path, write_json
from femur_nnunet.loading.fixed_patches import fixed_patches
from femur_nnunet.trainers.resumable import CHECKPOINT_KEY
from femur_nnunet.trainers.unlabelled_scans import UnlabelledScansTrainer

SELECTED_NAME = "checkpoint_selected.pth"
SELECTION_JSON_NAME = "checkpoint_selection.json"
SELECTION_KEYS = ("target_agreement", "target_plausibility", "selection_score")
_LABELLED_PATCHES = 16


class SelectingTrainer(UnlabelledScansTrainer):
    """Scores fixed patches of unlabelled scans after epochs and keeps the best state."""

    best_selection: dict[str, float] | None = None
    _target: tuple[torch.Tensor, torch.Tensor, float] | None = None
    _selected_now = False

    def extra_state(self) -> dict[str, Any]:
        """Keep the best score so far, so that a resumed training does not choose anew."""
        return {**super().extra_state(), "best_selection": self.best_selection}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take the best score back."""
        super().load_extra_state(state)
        self.best_selection = state["best_selection"]

    def on_train_start(self) -> None:
        """Load the patches that are scored, on the rank that writes checkpoints."""
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
        _, shares = fixed_patches(dataset, self.cases.train, _LABELLED_PATCHES, patch_size)
        self._target = patches, perturbed(patches), float(shares.mean())
        self.print_to_log_file(f"A checkpoint is chosen on {count} patches of {len(set(scored))} unlabelled scans, "
                               + ("kept out of training." if self.scoring_cases else
                                  "which training sees too: there are too few participants to keep any out."))

    def on_validation_epoch_end(self, val_outputs: list[dict]) -> None:
        """Score the target patches behind nnU-Net's validation on the source."""
        super().on_validation_epoch_end(val_outputs)
        if self.local_rank != 0:
            return
        self._selected_now = False
        target, combined = TargetScore(math.nan, math.nan), math.nan
        done = self.current_epoch + 1
        if self._target is not None and (done % self.epochs_between_scores == 0 or done == self.num_epochs):
            patches, views, expected_share = self._target
            target = target_score(self._predicted_mask, patches, views, expected_share)
            combined = combined_score(self.logger.get_value("mean_fg_dice", step=None), target,
                                      self.settings.selection.source_weight)
            best = -math.inf if self.best_selection is None else self.best_selection["combined_score"]
            if combined > best:
                self._selected_now = True
                self.best_selection = {
                    "epoch": self.current_epoch, "combined_score": combined, "target_agreement": target.agreement,
                    "target_plausibility": target.plausibility,
                    "source_dice": float(self.logger.get_value("mean_fg_dice", step=-1))}
        for key, value in zip(SELECTION_KEYS, (target.agreement, target.plausibility, combined), strict=True):
            self.logger.log(key, value, self.current_epoch)

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

    def on_epoch_end(self) -> None:
        """Write the state that was chosen in this epoch, and why."""
        super().on_epoch_end()
        if not self._selected_now:
            return
        assert self.best_selection is not None
        best = self.best_selection
        self.print_to_log_file(
            f"Chosen without target labels: epoch {best['epoch']}, combined score {best['combined_score']:.4f} "
            f"(source Dice {best['source_dice']:.4f}, target agreement {best['target_agreement']:.4f} x "
            f"plausibility {best['target_plausibility']:.4f})")
        # nnU-Net has counted the epoch already, and its checkpoints hold the next one's number.
        self.current_epoch -= 1
        self.save_checkpoint(str(Path(self.output_folder, SELECTED_NAME)))
        self.current_epoch += 1
        self._write_selection("last epoch")

    def _write_selection(self, final: str) -> None:
        weight = self.settings.selection.source_weight
        write_json(Path(self.output_folder, SELECTION_JSON_NAME), {
            **(self.best_selection or {}), "file": SELECTED_NAME, "checkpoint_final_holds": final,
            "rule": f"{weight:g} x mean source validation Dice of the last 3 epochs + {1 - weight:g} x agreement x "
                    "plausibility of predictions on fixed patches of unlabelled scans",
            "scans_kept_out_of_training": bool(self.scoring_cases)})

    def on_train_end(self) -> None:
        """Write checkpoint_final.pth; where the plan says so, with the chosen weights."""
        super().on_train_end()
        selected = Path(self.output_folder, SELECTED_NAME)
        if not self.settings.selection.becomes_final or self.disable_checkpointing or not selected.exists():
            return
        weights = torch.load(selected, map_location="cpu", weights_only=False)["network_weights"]
        # The validation that follows is to be that of checkpoint_final.pth.
        self.bare_network().load_state_dict(weights)
        if self.local_rank == 0:
            assert self.best_selection is not None
            final = Path(self.output_folder, "checkpoint_final.pth")
            # The last epoch's number stays, so that --c knows that training is done.
            content = torch.load(final, map_location="cpu", weights_only=False)
            content["network_weights"] = weights
            content[CHECKPOINT_KEY]["selected_epoch"] = self.best_selection["epoch"]
            with atomic_path(final) as temporary:
                torch.save(content, temporary)
            self._write_selection("selected epoch")
            self.print_to_log_file(f"checkpoint_final.pth holds the weights of epoch {self.best_selection['epoch']}.")
        if self.is_ddp:
            distributed.barrier()
