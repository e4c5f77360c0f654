"""A trained folder of nnU-Net read as an arm: plan, dataset and network of one fold, nothing executed on the way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nnunetv2
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from femur_nnunet import trainers
from femur_nnunet.drivers.checkpoint_file import NAME_FOLDER, load_checkpoint_safely
from femur_nnunet.errors import FemurError
from femur_nnunet.files import read_json
from femur_nnunet.networks.from_plan import check_plan_imports


@dataclass(frozen=True)
class TrainedArm:
    """One fold of a trained folder.

    Attributes
    ----------
    plans, configuration : PlansManager, ConfigurationManager
        nnU-Net's own.
    dataset : dict
        dataset.json.
    network : Module
        With the checkpoint's weights, without deep supervision, in evaluation mode.
    trainer_name : str
        The trainer that wrote the checkpoint.
    checkpoint : Path
        The file.
    configuration_name : str
        Name of ``configuration`` in the plan.
    mirror_axes : tuple of int
        Axes that its training allows test-time augmentation to mirror.
    """

    plans: PlansManager
    configuration: ConfigurationManager
    dataset: dict[str, Any]
    network: Any
    trainer_name: str
    checkpoint: Path
    configuration_name: str
    mirror_axes: tuple[int, ...]


def load_arm(folder: Path, *, fold: int | str, checkpoint_name: str, device: torch.device) -> TrainedArm:
    """Load one fold of a trained folder as nnU-Net's predictor does, but refuse what could execute something.

    Raises
    ------
    FemurError
        A file is missing or broken, the checkpoint holds more than numbers or names a trainer that is neither
        nnU-Net's nor ours, or its weights are another network's.
    UsageError
        The plan names something that is not on the lists of :mod:`femur_nnunet.networks.from_plan`.
    """
    plan = read_json(folder / "plans.json", what="the plan that nnU-Net copies beside its folds", action=NAME_FOLDER)
    dataset = read_json(folder / "dataset.json", what="the dataset.json that nnU-Net copies beside its folds",
                        action=NAME_FOLDER)
    path = folder / f"fold_{fold}" / checkpoint_name
    checkpoint = load_checkpoint_safely(path)
    plans = PlansManager(plan)
    configuration = plans.get_configuration(checkpoint["init_args"]["configuration"])
    # Here, since the builder of nnU-Net's own trainers would import and call whatever the plan names.
    check_plan_imports(configuration.configuration, subject=str(folder / "plans.json"))
    trainer_class = _trainer_class(checkpoint["trainer_name"], path)
    network = trainer_class.build_network_architecture(
        plans, configuration, determine_num_input_channels(plans, configuration, dataset),
        plans.get_label_manager(dataset).num_segmentation_heads, enable_deep_supervision=False)
    try:
        network.load_state_dict(checkpoint["network_weights"])
    except RuntimeError as error:
        raise FemurError(f"weights of another network ({str(error).splitlines()[0]})",
                         expected="the weights of the plan beside the fold", action=NAME_FOLDER,
                         subject=str(path)) from None
    return TrainedArm(plans, configuration, dataset, network.to(device).eval(), checkpoint["trainer_name"], path,
                      checkpoint["init_args"]["configuration"],
                      tuple(checkpoint.get("inference_allowed_mirroring_axes") or ()))


def _trainer_class(name: Any, checkpoint: Path) -> type[nnUNetTrainer]:
    """Return the trainer of that exact name, of this package or of nnU-Net; nnUNet_extTrainer is not searched."""
    found: Any = None
    if isinstance(name, str) and name in trainers.__all__:
        found = getattr(trainers, name)
    elif isinstance(name, str):
        package = nnunetv2.__path__[0]
        found = recursive_find_python_class(str(Path(package, "training", "nnUNetTrainer")), name,
                                            "nnunetv2.training.nnUNetTrainer", package)
    # The search takes whatever has that name in a module, as its imports.
    if not (isinstance(found, type) and issubclass(found, nnUNetTrainer) and found.__name__ == name):
        raise FemurError(f"a checkpoint of the trainer {name}", expected="a trainer of nnU-Net or of this package",
                         action="take an arm that one of these trained", subject=str(checkpoint))
    return found
