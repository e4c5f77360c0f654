"""A folder as nnUNetv2_train leaves it, and its preprocessed dataset, with random weights: nothing was trained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from tiny_bundle import DATASET, INTENSITIES, tiny_plans
from toy_dataset import DATASET_NAME, write_toy_dataset

from femur_nnunet import trainers

N_LABELLED, SHAPE_ZYX, SPACING_MM = 8, [32, 28, 26], [3.0, 3.0, 3.0]


def write_preprocessed(root: Path) -> Path:
    """Write of the toy dataset what femur_plan leaves in nnUNet_preprocessed, but the cases; return the folder."""
    raw = write_toy_dataset(root / "nnUNet_raw")
    folder = root / "nnUNet_preprocessed" / DATASET_NAME
    shutil.copytree(raw / "labelsTr", folder / "gt_segmentations")
    shutil.copy(raw / "scans.tsv", folder)
    (folder / "dataset_fingerprint.json").write_text(json.dumps({
        "foreground_intensity_properties_per_channel": {"0": INTENSITIES},
        "shapes_after_crop": [SHAPE_ZYX] * N_LABELLED, "spacings": [SPACING_MM] * N_LABELLED}))
    return folder


def write_trained_folder(root: Path, *, trainer_name: str = "TransUNetTrainer", folds: tuple[int, ...] = (0, 1)
                         ) -> Path:
    """Save random weights of each fold (seed = fold) and return ``TRAINER__PLANS__3d_fullres``."""
    plans = tiny_plans("transunet", patch=(32, 28, 24)) | {"dataset_name": DATASET_NAME, "continue_training": False}
    dataset = DATASET | {"numTraining": N_LABELLED, "femur_nnunet": {"sites": ["tulane", "rochester"]}}
    folder = root / "nnUNet_results" / DATASET_NAME / f"{trainer_name}__FemurPlans__3d_fullres"
    for fold in folds:
        (folder / f"fold_{fold}").mkdir(parents=True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(fold)
            content = _checkpoint(trainer_name, plans, dataset, fold)
        torch.save(content, folder / f"fold_{fold}" / "checkpoint_final.pth")
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    return folder


def _checkpoint(trainer_name: str, plans: dict, dataset: dict, fold: int) -> dict:
    """Return what nnUNetTrainer.save_checkpoint writes, of a network that no step was taken with."""
    manager = PlansManager(plans)
    configuration = manager.get_configuration("3d_fullres")
    network = getattr(trainers, trainer_name).build_network_architecture(
        manager, configuration, determine_num_input_channels(manager, configuration, dataset),
        manager.get_label_manager(dataset).num_segmentation_heads, True)
    return {"network_weights": network.state_dict(), "trainer_name": trainer_name, "optimizer_state": None,
            "init_args": {"plans": plans, "configuration": "3d_fullres", "fold": fold, "dataset_json": dataset,
                          "device": torch.device("cpu")},
            "inference_allowed_mirroring_axes": None, "current_epoch": 1}
