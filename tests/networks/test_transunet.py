from __future__ import annotations

import pytest
import torch

from femur_nnunet.errors import UsageError
from femur_nnunet.networks.from_plan import build_transunet
from femur_nnunet.plan_settings import ArchitectureSettings, FemurPlanSettings


def configuration(*, strides=((1, 1, 1), (2, 2, 2), (2, 2, 2)), patch=(16, 16, 16), own_block=True,
                  family="transunet") -> dict:
    kwargs = {"n_stages": 3, "features_per_stage": [4, 8, 12], "conv_op": "torch.nn.modules.conv.Conv3d",
              "kernel_sizes": [[3, 3, 3]] * 3, "strides": [list(s) for s in strides], "n_conv_per_stage": [1, 1, 1],
              "n_conv_per_stage_decoder": [1, 1], "conv_bias": True,
              "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d", "norm_op_kwargs": {"affine": True},
              "dropout_op": None, "dropout_op_kwargs": None, "nonlin": "torch.nn.LeakyReLU",
              "nonlin_kwargs": {"inplace": True}}
    plan = {"patch_size": list(patch), "architecture": {
        "network_class_name": "unused", "arch_kwargs": kwargs,
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"]}}
    if own_block:
        plan["femur_nnunet"] = FemurPlanSettings(architecture=ArchitectureSettings(family=family)).to_dict()
        grid = [p // (strides[1][a] * strides[2][a]) for a, p in enumerate(patch)]
        kwargs["transformer"] = {"layers": 2, "heads": 2, "width": 8, "mlp_ratio": 2.0, "stochastic_depth": 0.5,
                                 "grid": grid}
    return plan


def test_output_has_one_logit_a_class_on_the_inputs_grid():
    network = build_transunet(configuration(), 1, 2, deep_supervision=False).eval()
    assert network(torch.randn(1, 1, 16, 16, 16)).shape == (1, 2, 16, 16, 16)


def test_deep_supervision_gives_the_finest_level_first_and_the_same_weights():
    with_levels = build_transunet(configuration(), 1, 2, deep_supervision=True)
    without = build_transunet(configuration(), 1, 2, deep_supervision=False)
    assert list(with_levels.state_dict()) == list(without.state_dict())
    without.load_state_dict(with_levels.state_dict())
    image = torch.randn(1, 1, 16, 16, 16)
    levels = with_levels.eval()(image)
    assert [tuple(level.shape[2:]) for level in levels] == [(16, 16, 16), (8, 8, 8)]
    assert torch.equal(levels[0], without.eval()(image))


def test_tokens_come_out_in_training_alone_and_only_when_asked():
    network = build_transunet(configuration(), 1, 2, deep_supervision=False).train()
    image = torch.randn(2, 1, 16, 16, 16)
    assert isinstance(network(image), torch.Tensor)
    network.return_tokens = True
    logits, tokens = network(image)
    assert logits.shape == (2, 2, 16, 16, 16)
    assert tokens.shape == (2, 4 * 4 * 4, 8)
    assert isinstance(network.eval()(image), torch.Tensor)


def test_patches_that_are_not_decoded_give_tokens_but_no_segmentation_gradient():
    network = build_transunet(configuration(), 1, 2, deep_supervision=False).train()
    network.bottleneck.layers.eval()
    network.return_tokens = True
    image = torch.randn(3, 1, 16, 16, 16, requires_grad=True)
    logits, tokens = network(image, torch.tensor([0, 2]))
    assert tokens.shape[0] == 3
    assert torch.allclose(logits, network(image)[0][[0, 2]], atol=1e-6)
    (gradient,) = torch.autograd.grad(logits.sum(), image)
    assert gradient[1].abs().max() == 0
    assert gradient[0].abs().max() > 0


def test_an_input_of_another_size_than_the_patch_works():
    network = build_transunet(configuration(), 1, 2, deep_supervision=False).eval()
    assert network(torch.randn(1, 1, 24, 16, 32)).shape == (1, 2, 24, 16, 32)


def test_positions_matter_and_follow_the_grid():
    network = build_transunet(configuration(), 1, 2, deep_supervision=False).eval()
    image = torch.randn(1, 1, 24, 24, 24)
    before = network(image)
    with torch.no_grad():
        network.bottleneck.positions.normal_()
    assert not torch.allclose(before, network(image))


def test_anisotropic_strides_work():
    plan = configuration(strides=((1, 1, 1), (1, 2, 2), (2, 2, 2)), patch=(8, 16, 16))
    network = build_transunet(plan, 1, 2, deep_supervision=False).eval()
    assert network(torch.randn(1, 1, 8, 16, 16)).shape == (1, 2, 8, 16, 16)


def test_stochastic_depth_acts_in_training_alone():
    network = build_transunet(configuration(), 1, 2, deep_supervision=False)
    image = torch.randn(2, 1, 16, 16, 16)
    network.train().return_tokens = True
    torch.manual_seed(0)
    first = network(image)[1]
    differs = any(not torch.equal(first, network(image)[1]) for _ in range(5))
    assert differs
    network.eval()
    assert torch.equal(network(image), network(image))


def test_a_stock_plan_gives_the_default_transformer():
    network = build_transunet(configuration(own_block=False), 1, 2, deep_supervision=False)
    assert len(network.bottleneck.layers) == 12
    assert network.token_width == 768


def test_a_plan_for_another_architecture_is_refused():
    with pytest.raises(UsageError, match="a plan for the architecture unet"):
        build_transunet(configuration(family="unet"), 1, 2, deep_supervision=False)


def test_a_plan_cannot_name_any_callable():
    plan = configuration()
    plan["architecture"]["arch_kwargs"]["nonlin"] = "os.system"
    with pytest.raises(UsageError, match=r"os\.system in the plan"):
        build_transunet(plan, 1, 2, deep_supervision=False)


def test_the_memory_measure_grows_with_the_transformer():
    small, large = configuration(), configuration()
    large["architecture"]["arch_kwargs"]["transformer"]["layers"] = 4
    sizes = [build_transunet(plan, 1, 2, deep_supervision=False).compute_conv_feature_map_size((16, 16, 16))
             for plan in (small, large)]
    # Two more layers, each with 64 tokens of 8 * 8 + 2 * 16 stored values.
    assert sizes[1] - sizes[0] == 2 * 64 * (8 * 8 + 2 * 16)
