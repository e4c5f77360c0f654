"""Curves of the adaptation terms: in nnU-Net's logger, its text log and adaptation.csv."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# nnU-Net's logger wants its keys registered; they match the entries of a step's record.
LOG_KEYS = ("domain_loss", "mmd", "reversal_strength", "site_accuracy")
ADAPTATION_CSV_NAME = "adaptation.csv"


def log_adaptation(trainer: Any, steps: Sequence[dict[str, Any]]) -> None:
    """Log the means over an epoch's steps; the CSV is written anew from the logger, so a resume keeps it whole."""
    if trainer.local_rank != 0:
        return
    for key in LOG_KEYS:
        trainer.logger.log(key, sum(float(step[key]) for step in steps) / len(steps), trainer.current_epoch)
    latest = {key: trainer.logger.get_value(key, step=-1) for key in LOG_KEYS}
    trainer.print_to_log_file("adaptation  " + "  ".join(f"{key} {value:.4f}" for key, value in latest.items()))
    columns = {"segmentation_loss": trainer.logger.get_value("train_losses", step=None),
               **{key: trainer.logger.get_value(key, step=None) for key in LOG_KEYS}}
    with Path(trainer.output_folder, ADAPTATION_CSV_NAME).open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["epoch", *columns])
        for epoch, values in enumerate(zip(*columns.values(), strict=True)):
            writer.writerow([epoch, *(f"{float(value):.6g}" for value in values)])
