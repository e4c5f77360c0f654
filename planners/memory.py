"""The memory that training on a plan needs, for the planner's report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from femur_nnunet.files import read_json
from femur_nnunet.networks.memory_estimate import estimate_training_memory
from femur_nnunet.plan_settings import settings_from_configuration
from femur_nnunet.planners.plan_options import CONFIGURATION


def memory_of_plan(plan: Mapping[str, Any], preprocessed: Path) -> dict[str, dict[str, int]]:
    """Return the estimated MiB of a training step: ``float32``, ``float16``, and these with checkpointing.

    Checkpointing is a switch of the TransUNet alone, and none of one with batch normalisation: other plans have no
    such entries.
    """
    dataset = read_json(preprocessed / "dataset.json", what="the dataset's dataset.json", action="run femur_plan again")
    classes = PlansManager(dict(plan)).get_label_manager(dataset).num_segmentation_heads
    configuration = plan["configurations"][CONFIGURATION]
    architecture = settings_from_configuration(configuration).architecture
    can_checkpoint = architecture.family == "transunet" and architecture.normalisation != "batch"
    return {("float16" if half else "float32") + ("_checkpointing" if checkpointing else ""): estimate_training_memory(
                configuration, input_channels=len(dataset["channel_names"]), num_classes=classes, half=half,
                checkpointing=checkpointing).in_mib()
            for checkpointing in ((False, True) if can_checkpoint else (False,)) for half in (False, True)}


def memory_line(memory: Mapping[str, Mapping[str, int]]) -> str:
    """Return one line for people."""
    sizes = [f"{values['peak'] / 1024:.1f} GiB in {name.replace('_', ' with activation ')}"
             for name, values in memory.items()]
    return (f"a training step needs about {', '.join(sizes)}; on a GPU its own 1 to 2 GiB come on top, "
            "and with a mean teacher, which a plan does not know of, a copy of the weights and its forward pass")
