"""What a plan may name, held for every architecture."""

from __future__ import annotations

import pydoc

import pytest
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from small_plan import configuration
from torch import nn

from femur_nnunet.errors import UsageError
from femur_nnunet.networks.from_plan import (
    ALLOWED_IMPORTS,
    ALLOWED_NETWORKS,
    build_transunet,
    build_unet,
    build_vnet,
    check_plan_imports,
)
from femur_nnunet.networks.memory_estimate import estimate_training_memory
from femur_nnunet.networks.transunet import TransUNet3D
from femur_nnunet.networks.vnet import VNet

BUILDERS = (build_transunet, build_vnet, build_unet)


def test_the_lists_hold_four_networks_and_four_building_blocks():
    assert {pydoc.locate(path) for path in ALLOWED_NETWORKS} == {TransUNet3D, VNet, PlainConvUNet, ResidualEncoderUNet}
    assert {pydoc.locate(path) for path in ALLOWED_IMPORTS} == {
        nn.Conv3d, nn.BatchNorm3d, nn.InstanceNorm3d, nn.LeakyReLU}


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("name", ["conv_op", "norm_op", "dropout_op", "nonlin"])
@pytest.mark.parametrize("value", ["os.system", ["torch.nn.LeakyReLU"]])
def test_no_architecture_takes_a_building_block_that_is_not_on_the_list(build, name, value):
    plan = configuration(own_block=False)
    plan["architecture"]["arch_kwargs"][name] = value
    with pytest.raises(UsageError, match="in the plan; expected one of"):
        build(plan, 1, 2, deep_supervision=False)


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("path", ["os.system", "torch.nn.LeakyReLU", "PlainConvUNet"])
def test_no_architecture_takes_a_network_that_is_not_on_the_list(build, path):
    plan = configuration(own_block=False)
    plan["architecture"]["network_class_name"] = path
    with pytest.raises(UsageError, match=f"{path} in the plan; expected one of"):
        build(plan, 1, 2, deep_supervision=False)


def test_a_network_is_no_building_block():
    plan = configuration(own_block=False)
    plan["architecture"]["arch_kwargs"]["nonlin"] = plan["architecture"]["network_class_name"]
    with pytest.raises(UsageError, match="PlainConvUNet in the plan"):
        check_plan_imports(plan)


def test_a_vnets_norm_is_held_to_the_list_though_the_plan_does_not_ask_to_import_it():
    plan = configuration(own_block=False)
    plan["architecture"]["_kw_requires_import"] = []
    plan["architecture"]["arch_kwargs"]["norm_op"] = "os.system"
    with pytest.raises(UsageError, match=r"os\.system in the plan"):
        build_vnet(plan, 1, 2, deep_supervision=False)


def test_the_memory_estimate_refuses_too():
    plan = configuration(family="unet") | {"batch_size": 2}
    plan["architecture"]["arch_kwargs"].pop("transformer")
    plan["architecture"]["arch_kwargs"]["nonlin"] = "os.system"
    with pytest.raises(UsageError, match=r"os\.system in the plan"):
        estimate_training_memory(plan, input_channels=1, num_classes=2)


@pytest.mark.parametrize("own_block", [True, False])
def test_a_unets_plan_and_a_stock_plan_give_nnunets_network(own_block):
    plan = configuration(family="unet", own_block=own_block)
    plan["architecture"]["arch_kwargs"].pop("transformer", None)
    network = build_unet(plan, 1, 2, deep_supervision=True)
    assert type(network) is PlainConvUNet
    assert network.decoder.deep_supervision is True
    assert build_unet(plan, 1, 2, deep_supervision=False).decoder.deep_supervision is False


def test_a_stock_residual_encoder_plan_is_taken():
    plan = configuration(own_block=False)
    plan["architecture"]["network_class_name"] = (
        "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet")
    kwargs = plan["architecture"]["arch_kwargs"]
    kwargs["n_blocks_per_stage"] = kwargs.pop("n_conv_per_stage")
    assert type(build_unet(plan, 1, 2, deep_supervision=False)) is ResidualEncoderUNet


def test_a_unet_is_not_built_from_a_plan_for_another_of_our_architectures():
    with pytest.raises(UsageError, match="a plan for the architecture transunet"):
        build_unet(configuration(), 1, 2, deep_supervision=False)
