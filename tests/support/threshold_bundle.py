"""A model bundle whose network says femur wherever HU exceed a threshold, and scans in which that is the truth.

It is a U-Net of the plan like any other; its weights are set by hand, so that a mask is known without training.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tiny_bundle import DATASET, LABELS, tiny_plans

from femur_nnunet.model_bundle.manifest import Manifest, NetworkEntry, Postprocessing, PostprocessingStep, TrainingFacts
from femur_nnunet.model_bundle.weights import pack_weights, shared_tensors
from femur_nnunet.model_bundle.writing import json_bytes, write_bundle
from femur_nnunet.networks.from_plan import build_of_family
from femur_nnunet.phantom.render import RenderedScan

THRESHOLD_HU, FEMUR_HU, LARGEST_OTHER_HU = 300.0, 700, 100
# Normalised values are HU / 100 between -10 and 20.
INTENSITIES = {"max": 2000.0, "mean": 0.0, "median": 700.0, "min": -1000.0, "percentile_00_5": -1000.0,
               "percentile_99_5": 2000.0, "std": 100.0}
NO_CLEANING = Postprocessing(PostprocessingStep(False), PostprocessingStep(False))


def painted(scan: RenderedScan) -> NDArray[np.int16]:
    """Return the scan with nothing but the femora above the threshold, all of them at one HU."""
    return np.where(scan.mask > 0, FEMUR_HU, np.minimum(scan.hu, LARGEST_OTHER_HU)).astype(np.int16)


def threshold_plans(spacing_mm: tuple[float, float, float] = (3.0, 3.0, 3.0),
                    patch: tuple[int, int, int] = (48, 48, 48)) -> dict[str, Any]:
    """Return a plan of a small U-Net without normalisation layers."""
    plans = tiny_plans("unet", patch=patch)
    configuration = plans["configurations"]["3d_fullres"]
    configuration["spacing"] = list(spacing_mm)
    configuration["architecture"]["arch_kwargs"] |= {"norm_op": None, "norm_op_kwargs": None,
                                                              "features_per_stage": [2, 2, 2]}
    plans["foreground_intensity_properties_per_channel"] = {"0": dict(INTENSITIES)}
    return plans


def threshold_network(plans: dict[str, Any], threshold_hu: float = THRESHOLD_HU) -> torch.nn.Module:
    """Return the plan's network with weights by which its logit is the image less the threshold."""
    network: Any = build_of_family("unet", plans["configurations"]["3d_fullres"], 1, 2, deep_supervision=False).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        first = network.encoder.stages[0][0].convs
        for block in first:
            block.conv.weight[0, 0, 1, 1, 1] = 1.0
        # The decoder joins what comes from below with what the encoder's first stage hands over: channel 0 of that.
        last = network.decoder.stages[-1].convs
        last[0].conv.weight[0, last[0].conv.in_channels // 2, 1, 1, 1] = 1.0
        for block in last[1:]:
            block.conv.weight[0, 0, 1, 1, 1] = 1.0
        network.decoder.seg_layers[-1].weight[1, 0] = 1.0
        network.decoder.seg_layers[-1].bias[1] = -threshold_hu / INTENSITIES["std"]
    return network


def write_threshold_bundle(path: Path, *, thresholds_hu: tuple[float, ...] = (THRESHOLD_HU,),
                           plans: dict[str, Any] | None = None, **manifest_fields: Any) -> Path:
    """Write a bundle with one fold a threshold and return its path."""
    plans = plans or threshold_plans()
    networks = [threshold_network(plans, threshold) for threshold in thresholds_hu]
    folds = tuple(str(number) for number in range(len(networks)))
    contents = {f"fold_{fold}.safetensors": pack_weights(network.state_dict(), network)
                for fold, network in zip(folds, networks, strict=True)}
    contents |= {"plans.json": json_bytes(plans), "dataset.json": json_bytes(DATASET),
                 "model_card.md": b"# Threshold\n"}
    entry = NetworkEntry("unet", "FemurTrainer", plans["plans_name"], "3d_fullres", "checkpoint_final.pth", folds, (),
                         shared_tensors(networks[0]))
    fields = {"postprocessing": NO_CLEANING, "training": TrainingFacts(foreground_hu=dict(INTENSITIES))}
    manifest = Manifest(package_version="0.1.0", name="threshold", licence="Apache-2.0", network=entry, labels=LABELS,
                        **{**fields, **manifest_fields})
    return write_bundle(path, manifest, contents).path
