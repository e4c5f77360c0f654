"""Curves of the adaptation terms: in nnU-Net's logger and text log, adaptation.csv, its plot and a verdict."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from femur_nnunet.adaptation.adaptation_plot import plot_curves
from femur_nnunet.adaptation.verdict import ADAPTING, NO_TERM, RULES, judge
from femur_nnunet.files import atomic_path, write_json

# nnU-Net's logger wants its keys registered; they match the entries of a step's record.
LOG_KEYS = ("domain_loss", "mmd", "consistency", "reversal_strength", "mmd_weight", "consistency_weight",
            "site_accuracy", "gradient_segmentation", "gradient_domain", "gradient_mmd", "gradient_consistency")
ADAPTATION_CSV_NAME = "adaptation.csv"
ADAPTATION_PLOT_NAME = "adaptation.png"
ADAPTATION_JSON_NAME = "adaptation.json"
COLUMNS = {
    "epoch": "number of the epoch, from 0",
    "segmentation_loss": "mean loss of labelled patches (Dice and cross-entropy)",
    "domain_loss": "cross-entropy of the site classifier, mean over layers, without its weight",
    "mmd": "MMD^2 between sites, pooled plus token term, mean over layers, without its weight",
    "consistency": "mean squared difference of student's and teacher's probabilities on unlabelled patches",
    "reversal_strength": "lambda of the gradient reversal",
    "mmd_weight": "weight of MMD, ramp included",
    "consistency_weight": "weight of the consistency, ramp included",
    "site_accuracy": "accuracy of the site classifier on pooled features; chance is 1 / sites",
    "gradient_segmentation": "norm of the segmentation loss's gradient with respect to the encoder's weights",
    "gradient_domain": "norm of the weighted, reversed gradient of the site classifier, there",
    "gradient_mmd": "norm of the weighted gradient of MMD, there",
    "gradient_consistency": "norm of the weighted gradient of the consistency, there",
    "source_dice": "nnU-Net's Dice on validation patches of labelled scans",
    "target_agreement": "Dice between predictions of two views of unlabelled patches",
    "target_plausibility": "min(r, 1/r), r the predicted share of femur over that at the same places of labelled scans",
    "selection_score": "combined score by which checkpoint_selected.pth is chosen",
}
_EPOCHS_BETWEEN_PLOTS = 10
_FROM_NNUNET = {"segmentation_loss": "train_losses", "source_dice": "mean_fg_dice"}


def log_adaptation(trainer: Any, steps: Sequence[dict[str, Any]]) -> None:
    """Log the means over an epoch's steps; of a value that only some steps measured, over these, else NaN."""
    if trainer.local_rank != 0:
        return
    latest = {}
    for key in LOG_KEYS:
        values = [float(step[key]) for step in steps if key in step and math.isfinite(step[key])]
        latest[key] = sum(values) / len(values) if values else math.nan
        trainer.logger.log(key, latest[key], trainer.current_epoch)
    trainer.print_to_log_file("adaptation  " + "  ".join(f"{key} {value:.4g}" for key, value in latest.items()
                                                         if not math.isnan(value)))


def write_adaptation_files(trainer: Any) -> None:
    """Write CSV, plot and verdict anew from nnU-Net's logger, so that a resume keeps them whole.

    Plot and verdict come every tenth epoch and at the end, since drawing takes as long as a step.
    """
    if trainer.local_rank != 0:
        return
    folder = Path(trainer.output_folder)
    curves = {column: [float(value) for value in trainer.logger.get_value(_FROM_NNUNET.get(column, column), step=None)]
              for column in COLUMNS if column != "epoch"}
    with atomic_path(folder / ADAPTATION_CSV_NAME) as temporary, temporary.open(
            "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(COLUMNS)
        for epoch, values in enumerate(zip(*curves.values(), strict=True)):
            writer.writerow([epoch, *("" if math.isnan(value) else f"{value:.6g}" for value in values)])
    done = trainer.current_epoch
    if done % _EPOCHS_BETWEEN_PLOTS and done < trainer.num_epochs:
        return
    n_sites = len(trainer.cases.sites)
    verdict = judge(curves, n_sites=n_sites,
                    patches_an_epoch=trainer.patches_a_step() * trainer.num_iterations_per_epoch)
    write_json(folder / ADAPTATION_JSON_NAME, {
        "verdict": verdict.name, "reasons": verdict.reasons, "epochs": done, "terms": list(trainer.terms),
        "sites": trainer.cases.sites, "rules": RULES, "columns": COLUMNS})
    if verdict.name not in (ADAPTING, NO_TERM):
        trainer.print_to_log_file(f"THIS TRAINING IS {verdict.name.upper()}: {'; '.join(verdict.reasons)}.")
    elif done == trainer.num_epochs:
        trainer.print_to_log_file(f"Adaptation: {verdict.name}.")
    plot_curves(folder / ADAPTATION_PLOT_NAME, curves, chance=1.0 / n_sites, title=f"{type(trainer).__name__}: "
                                                                                   f"{verdict.name}")
