"""An array script for Slurm: one task a fold, with nnU-Net's own command."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from femur_nnunet.drivers.study.commands import RunSettings, exported_variables, shell_line, train_step
from femur_nnunet.drivers.study.protocol import Arm, StudyFolders


def array_script(folds: Sequence[tuple[Arm, int]], run: RunSettings, folders: StudyFolders,
                 before: Sequence[str]) -> str:
    """Return the script.

    A task that is queued again goes on from its last checkpoint, or with the validation of a finished training. What
    lies in a fold's folder must be of this training: see :meth:`StudyRunner.prepare_training`.

    Parameters
    ----------
    folds : sequence of (Arm, int)
        Trainings, in the order of the task numbers.
    run : RunSettings
        How they run.
    folders : StudyFolders
        Where they write.
    before : sequence of str
        Commands that must have run before; written as comments.
    """
    header = ["#!/usr/bin/env bash", "#SBATCH --job-name=femur_study", f"#SBATCH --array=0-{len(folds) - 1}",
              "#SBATCH --output=femur_study_%A_%a.log"]
    if run.device == "cuda":
        header.append(f"#SBATCH --gres=gpu:{run.num_gpus}")
    header += ["# Time, memory, partition and account are the cluster's matter: add them here or give them to sbatch.",
               "# Run before this script:", *(f"#   {line}" for line in before),
               "# Afterwards run the same femur_study command without --slurm: it evaluates what was trained here.",
               "set -euo pipefail", *exported_variables(), 'go_on() { if [ -e "$1/checkpoint_latest.pth" ] || '
               '[ -e "$1/checkpoint_final.pth" ]; then echo --c; fi; }', 'case "$SLURM_ARRAY_TASK_ID" in']
    tasks = [f"{number}) {shell_line(train_step(arm, fold, run))} $(go_on {_quoted(folders.fold(arm, fold))}) ;;"
             for number, (arm, fold) in enumerate(folds)]
    return "\n".join([*header, *tasks, '*) echo "no task $SLURM_ARRAY_TASK_ID" >&2; exit 2 ;;', "esac"]) + "\n"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path.resolve()))
