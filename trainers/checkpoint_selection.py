"""Choice of a checkpoint by the source's Dice and a label-free score on unlabelled scans."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from femur_nnunet.adaptation.target_score import combined_score
from femur_nnunet.files import write_json
from femur_nnunet.trainers.resumable import CHECKPOINT_KEY
from femur_nnunet.trainers.selected_weights import SELECTED_NAME, make_selected_final
from femur_nnunet.trainers.target_scoring import ScoringTrainer

SELECTION_JSON_NAME = "checkpoint_selection.json"
SELECTION_KEYS = ("target_agreement", "target_plausibility", "selection_score")


class SelectingTrainer(ScoringTrainer):
    """Keeps the state with the best score, of this training alone."""

    best_selection: dict[str, float] | None = None
    _selected_now = False

    def extra_state(self) -> dict[str, Any]:
        """Keep the best score so far, so that a resumed training does not choose anew."""
        return {**super().extra_state(), "best_selection": self.best_selection}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take the best score back."""
        super().load_extra_state(state)
        self.best_selection = state["best_selection"]

    def on_train_start(self) -> None:
        """Part with the choice of an earlier training in this folder, or go on with this one's."""
        super().on_train_start()
        if self.local_rank != 0 or self.disable_checkpointing:
            return
        path = Path(self.output_folder, SELECTED_NAME)
        if self.current_epoch == 0:
            path.unlink(missing_ok=True)
            Path(self.output_folder, SELECTION_JSON_NAME).unlink(missing_ok=True)
        elif path.exists():
            # The training may have been stopped after a choice that its last checkpoint knows nothing of.
            content = torch.load(path, map_location="cpu", weights_only=False)
            self.best_selection = content[CHECKPOINT_KEY]["best_selection"]
        elif self.best_selection is not None:
            self.best_selection = None
            self.print_to_log_file(f"{SELECTED_NAME} is gone: a checkpoint is chosen among the epochs that follow.")

    def on_validation_epoch_end(self, val_outputs: list[dict]) -> None:
        """Score the target patches behind nnU-Net's validation on the source."""
        super().on_validation_epoch_end(val_outputs)
        if self.local_rank != 0:
            return
        self._selected_now = False
        target, values = self.score_target(), (math.nan, math.nan, math.nan)
        if target is not None:
            combined = combined_score(self.logger.get_value("mean_fg_dice", step=None), target,
                                      self.settings.selection.source_weight)
            values = target.agreement, target.plausibility, combined
            self._selected_now = self.best_selection is None or combined > self.best_selection["combined_score"]
        if self._selected_now:
            self.best_selection = {
                "epoch": self.current_epoch, "combined_score": values[2], "target_agreement": values[0],
                "target_plausibility": values[1], "source_dice": float(self.logger.get_value("mean_fg_dice", step=-1))}
        for key, value in zip(SELECTION_KEYS, values, strict=True):
            self.logger.log(key, value, self.current_epoch)

    def on_epoch_end(self) -> None:
        """Write the state that was chosen in this epoch, and why."""
        super().on_epoch_end()
        best = self.best_selection
        if not self._selected_now or best is None:
            return
        self.print_to_log_file(
            f"Chosen without target labels: epoch {best['epoch']}, combined score {best['combined_score']:.4f} "
            f"(source Dice {best['source_dice']:.4f}, target agreement {best['target_agreement']:.4f} x "
            f"plausibility {best['target_plausibility']:.4f})")
        self.save_ended_epoch(str(Path(self.output_folder, SELECTED_NAME)))
        self.write_selection("last epoch")

    def write_selection(self, final: str) -> None:
        """Write beside the checkpoints which state was chosen, by what, and what checkpoint_final.pth holds."""
        weight = self.settings.selection.source_weight
        write_json(Path(self.output_folder, SELECTION_JSON_NAME), {
            **(self.best_selection or {}), "file": SELECTED_NAME, "checkpoint_final_holds": final,
            "rule": f"{weight:g} x mean source validation Dice of the last 3 epochs + {1 - weight:g} x agreement x "
                    "plausibility of predictions on fixed patches of unlabelled scans",
            "scans_kept_out_of_training": bool(self.scoring_cases)})

    def on_train_end(self) -> None:
        """Write checkpoint_final.pth; where the plan says so, with the chosen weights."""
        super().on_train_end()
        if self.settings.selection.becomes_final and not self.disable_checkpointing:
            make_selected_final(self)
