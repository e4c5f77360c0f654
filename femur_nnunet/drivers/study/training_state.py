"""What lies in nnU-Net's folder of a fold, and what is to be done there: nothing, to go on, or to train anew.

A network of other data under the hashes of the present ones would be a leak that nobody sees. So the checkpoint
itself is asked what it has learnt from; the study's own note counts for what a checkpoint does not say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from femur_nnunet.drivers.study.protocol import plan_content_sha256
from femur_nnunet.errors import FemurError

FINAL_NAME = "checkpoint_final.pth"
# In the order in which nnU-Net's --c looks for them.
_GOES_ON_FROM = (FINAL_NAME, "checkpoint_latest.pth", "checkpoint_best.pth")


class Training(Enum):
    """What is to be done for a fold's network."""

    NONE = "trained, and its validation scans are predicted"
    GO_ON = "go on from the checkpoint that is there"
    ANEW = "train from the start"


def training_needed(folder: Path, inputs: Mapping[str, str], noted: Mapping[str, Any] | None,
                    validation: Sequence[str], file_ending: str) -> Training:
    """Say what is to be done for a fold.

    Parameters
    ----------
    folder : Path
        nnU-Net's folder of the fold.
    inputs : mapping
        Hashes of what a network of this fold is made of now, by name: ``fold_sha256``, ``files_sha256``, and
        ``plan_sha256`` where there is a plan yet.
    noted : mapping, optional
        The same, as the study noted it before it last began the fold; None where it never did.
    validation : sequence of str
        The fold's validation cases.
    file_ending : str
        Of their predictions.
    """
    checkpoint = next((folder / name for name in _GOES_ON_FROM if (folder / name).is_file()), None)
    learnt = None if checkpoint is None else _learnt_from(checkpoint)
    if learnt is None or any(learnt[name] != inputs[name] for name in learnt.keys() & inputs.keys()):
        return Training.ANEW
    told = inputs.keys() <= learnt.keys() or _agrees(noted, inputs)
    if _is_validated(folder, validation, file_ending) and (told or noted is None):
        return Training.NONE
    return Training.GO_ON if told else Training.ANEW


def name_aside(folder: Path) -> Path | None:
    """Return where a fold's folder goes before it is trained anew; None where it holds nothing of a training.

    The name does not begin with ``fold_``: nnU-Net takes every folder that does for a fold.
    """
    if not any(folder.glob("checkpoint_*.pth")) and not (folder / "validation").exists():
        return None
    number = 1
    while (aside := folder.with_name(f"replaced-{number}_{folder.name}")).exists():
        number += 1
    return aside


def _learnt_from(checkpoint: Path) -> dict[str, str] | None:
    """Return what a checkpoint says that it was made of: only the plan where another trainer wrote it."""
    # torch is not loaded before there is a checkpoint to read.
    from femur_nnunet.drivers.checkpoint_file import load_checkpoint_safely
    try:
        content = load_checkpoint_safely(checkpoint, mapped=True)
    except FemurError:
        return None
    own = content.get("femur_nnunet") or {}
    hashes = {"plan_sha256": plan_content_sha256(content["init_args"].get("plans") or {}),
              "fold_sha256": own.get("fold_sha256"), "files_sha256": own.get("training_files_sha256")}
    return {name: value for name, value in hashes.items() if value is not None}


def _agrees(noted: Mapping[str, Any] | None, inputs: Mapping[str, str]) -> bool:
    return noted is not None and all(noted.get(name) == value for name, value in inputs.items())


def _is_validated(folder: Path, validation: Sequence[str], file_ending: str) -> bool:
    """Say whether there is a final checkpoint, and predictions of just these cases that were finished after it."""
    final, summary = folder / FINAL_NAME, folder / "validation" / "summary.json"
    predicted = {path.name for path in summary.parent.glob(f"*{file_ending}")}
    return (final.is_file() and summary.is_file() and summary.stat().st_mtime_ns >= final.stat().st_mtime_ns
            and predicted == {f"{case}{file_ending}" for case in validation})
