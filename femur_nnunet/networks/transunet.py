"""TransUNet in 3D: nnU-Net's convolutional encoder and decoder with a transformer on the bottleneck."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from dynamic_network_architectures.building_blocks.plain_conv_encoder import PlainConvEncoder
from dynamic_network_architectures.building_blocks.unet_decoder import UNetDecoder
from torch import nn

from femur_nnunet.networks.transformer import BottleneckTransformer


class TransUNet3D(nn.Module):
    """The encoder variant of TransUNet (Chen et al. 2024, doi 10.1016/j.media.2024.103280).

    Stages, strides, kernels and features come from an nnU-Net plan, so anisotropic strides work as in
    nnU-Net. Keys of the state_dict are the same with deep supervision on or off.

    Parameters
    ----------
    input_channels, num_classes : int
        As nnU-Net gives them.
    transformer : dict
        ``layers, heads, width, mlp_ratio, stochastic_depth, grid`` of :class:`BottleneckTransformer`.
    deep_supervision : bool
        Whether :meth:`forward` returns one output a decoder stage, finest first.
    **unet
        The keyword arguments of nnU-Net's ``PlainConvUNet``.

    Attributes
    ----------
    return_tokens : bool
        While training and set, :meth:`forward` returns ``(outputs, tokens)``.
    """

    def __init__(self, input_channels: int, num_classes: int, *, n_stages: int, features_per_stage: Sequence[int],
                 conv_op: type[nn.Module], kernel_sizes: Sequence[Any], strides: Sequence[Any],
                 n_conv_per_stage: Sequence[int], n_conv_per_stage_decoder: Sequence[int],
                 transformer: dict[str, Any], conv_bias: bool = True, norm_op: type[nn.Module] | None = None,
                 norm_op_kwargs: dict[str, Any] | None = None, dropout_op: type[nn.Module] | None = None,
                 dropout_op_kwargs: dict[str, Any] | None = None, nonlin: type[nn.Module] | None = None,
                 nonlin_kwargs: dict[str, Any] | None = None, deep_supervision: bool = False) -> None:
        super().__init__()
        self.return_tokens = False
        self.encoder = PlainConvEncoder(
            input_channels, n_stages, list(features_per_stage), conv_op, list(kernel_sizes), list(strides),
            list(n_conv_per_stage), conv_bias, norm_op, norm_op_kwargs, dropout_op, dropout_op_kwargs, nonlin,
            nonlin_kwargs, return_skips=True)
        self.decoder = UNetDecoder(self.encoder, num_classes, list(n_conv_per_stage_decoder), deep_supervision)
        for module in self.modules():
            if isinstance(module, (nn.Conv3d, nn.ConvTranspose3d)):
                nn.init.kaiming_normal_(module.weight, a=1e-2)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        sizes = dict(transformer)
        self.bottleneck = BottleneckTransformer(features_per_stage[-1], **{**sizes, "grid": tuple(sizes["grid"])})

    def forward(self, image: torch.Tensor, decoded: torch.Tensor | None = None) -> Any:
        """Return logits for images (n, c, z, y, x).

        Parameters
        ----------
        image : Tensor
            Shape (n, c, z, y, x).
        decoded : Tensor, optional
            Shape (m,), indices of the images that go through the decoder; all without it. Unlabelled
            images need their tokens alone, and the decoder is more than half of the work.

        Returns
        -------
        Tensor or list of Tensor
            Shape (m, classes, z, y, x), or a list of levels, finest first, under deep supervision;
            together with the tokens (n, t, width) of all images while ``training and return_tokens``.
        """
        skips = self.encoder(image)
        skips[-1], tokens = self.bottleneck(skips[-1])
        if decoded is not None:
            skips = [skip[decoded] for skip in skips]
        outputs = self.decoder(skips)
        return (outputs, tokens) if self.training and self.return_tokens else outputs

    @property
    def token_width(self) -> int:
        """Width of the tokens that the adaptation terms see."""
        return self.bottleneck.embed.out_features

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> float:
        """Return the number of feature-map values for a patch, nnU-Net's measure of memory.

        The transformer is counted as its stored activations: per layer the two normalised inputs,
        query, key, value, attended values, two branch outputs, and twice the MLP's hidden layer.
        """
        convolutions = (self.encoder.compute_conv_feature_map_size(input_size)
                        + self.decoder.compute_conv_feature_map_size(input_size))
        stride = [math.prod(stage[axis] for stage in self.encoder.strides) for axis in range(3)]
        tokens = math.prod(size // step for size, step in zip(input_size, stride, strict=True))
        layers = self.bottleneck.layers
        hidden = layers[0].mlp[0].out_features if len(layers) else 0  # type: ignore[index, union-attr]
        return float(convolutions) + tokens * len(layers) * (8 * self.token_width + 2 * hidden)
