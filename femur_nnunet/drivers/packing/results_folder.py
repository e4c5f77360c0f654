"""A trained folder as what a bundle stores of it: a plan and dataset.json cut to what inference needs, and weights."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet

from femur_nnunet.command_line import get_logger, progress
from femur_nnunet.drivers.trained_arm import TrainedArm, load_arm
from femur_nnunet.errors import UsageError
from femur_nnunet.model_bundle.bundle import weights_name
from femur_nnunet.model_bundle.manifest import NetworkEntry
from femur_nnunet.model_bundle.plan_schema import CONFIGURATION_KEYS, LEFT_RIGHT_AXIS, PLAN_KEYS, Family
from femur_nnunet.model_bundle.weights import pack_weights, shared_tensors
from femur_nnunet.model_bundle.writing import json_bytes
from femur_nnunet.networks.transunet import TransUNet3D
from femur_nnunet.networks.vnet import VNet

# A dataset's own name is of no use for inference and may tell whose it is.
NEUTRAL_DATASET_NAME = "Dataset001_Femur"
_DATASET_KEYS = ("channel_names", "labels", "file_ending", "numTraining", "overwrite_image_reader_writer")
_FAMILIES: dict[type, Family] = {TransUNet3D: "transunet", VNet: "vnet", PlainConvUNet: "unet",
                                 ResidualEncoderUNet: "unet"}

_logger = get_logger(__name__)


@dataclass(frozen=True)
class ReadResults:
    """What was read of a trained folder.

    Attributes
    ----------
    entry : NetworkEntry
        For the manifest.
    files : dict of str to bytes
        plans.json, dataset.json and weights, by their names in the bundle.
    plans, dataset : dict
        Content of the former two.
    dataset_name : str
        The dataset's own name, for finding its preprocessed folder.
    """

    entry: NetworkEntry
    files: dict[str, bytes]
    plans: dict[str, Any]
    dataset: dict[str, Any]
    dataset_name: str


def read_results(folder: Path, *, folds: Sequence[str] = (), checkpoint_name: str = "checkpoint_final.pth",
                 prefix: str = "", half: bool = False, quiet: bool = False) -> ReadResults:
    """Read folds of a trained folder ``TRAINER__PLANS__CONFIGURATION``; nothing in it is executed.

    Parameters
    ----------
    folder : Path
        The folder.
    folds : sequence of str
        Numbers of folds, or ``all``; without them every fold with that checkpoint.
    checkpoint_name : str
        File in each fold.
    prefix : str
        How the files' names in the bundle begin.
    half : bool
        Store weights in float16.
    quiet : bool
        No progress bar.

    Raises
    ------
    UsageError
        No such folder or fold, folds of different trainings, or a network that bundles do not take.
    FemurError
        As :func:`load_arm`.
    """
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}", expected="a trained folder TRAINER__PLANS__CONFIGURATION",
                         action="train first, or correct the path")
    chosen = tuple(dict.fromkeys(folds)) or _folds_in(folder, checkpoint_name)
    files: dict[str, bytes] = {}
    first: TrainedArm | None = None
    for fold in progress(chosen, description="folds", quiet=quiet):
        arm = load_arm(folder, fold=fold, checkpoint_name=checkpoint_name, device=torch.device("cpu"))
        if first is None:
            first = arm
        elif _kind(arm) != _kind(first):
            raise UsageError(f"fold {fold} of another trainer, configuration or mirroring than fold {chosen[0]}",
                             expected="folds of one training", action="name the folds that belong together",
                             subject=str(folder))
        files[weights_name(fold, prefix)] = pack_weights(arm.network.state_dict(), arm.network, half=half)
    assert first is not None
    family = _FAMILIES.get(type(first.network))
    if family is None:
        raise UsageError(f"a network {type(first.network).__name__}", expected="one of "
                         + ", ".join(sorted(kind.__name__ for kind in _FAMILIES)),
                         action="pack a model of one of these", subject=str(folder))
    plans, dataset = _lean_plans(first), {key: first.dataset[key] for key in _DATASET_KEYS if key in first.dataset}
    files[f"{prefix}plans.json"], files[f"{prefix}dataset.json"] = json_bytes(plans), json_bytes(dataset)
    entry = NetworkEntry(
        family, first.trainer_name, str(plans["plans_name"]), first.configuration_name, checkpoint_name, chosen,
        _mirror_axes(first), shared_tensors(first.network))
    return ReadResults(entry, files, plans, dataset, str(first.plans.plans["dataset_name"]))


def _folds_in(folder: Path, checkpoint_name: str) -> tuple[str, ...]:
    found = sorted((path.parent.name.removeprefix("fold_") for path in folder.glob(f"fold_*/{checkpoint_name}")),
                   key=lambda name: (not name.isdigit(), name.zfill(3)))
    numbered = tuple(name for name in found if name.isdigit())
    if not found:
        raise UsageError(f"no fold with {checkpoint_name}", expected="at least one finished fold",
                         action="train first, or give --checkpoint", subject=str(folder))
    # A fold "all" saw the others' validation cases: it is taken alone or by name.
    return numbered or tuple(found)


def _kind(arm: TrainedArm) -> tuple[Any, ...]:
    return arm.trainer_name, arm.configuration_name, arm.mirror_axes


def _lean_plans(arm: TrainedArm) -> dict[str, Any]:
    """Return the plan with the one configuration and the keys that bundles take."""
    plans = {key: copy.deepcopy(value) for key, value in arm.plans.plans.items() if key in PLAN_KEYS}
    plans["dataset_name"] = NEUTRAL_DATASET_NAME
    configuration = arm.configuration.configuration
    plans["configurations"] = {arm.configuration_name: {
        key: copy.deepcopy(value) for key, value in configuration.items() if key in CONFIGURATION_KEYS}}
    return plans


def _mirror_axes(arm: TrainedArm) -> tuple[int, ...]:
    left_right = list(arm.plans.transpose_forward).index(LEFT_RIGHT_AXIS)
    axes = tuple(sorted(int(axis) for axis in arm.mirror_axes))
    if left_right in axes:
        _logger.warning("the training mirrored left and right; the bundle does not, since every case looks like a "
                        "left hip")
    return tuple(axis for axis in axes if axis != left_right)
