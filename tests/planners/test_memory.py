from __future__ import annotations

import json

from femur_nnunet.networks.memory_estimate import estimate_training_memory
from femur_nnunet.planners.memory import memory_line, memory_of_plan

DATASET = "Dataset501_Toy"


def test_the_plans_memory_stands_in_run_json(planned_toy_root):
    folder = planned_toy_root / "nnUNet_preprocessed" / DATASET
    plan = json.loads((folder / "FemurPlans_cpu.json").read_text())
    memory = memory_of_plan(plan, folder)
    assert list(memory) == ["float32", "float16", "float32_checkpointing", "float16_checkpointing"]
    assert json.loads((folder / "run.json").read_text())["training_step_memory_mib"] == memory
    expected = estimate_training_memory(plan["configurations"]["3d_fullres"], input_channels=1, num_classes=2)
    assert memory["float32"] == expected.in_mib()
    assert memory["float16_checkpointing"]["peak"] < memory["float16"]["peak"] < memory["float32"]["peak"]


def test_a_unets_plan_has_no_checkpointing(planned_toy_root):
    folder = planned_toy_root / "nnUNet_preprocessed" / DATASET
    plan = json.loads((folder / "FemurPlans_cpu.json").read_text())
    configuration = plan["configurations"]["3d_fullres"]
    configuration["femur_nnunet"]["architecture"]["family"] = "unet"
    architecture = configuration["architecture"]
    architecture["network_class_name"] = "dynamic_network_architectures.architectures.unet.PlainConvUNet"
    architecture["arch_kwargs"].pop("transformer")
    assert list(memory_of_plan(plan, folder)) == ["float32", "float16"]


def test_a_plan_with_batch_normalisation_has_no_checkpointing(planned_toy_root):
    folder = planned_toy_root / "nnUNet_preprocessed" / DATASET
    plan = json.loads((folder / "FemurPlans_cpu.json").read_text())
    plan["configurations"]["3d_fullres"]["femur_nnunet"]["architecture"]["normalisation"] = "batch"
    assert list(memory_of_plan(plan, folder)) == ["float32", "float16"]


def test_the_line_gives_peaks_in_gib():
    line = memory_line({"float32": {"peak": 2048}, "float16_checkpointing": {"peak": 512}})
    assert line.startswith("a training step needs about 2.0 GiB in float32, 0.5 GiB in float16 with activation "
                           "checkpointing;")
    assert "with a mean teacher" in line
