"""The estimate against what a training step really stores and holds, to the byte, on a CPU."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch._subclasses.fake_tensor import FakeTensorMode

from femur_nnunet.networks.from_plan import build_transunet, transformer_sizes
from femur_nnunet.networks.memory_estimate import estimate_training_memory
from femur_nnunet.networks.memory_measurement import LiveMemory, stored_bytes
from femur_nnunet.plan_settings import ArchitectureSettings, FemurPlanSettings

TOLERANCE = 0.15


def plan(patch, base, stages, *, batch=2, family="transunet", checkpointing=False, anisotropic=False, **transformer):
    architecture = ArchitectureSettings(family=family, activation_checkpointing=checkpointing, **(
        {"transformer_layers": 2, "transformer_heads": 4, "transformer_width": 0, "transformer_mlp_ratio": 2.0}
        | transformer))
    strides = [[1, 1, 1], *([[2, 2, 2]] * (stages - 1))]
    if anisotropic:
        strides[1] = [1, 2, 2]
    kwargs = {"n_stages": stages, "features_per_stage": [min(320, base * 2**stage) for stage in range(stages)],
              "conv_op": "torch.nn.modules.conv.Conv3d", "kernel_sizes": [[3, 3, 3]] * stages, "strides": strides,
              "n_conv_per_stage": [2] * stages, "n_conv_per_stage_decoder": [2] * (stages - 1), "conv_bias": True,
              "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d", "norm_op_kwargs": {"affine": True},
              "dropout_op": None, "dropout_op_kwargs": None, "nonlin": "torch.nn.LeakyReLU",
              "nonlin_kwargs": {"inplace": True}}
    if family == "transunet":
        kwargs["transformer"] = transformer_sizes(architecture, kwargs, list(patch))
    return {"patch_size": list(patch), "batch_size": batch, "architecture": {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": kwargs, "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"]},
        "femur_nnunet": FemurPlanSettings(architecture=architecture).to_dict()}


def network_of(configuration):
    if configuration["femur_nnunet"]["architecture"]["family"] == "transunet":
        return build_transunet(configuration, 1, 2, deep_supervision=True).train()
    architecture = configuration["architecture"]
    return get_network_from_plans(architecture["network_class_name"], architecture["arch_kwargs"],
                                  architecture["_kw_requires_import"], 1, 2, deep_supervision=True).train()


def step_parts(configuration, device="cpu"):
    """Network, image, target and nnU-Net's loss."""
    network = network_of(configuration)
    batch, patch = configuration["batch_size"], np.asarray(configuration["patch_size"])
    strides = np.cumprod(configuration["architecture"]["arch_kwargs"]["strides"], axis=0)[:-1]
    target = [torch.zeros(batch, 1, *(patch // stride), device=device) for stride in strides]
    weights = np.array([1 / 2**level for level in range(len(target))])
    weights[-1] = 0 if len(target) > 1 else 1
    loss = DeepSupervisionWrapper(DC_and_CE_loss(
        {"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": False}, {}, weight_ce=1, weight_dice=1,
        ignore_label=None, dice_class=MemoryEfficientSoftDiceLoss), weights / weights.sum())
    return network, torch.zeros(batch, 1, *patch, device=device), target, loss


def measured(configuration, *, half):
    """Bytes stored for the way back, and the peak of the step with weights and two moments of AdamW."""
    network, image, target, loss = step_parts(configuration)
    weights = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    with stored_bytes(lambda tensor: tensor.untyped_storage()._cdata in weights) as stored, torch.autocast(
            "cpu", dtype=torch.bfloat16, enabled=half):
        value = loss(network(image), target)
    del value
    live = LiveMemory([*network.parameters(), image, *target])
    with live:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            value = loss(network(image), target)
        value.backward()
    before = sum(tensor.nbytes for tensor in (image, *target)) + 3 * sum(p.nbytes for p in network.parameters())
    return sum(stored.values()), live.peak + before


PLANS = {
    "small": plan((32, 32, 32), 8, 3),
    "one patch, anisotropic": plan((16, 32, 48), 8, 4, batch=1, anisotropic=True),
    "much transformer": plan((32, 32, 32), 8, 4, transformer_layers=12, transformer_width=192, transformer_heads=12,
                             transformer_mlp_ratio=4.0),
    "plain U-Net": plan((32, 32, 32), 8, 4, family="unet"),
}


@pytest.mark.parametrize("name", [*PLANS, pytest.param("cpu preset", marks=pytest.mark.long)])
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_estimate_is_within_15_percent_of_the_measured_bytes(name, half, checkpointing):
    configuration = copy.deepcopy(PLANS.get(name) or plan((48, 48, 48), 16, 4, batch=4))
    configuration["femur_nnunet"]["architecture"]["activation_checkpointing"] = checkpointing
    estimate = estimate_training_memory(configuration, half=half)
    stored, peak = measured(configuration, half=half)
    assert estimate.activations == pytest.approx(stored, rel=TOLERANCE)
    assert estimate.peak == pytest.approx(peak, rel=TOLERANCE)


@pytest.mark.parametrize("half", [False, True])
def test_the_estimate_holds_for_the_dtypes_of_a_gpus_autocast(monkeypatch, half):
    """A full-size plan on fake tensors of a GPU: shapes and dtypes are real, nothing is computed."""
    configuration = plan((128, 128, 128), 32, 6, transformer_layers=12, transformer_width=768, transformer_heads=12,
                         transformer_mlp_ratio=4.0)
    estimate = estimate_training_memory(configuration, half=half)
    monkeypatch.setattr(torch.nn.init, "trunc_normal_", lambda tensor, **_: tensor)
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    with FakeTensorMode(allow_non_fake_inputs=True):
        with torch.device("cuda:0"):
            network, image, target, loss = step_parts(configuration, "cuda:0")
        weights = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
        with stored_bytes(lambda tensor: tensor.untyped_storage()._cdata in weights) as stored, torch.autocast(
                "cuda", dtype=torch.float16, enabled=half):
            loss(network(image), target)
    assert estimate.activations == pytest.approx(sum(stored.values()), rel=TOLERANCE)


def test_parts_are_arithmetic():
    configuration = plan((32, 32, 32), 8, 3)
    count = sum(parameter.numel() for parameter in network_of(configuration).parameters())
    estimate = estimate_training_memory(configuration)
    assert (estimate.weights, estimate.gradients, estimate.optimiser_state) == (4 * count, 4 * count, 8 * count)
    configuration["femur_nnunet"]["optimiser"]["name"] = "sgd"
    assert estimate_training_memory(configuration).optimiser_state == 4 * count


def test_activations_grow_with_the_batch_and_checkpointing_and_half_precision_save():
    configuration = plan((32, 32, 32), 8, 3)
    one, two = (estimate_training_memory(configuration, batch_size=batch) for batch in (1, 2))
    assert two.activations == 2 * one.activations
    assert estimate_training_memory(configuration, checkpointing=True).peak < 0.75 * two.peak
    assert estimate_training_memory(configuration, half=True).peak < 0.75 * two.peak
    assert one.in_mib()["peak"] == round(one.peak / 1024**2)
