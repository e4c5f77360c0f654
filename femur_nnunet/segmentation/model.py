"""A model ready to segment: what its bundle says, and its networks on a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from femur_nnunet.errors import FemurError, UsageError
from femur_nnunet.model_bundle import InferenceFacts, Manifest, ModelBundle, load_bundle

if TYPE_CHECKING:
    from torch import nn

# Where the model in the box lies, as package data: one zip.
BOX_MODEL_FOLDER = "box_model"


@dataclass(frozen=True)
class SegmentationModel:
    """Networks of a bundle's folds in memory; made once, used for any number of scans.

    Attributes
    ----------
    facts : InferenceFacts
        Spacing, patch, normalisation and resampling.
    manifest : Manifest
        Labels, training facts, postprocessing, thresholds.
    networks : tuple of nn.Module
        One a fold, in evaluation mode, on ``device``.
    folds : tuple of str
        Their names.
    device : str
        ``cpu``, ``cuda`` or ``mps``.
    sha256 : str or None
        Of the bundle's file.

    Raises
    ------
    UsageError
        The model is one of whole scans, not of single hips.
    """

    facts: InferenceFacts
    manifest: Manifest
    networks: tuple[nn.Module, ...]
    folds: tuple[str, ...]
    device: str = "cpu"
    sha256: str | None = None

    def __post_init__(self) -> None:
        if not self.manifest.takes_single_hips:
            raise UsageError("a model of whole scans with a left and a right label",
                             expected="one of single hips, as the converter cuts them without --keep-bilateral",
                             action="predict with nnUNetv2_predict (femur_model export-nnunet)",
                             subject=self.manifest.name)

    @property
    def femur_label(self) -> int:
        """The network's class of the femur."""
        return self.manifest.femur_labels["proximal"]

    @classmethod
    def of_bundle(cls, bundle: ModelBundle | Path | str, *, device: str = "cpu",
                  folds: Sequence[str] | None = None) -> SegmentationModel:
        """Build the networks of a bundle's folds (all of them without ``folds``).

        Raises
        ------
        BundleError
            The file is no sound model bundle.
        UsageError
            The device is not there.
        """
        check_device(device)
        opened = bundle if isinstance(bundle, ModelBundle) else load_bundle(bundle)
        chosen = tuple(opened.folds if folds is None else folds)
        return cls(opened.facts, opened.manifest, tuple(opened.build_networks(device, chosen)), chosen, device,
                   opened.sha256)


def check_device(device: str) -> None:
    """Refuse a device that this machine does not have.

    Raises
    ------
    UsageError
        No such device.
    """
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device.split(":")[0], False):
        raise UsageError(f"no device {device} on this machine",
                         expected=f"one of {', '.join(name for name, is_there in there.items() if is_there)}",
                         action="give another --device")


def box_model_path() -> Path:
    """Return the file of the model in the box, which is used where no other is named.

    Raises
    ------
    UsageError
        This installation came without it.
    FemurError
        There is more than one.
    """
    folder = resources.files("femur_nnunet") / BOX_MODEL_FOLDER
    bundles = sorted(Path(str(folder)).glob("*.zip"))
    if not bundles:
        raise UsageError("no model, and none in this installation",
                         expected="-m MODEL, a bundle of a trained model",
                         action="train one (README.md, or make demo for a try) and pack it with femur_model pack "
                         "RESULTS_DIR --out model.zip, or get a bundle from somebody who did")
    if len(bundles) > 1:
        raise FemurError(f"{len(bundles)} models in the package", expected="one", action="install the package anew")
    return bundles[0]
