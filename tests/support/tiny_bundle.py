"""A model bundle of random weights, made in a second without training: the same bytes for the same arguments."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from small_plan import configuration as small_configuration

from femur_nnunet.model_bundle.manifest import LabelEntry, Manifest, NetworkEntry, TrainingFacts
from femur_nnunet.model_bundle.weights import pack_weights, shared_tensors
from femur_nnunet.model_bundle.writing import json_bytes, write_bundle
from femur_nnunet.networks.from_plan import (
    TRANSUNET_CLASS_PATH,
    VNET_CLASS_PATH,
    VNET_IMPORTS,
    build_of_family,
    vnet_sizes,
)
from femur_nnunet.plan_settings import VNetSettings

INTENSITIES = {"max": 1500.0, "mean": 300.0, "median": 250.0, "min": -200.0, "percentile_00_5": -100.0,
               "percentile_99_5": 1200.0, "std": 250.0}
DATASET = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "proximal_femur": 1}, "file_ending": ".nii.gz",
           "numTraining": 4}
LABELS = (LabelEntry(1, "proximal_femur", "proximal"),)


def tiny_plans(family: str = "transunet", *, spacing_mm: float = 3.0, patch: tuple[int, int, int] = (16, 16, 16)
               ) -> dict[str, Any]:
    """Return a plan as femur_plan writes it, of a network of a few thousand weights."""
    planned = small_configuration(family=family, patch=patch)
    architecture = planned["architecture"]
    architecture["network_class_name"] = {
        "transunet": TRANSUNET_CLASS_PATH, "vnet": VNET_CLASS_PATH,
        "unet": architecture["network_class_name"]}[family]
    if family != "transunet":
        architecture["arch_kwargs"].pop("transformer")
    if family == "vnet":
        architecture["arch_kwargs"] = vnet_sizes(VNetSettings(levels=2, base_features=4, kernel_size=3),
                                                 architecture["arch_kwargs"])
        architecture["_kw_requires_import"] = list(VNET_IMPORTS)
    resampling = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    planned |= {
        "data_identifier": "FemurPlans_3d_fullres", "preprocessor_name": "DefaultPreprocessor", "batch_size": 2,
        "median_image_size_in_voxels": [40.0, 40.0, 40.0], "spacing": [spacing_mm] * 3,
        "normalization_schemes": ["CTNormalization"], "use_mask_for_norm": [False], "batch_dice": False,
        **{f"resampling_fn_{what}": "resample_data_or_seg_to_shape" for what in ("data", "seg", "probabilities")},
        "resampling_fn_data_kwargs": resampling | {"order": 3}, "resampling_fn_seg_kwargs": resampling | {
            "is_seg": True}, "resampling_fn_probabilities_kwargs": dict(resampling)}
    return {"dataset_name": "Dataset501_Toy", "plans_name": "FemurPlans",
            "original_median_spacing_after_transp": [spacing_mm] * 3,
            "original_median_shape_after_transp": [40, 40, 40], "image_reader_writer": "SimpleITKIO",
            "transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2],
            "configurations": {"3d_fullres": planned}, "experiment_planner_used": "FemurPlanner",
            "label_manager": "LabelManager", "foreground_intensity_properties_per_channel": {"0": dict(INTENSITIES)}}


def tiny_network(plans: dict[str, Any], family: str, seed: int, n_classes: int = 2) -> torch.nn.Module:
    """Return the plan's network with random weights of a seed; the random state of others is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_of_family(family, plans["configurations"]["3d_fullres"], 1, n_classes,
                               deep_supervision=False).eval()


def write_tiny_bundle(path: Path, *, family: str = "transunet", folds: tuple[str, ...] = ("0", "1"),
                      localiser: bool = False, plans: dict[str, Any] | None = None, **manifest_fields: Any) -> Path:
    """Write a bundle of random weights (seed = place of the fold) and return its path.

    ``plans`` replaces the plan; further arguments are fields of the manifest, as ``postprocessing``.
    """
    entry, contents = _network_files(plans or tiny_plans(family), family, folds, "")
    fields: dict[str, Any] = {"training": TrainingFacts(n_cases=4, n_participants=2, cases_by_site=(4,),
                                                        foreground_hu=dict(INTENSITIES))}
    if localiser:
        # Twice as coarse, a network of its own.
        localiser_entry, files = _network_files(tiny_plans("unet", spacing_mm=6.0), "unet", ("0",), "localiser_")
        contents |= files
        fields |= {"localiser": "network", "localiser_network": localiser_entry, "localiser_labels": LABELS}
    contents["model_card.md"] = b"# A tiny model\n\nRandom weights.\n"
    manifest = Manifest(package_version="0.1.0", name="tiny", licence="Apache-2.0", network=entry, labels=LABELS,
                        **{**fields, **manifest_fields})
    return write_bundle(path, manifest, contents).path


def _network_files(plans: dict[str, Any], family: str, folds: tuple[str, ...], prefix: str
                   ) -> tuple[NetworkEntry, dict[str, bytes]]:
    networks = [tiny_network(copy.deepcopy(plans), family, seed) for seed in range(len(folds))]
    contents = {f"{prefix}fold_{fold}.safetensors": pack_weights(network.state_dict(), network)
                for fold, network in zip(folds, networks, strict=True)}
    contents |= {f"{prefix}plans.json": json_bytes(plans), f"{prefix}dataset.json": json_bytes(DATASET)}
    trainer = {"transunet": "TransUNetTrainer", "vnet": "VNetDiceL2Trainer", "unet": "FemurTrainer"}[family]
    entry = NetworkEntry(family, trainer, plans["plans_name"], "3d_fullres",  # type: ignore[arg-type]
                         "checkpoint_final.pth", folds, (), shared_tensors(networks[0]))
    return entry, contents
