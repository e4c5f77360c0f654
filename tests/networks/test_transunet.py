from __future__ import annotations

import copy

import pytest
import torch
from small_plan import configuration

from femur_nnunet.errors import UsageError
from femur_nnunet.networks.from_plan import build_transunet


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
    assert list(tokens) == ["bottleneck"]
    assert tokens["bottleneck"].shape == (2, 4 * 4 * 4, 8)
    assert isinstance(network.eval()(image), torch.Tensor)


def test_patches_that_are_not_decoded_give_tokens_but_no_segmentation_gradient():
    network = build_transunet(configuration(), 1, 2, deep_supervision=False).train()
    network.bottleneck.layers.eval()
    network.return_tokens = True
    image = torch.randn(3, 1, 16, 16, 16, requires_grad=True)
    logits, tokens = network(image, torch.tensor([0, 2]))
    assert tokens["bottleneck"].shape[0] == 3
    assert torch.allclose(logits, network(image)[0][[0, 2]], atol=1e-6)
    (gradient,) = torch.autograd.grad(logits.sum(), image)
    assert gradient[1].abs().max() == 0
    assert gradient[0].abs().max() > 0


def test_tokens_of_other_layers_are_cell_means_of_their_maps():
    network = build_transunet(configuration(stochastic_depth=0.0), 1, 2, deep_supervision=True).train()
    network.return_tokens = True
    network.token_layers = ("encoder_0", "bottleneck", "decoder_0", "decoder_1")
    assert network.token_widths == {"encoder_0": 4, "bottleneck": 8, "decoder_0": 4, "decoder_1": 8}
    maps = {}
    network.encoder.stages[0].register_forward_hook(lambda _m, _i, out: maps.update(encoder_0=out))
    network.decoder.stages[1].register_forward_hook(lambda _m, _i, out: maps.update(decoder_0=out))
    _, tokens = network(torch.randn(2, 1, 16, 16, 16))
    assert list(tokens) == ["encoder_0", "bottleneck", "decoder_0", "decoder_1"]
    for name, feature_map in maps.items():
        # 16 voxels an axis in 4 cells of 4; the fourth token is the cell (0, 0, 3).
        assert tokens[name].shape == (2, 64, 4)
        assert torch.allclose(tokens[name][:, 3], feature_map[:, :, :4, :4, 12:].mean((2, 3, 4)), atol=1e-6)


def test_the_decoder_does_what_nnunets_own_does():
    network = build_transunet(configuration(), 1, 2, deep_supervision=True).eval()
    image = torch.randn(1, 1, 16, 16, 16)
    skips = list(network.encoder(image))
    skips[-1] = network.bottleneck(skips[-1])[0]
    for ours, stock in zip(network(image), network.decoder(skips), strict=True):
        assert torch.equal(ours, stock)


def test_an_unknown_token_layer_is_refused_with_the_known_ones():
    network = build_transunet(configuration(), 1, 2, deep_supervision=False)
    network.token_layers = ("decoder_2",)
    with pytest.raises(UsageError, match=r"'decoder_2'.*bottleneck, encoder_0, encoder_1, encoder_2, dec"):
        _ = network.token_widths


def test_a_copy_is_a_network_of_its_own():
    network = build_transunet(configuration(), 1, 2, deep_supervision=False).eval()
    twin = copy.deepcopy(network)
    image = torch.randn(1, 1, 16, 16, 16)
    before = twin(image)
    with torch.no_grad():
        network.decoder.seg_layers[-1].bias += 1
    assert torch.equal(twin(image), before)


def test_positions_are_the_learnt_ones_on_the_patchs_grid_and_interpolated_elsewhere():
    transformer = build_transunet(configuration(), 1, 2, deep_supervision=False).bottleneck.eval()
    transformer.layers = torch.nn.ModuleList()
    transformer.norm = torch.nn.Identity()
    torch.nn.init.zeros_(transformer.embed.weight)
    ramp = torch.arange(4.0).view(1, 1, 4, 1, 1).expand(1, 8, 4, 4, 4)
    transformer.positions.data.copy_(ramp)
    for edge, expected in ((4, [0, 1, 2, 3]), (8, [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])):
        tokens = transformer(torch.zeros(1, 12, edge, edge, edge))[1].view(edge, edge, edge, 8)
        assert tokens[:, 1, 2, 5].tolist() == pytest.approx(expected)


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
    assert network.bottleneck.positions.shape == (1, 8, 4, 4, 4)


def test_anisotropic_kernels_are_those_of_the_plan():
    plan = configuration(strides=((1, 1, 1), (1, 2, 2), (2, 2, 2)), patch=(8, 16, 16))
    plan["architecture"]["arch_kwargs"]["kernel_sizes"] = [[1, 3, 3], [3, 3, 3], [3, 3, 3]]
    network = build_transunet(plan, 1, 2, deep_supervision=False).eval()
    assert network.encoder.stages[0][0].convs[0].conv.weight.shape == (4, 1, 1, 3, 3)
    assert network(torch.randn(1, 1, 8, 16, 16)).shape == (1, 2, 8, 16, 16)


def test_attention_is_torchs_own(monkeypatch):
    called = []
    own = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention",
                        lambda *a, **k: called.append(a[0].shape) or own(*a, **k))
    build_transunet(configuration(), 1, 2, deep_supervision=False).eval()(torch.randn(1, 1, 16, 16, 16))
    # Samples, heads, tokens, width of a head, in each of the two layers.
    assert called == [(1, 2, 64, 4)] * 2

def test_stochastic_depth_acts_in_training_alone():
    network = build_transunet(configuration(), 1, 2, deep_supervision=False)
    image = torch.randn(2, 1, 16, 16, 16)
    network.train().return_tokens = True
    torch.manual_seed(0)
    first = network(image)[1]["bottleneck"]
    differs = any(not torch.equal(first, network(image)[1]["bottleneck"]) for _ in range(5))
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
