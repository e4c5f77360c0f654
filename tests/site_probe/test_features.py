from __future__ import annotations

import numpy as np
import pytest
import torch
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from small_plan import configuration
from torch import nn
from torch.overrides import TorchFunctionMode

from femur_nnunet.errors import UsageError
from femur_nnunet.networks.from_plan import build_transunet
from femur_nnunet.site_probe.features import RELATIVE_CENTRES, patches_of, scan_features

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_transunet(configuration(), 1, 2, deep_supervision=False)


def test_patches_lie_about_the_same_relative_places():
    image = np.arange(20 * 16 * 12, dtype=np.float32).reshape(1, 20, 16, 12)
    patches = patches_of(image, (8, 8, 8), len(RELATIVE_CENTRES))
    assert patches.shape == (7, 1, 8, 8, 8)
    assert np.array_equal(patches[0], image[:, 6:14, 4:12, 2:10])
    # Centre at 0.35 * 20 = 7 of the first axis.
    assert np.array_equal(patches[1], image[:, 3:11, 4:12, 2:10])


def test_a_small_image_is_padded_as_by_nnunets_predictor():
    image = np.random.default_rng(0).normal(size=(1, 5, 8, 7)).astype(np.float32)
    patch = patches_of(image, (8, 8, 8), 1)[0]
    assert (patch[0, [0, 6, 7]] == 0.0).all()
    assert np.array_equal(patch, pad_nd_image(image, (8, 8, 8), "constant", {"constant_values": 0}))


class NoDoublePrecisionOnTheDevice(TorchFunctionMode):
    """Acts as a GPU of Apple: only what was brought to the CPU may become float64."""

    def __init__(self) -> None:
        super().__init__()
        self.on_cpu: list[torch.Tensor] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function is torch.Tensor.cpu:
            self.on_cpu.append(result)
        elif isinstance(result, torch.Tensor) and result.dtype == torch.float64:
            assert any(args[0] is tensor for tensor in self.on_cpu), "float64 on the device"
            self.on_cpu.append(result)
        return result


def test_no_tensor_becomes_double_precision_before_it_is_on_the_cpu(network):
    image = np.zeros((1, 16, 16, 16), dtype=np.float32)
    with NoDoublePrecisionOnTheDevice() as mode:
        found = scan_features(network, image, patch_size=(16, 16, 16), patches=1, layers=("encoder_0",), device=CPU)
    assert found["encoder_0"].dtype == np.float64
    assert mode.on_cpu


def test_bottleneck_features_are_the_mean_tokens_of_the_adaptation_terms(network):
    image = np.random.default_rng(0).normal(size=(1, 16, 16, 16)).astype(np.float32)
    found = scan_features(network, image, patch_size=(16, 16, 16), patches=1, layers=("bottleneck", "encoder_1"),
                          device=CPU)
    tokens = []
    handle = network.bottleneck.register_forward_hook(lambda _m, _i, output: tokens.append(output[1]))
    with torch.no_grad():
        network(torch.from_numpy(image)[None])
    handle.remove()
    assert np.allclose(found["bottleneck"], tokens[0][0].mean(0).numpy(), atol=1e-6)
    assert found["encoder_1"].shape == (8,)


def test_features_are_the_same_whenever_they_are_asked_and_the_network_is_left_as_it_was(network):
    image = np.random.default_rng(0).normal(size=(1, 20, 20, 20)).astype(np.float32)
    runs = [scan_features(network, image, patch_size=(16, 16, 16), patches=3, layers=("bottleneck", "decoder_0"),
                          device=CPU) for _ in range(2)]
    assert np.array_equal(runs[0]["decoder_0"], runs[1]["decoder_0"])
    assert not any(module._forward_hooks for module in network.modules())


def test_a_unet_without_a_transformer_has_its_last_encoder_stage_for_a_bottleneck():
    unet = PlainConvUNet(1, 2, (4, 8), nn.Conv3d, 3, (1, 2), 1, 2, 1, norm_op=nn.InstanceNorm3d, nonlin=nn.LeakyReLU)
    image = np.random.default_rng(0).normal(size=(1, 16, 16, 16)).astype(np.float32)
    found = scan_features(unet, image, patch_size=(16, 16, 16), patches=1, layers=("bottleneck", "encoder_1"),
                          device=CPU)
    assert np.array_equal(found["bottleneck"], found["encoder_1"])


def test_unknown_layers_and_networks_are_refused(network):
    image = np.zeros((1, 16, 16, 16), dtype=np.float32)
    with pytest.raises(UsageError, match="the layer 'decoder_9'"):
        scan_features(network, image, patch_size=(16, 16, 16), patches=1, layers=("decoder_9",), device=CPU)
    with pytest.raises(UsageError, match="a network Conv3d"):
        scan_features(nn.Conv3d(1, 1, 1), image, patch_size=(16, 16, 16), patches=1, layers=("bottleneck",), device=CPU)
