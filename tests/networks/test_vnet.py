from __future__ import annotations

import pytest
import torch
from torch import nn

from femur_nnunet.errors import UsageError
from femur_nnunet.networks.from_plan import build_transunet, build_vnet, vnet_sizes
from femur_nnunet.networks.stored_activations import stored_activations
from femur_nnunet.networks.vnet import VNet
from femur_nnunet.plan_settings import ArchitectureSettings, FemurPlanSettings, VNetSettings

INSTANCE_NORM = "torch.nn.modules.instancenorm.InstanceNorm3d"


def stock(*, strides=((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2)), kernels=None, features=None,
          patch=(32, 32, 32)) -> dict:
    """A configuration as nnU-Net's own planner writes it."""
    kwargs = {"n_stages": len(strides), "features_per_stage": features or [32 * 2**i for i in range(len(strides))],
              "conv_op": "torch.nn.modules.conv.Conv3d", "kernel_sizes": kernels or [[3, 3, 3]] * len(strides),
              "strides": [list(stride) for stride in strides], "n_conv_per_stage": [2] * len(strides),
              "n_conv_per_stage_decoder": [2] * (len(strides) - 1), "conv_bias": True, "norm_op": INSTANCE_NORM,
              "norm_op_kwargs": {"eps": 1e-5, "affine": True}, "dropout_op": None, "dropout_op_kwargs": None,
              "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": True}}
    return {"patch_size": list(patch), "architecture": {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": kwargs, "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"]}}


def planned(vnet: VNetSettings | None = None, family: str = "vnet", **topology) -> dict:
    """The same with our block, as femur_plan --architecture vnet writes it."""
    plan = stock(**topology)
    settings = FemurPlanSettings(architecture=ArchitectureSettings(family=family),  # type: ignore[arg-type]
                                 vnet=vnet or VNetSettings(levels=2, base_features=4, kernel_size=3))
    plan["femur_nnunet"] = settings.to_dict()
    plan["architecture"] = {"network_class_name": "femur_nnunet.networks.vnet.VNet", "_kw_requires_import": ["norm_op"],
                            "arch_kwargs": vnet_sizes(settings.vnet, plan["architecture"]["arch_kwargs"])}
    return plan


def small(**topology) -> VNet:
    return build_vnet(planned(**topology), 1, 2, deep_supervision=False)


def test_output_has_one_logit_a_class_on_the_inputs_grid_and_any_multiple_of_the_strides_goes_in():
    network = small().eval()
    assert network(torch.randn(1, 1, 16, 16, 16)).shape == (1, 2, 16, 16, 16)
    assert network(torch.randn(2, 1, 8, 12, 20)).shape == (2, 2, 8, 12, 20)


def test_a_stock_plan_gives_the_papers_sizes_with_three_levels():
    network = build_vnet(stock(), 1, 2, deep_supervision=False)
    first_convolutions = [stage[1].body[0] for stage in network.encoder]
    assert [conv.out_channels for conv in first_convolutions] == [16, 32, 64, 128]
    assert {conv.kernel_size for conv in first_convolutions} == {(5, 5, 5)}
    counts = [sum(isinstance(module, nn.Conv3d) for module in stage[1].body) for stage in network.encoder]
    assert counts == [1, 2, 3, 3]
    assert [sum(isinstance(m, nn.Conv3d) for m in stage.body) for stage in network.decoder.stages] == [3, 2, 1]
    # Milletari et al., table 1: the way up has twice the features of the skip, 32 before the logits.
    assert [up[0].out_channels for up in network.decoder.up] == [64, 32, 16]
    assert network.decoder.logits.in_channels == 32


def test_there_are_as_many_levels_as_the_patch_can_be_halved():
    network = build_vnet(stock(strides=((1, 1, 1), (2, 2, 2))), 1, 2, deep_supervision=False)
    assert len(network.encoder) == 2


def test_features_stop_at_the_plans_limit():
    sizes = vnet_sizes(VNetSettings(), stock(features=[32, 40, 40, 40, 40])["architecture"]["arch_kwargs"])
    assert sizes["features_per_stage"] == [16, 32, 40, 40]


def test_only_convolutions_change_the_resolution_and_every_activation_is_prelu():
    kinds = {type(module) for module in small().modules() if not list(module.children())}
    assert kinds == {nn.Conv3d, nn.ConvTranspose3d, nn.InstanceNorm3d, nn.PReLU, nn.Identity}


def test_anisotropic_strides_and_kernels_follow_the_spacing():
    network = small(strides=((1, 1, 1), (1, 2, 2), (2, 2, 2)), kernels=[[1, 3, 3], [3, 3, 3], [3, 3, 3]],
                    patch=(8, 16, 16)).eval()
    assert network.encoder[0][1].body[0].kernel_size == (1, 3, 3)
    assert network.encoder[1][0][0].stride == (1, 2, 2)
    assert network.decoder.up[1][0].stride == (1, 2, 2)
    assert network(torch.randn(1, 1, 2, 16, 16)).shape == (1, 2, 2, 16, 16)


def test_a_stage_adds_its_input_to_its_last_convolution():
    stage = small().encoder[1][1].eval()
    with torch.no_grad():
        for module in stage.body:
            if isinstance(module, nn.Conv3d):
                module.weight.zero_()
                module.bias.zero_()
    feature_map = torch.randn(1, 8, 4, 4, 4)
    # What is left is PReLU of the input, with the slope 0.25 that it starts with.
    expected = torch.where(feature_map > 0, feature_map, 0.25 * feature_map)
    assert torch.equal(stage(feature_map), expected)


def test_an_image_of_several_channels_is_taken():
    network = build_vnet(planned(), 3, 2, deep_supervision=False).eval()
    assert network(torch.randn(1, 3, 8, 8, 8)).shape == (1, 2, 8, 8, 8)


def test_deep_supervision_is_taken_without_effect_and_the_keys_stay():
    with_it = build_vnet(planned(), 1, 2, deep_supervision=True).eval()
    without = build_vnet(planned(), 1, 2, deep_supervision=False).eval()
    assert list(with_it.state_dict()) == list(without.state_dict())
    without.load_state_dict(with_it.state_dict())
    image = torch.randn(1, 1, 8, 8, 8)
    expected = without(image)
    for enabled in (True, False):
        with_it.decoder.deep_supervision = enabled
        assert with_it.decoder.deep_supervision is False
        assert torch.equal(with_it(image), expected)


def test_every_parameter_gets_a_gradient():
    network = small()
    network(torch.randn(1, 1, 8, 8, 8)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_the_memory_measure_counts_kept_maps_of_every_convolution():
    network = small(strides=((1, 1, 1), (2, 2, 2)))
    # 4 features at 8^3: one convolution down and one up (8 features), the transposed one (4), 2 logits;
    # 8 features at 4^3: the strided convolution and two more. 1.6 maps are counted of each but the logits.
    expected = 1.6 * (512 * (4 + 8 + 4) + 64 * 8 * 3) + 512 * 2
    assert network.compute_conv_feature_map_size((8, 8, 8)) == pytest.approx(expected)


def test_the_memory_measure_is_half_of_what_training_keeps_as_for_nnunets_own_network():
    with torch.device("meta"):
        vnet = build_vnet(stock(), 1, 2, deep_supervision=False)
    patch = (64, 64, 64)
    kept_values = stored_activations(vnet, (1, 1, *patch)).total / 4
    assert kept_values / vnet.compute_conv_feature_map_size(patch) == pytest.approx(2.0, rel=0.02)


@pytest.mark.parametrize(("build", "family", "made_for"), [
    (build_vnet, "transunet", "transunet"), (build_vnet, "unet", "unet"), (build_transunet, "vnet", "vnet")])
def test_a_plan_for_another_architecture_is_refused(build, family, made_for):
    with pytest.raises(UsageError, match=f"a plan for the architecture {made_for}"):
        build(planned(family=family), 1, 2, deep_supervision=False)


def test_a_plan_cannot_name_any_callable():
    plan = planned()
    plan["architecture"]["arch_kwargs"]["norm_op"] = "os.system"
    with pytest.raises(UsageError, match=r"os\.system in the plan"):
        build_vnet(plan, 1, 2, deep_supervision=False)


def test_a_flat_plan_and_an_even_kernel_are_refused():
    with pytest.raises(UsageError, match="a two-dimensional plan"):
        build_vnet(planned(patch=(32, 32)), 1, 2, deep_supervision=False)
    with pytest.raises(UsageError, match=r"4 for vnet\.kernel_size"):
        vnet_sizes(VNetSettings(kernel_size=4), stock()["architecture"]["arch_kwargs"])


def test_a_stock_plan_of_another_network_is_refused():
    plan = stock()
    plan["architecture"]["arch_kwargs"].pop("n_conv_per_stage")
    with pytest.raises(UsageError, match="a stock plan of another network"):
        build_vnet(plan, 1, 2, deep_supervision=False)
