"""A bundle back to a trained folder that stock nnU-Net predicts with."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

import torch

from femur_nnunet.errors import UsageError
from femur_nnunet.files import PARTIAL_PREFIX, write_json, write_text
from femur_nnunet.model_bundle import ModelBundle

README_NAME = "README.txt"
_README = """\
Exported by femur_model export-nnunet from the model {name} for nnUNetv2_predict_from_modelfolder.

The .pth files are pickles, as all checkpoints of nnU-Net: reading such a file can run commands. These were written here
from plain numbers, but whoever gets them cannot know that. Share the model bundle, not this folder.
"""


def export_nnunet(bundle: ModelBundle, out: Path) -> list[Path]:
    """Write a folder with plans.json, dataset.json and one checkpoint a fold, and return the checkpoints.

    The checkpoints are **pickles** by nnU-Net's nature. The folder appears under its name when it is whole.

    Parameters
    ----------
    bundle : ModelBundle
        The model.
    out : Path
        The folder, which must not exist or be empty.

    Raises
    ------
    UsageError
        ``out`` holds something.
    BundleError
        Weights are damaged.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError("a file, or a folder that is not empty", expected="a new or empty folder",
                         action="choose another --out", subject=str(out))
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.parent / f"{PARTIAL_PREFIX}{uuid.uuid4().hex[:12]}"
    partial.mkdir()
    try:
        model = bundle.model
        write_json(partial / "plans.json", model.plans)
        write_json(partial / "dataset.json", model.dataset)
        write_text(partial / README_NAME, _README.format(name=bundle.manifest.name))
        for fold in model.folds:
            (partial / f"fold_{fold}").mkdir()
            torch.save({"network_weights": model.weights(fold), "trainer_name": model.entry.trainer,
                        "init_args": {"configuration": model.entry.configuration},
                        "inference_allowed_mirroring_axes": model.entry.mirror_axes or None},
                       partial / f"fold_{fold}" / model.entry.checkpoint)
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return [out / f"fold_{fold}" / bundle.model.entry.checkpoint for fold in bundle.folds]
