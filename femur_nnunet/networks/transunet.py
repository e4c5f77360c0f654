"""TransUNet in 3D: nnU-Net's convolutional encoder and decoder with a transformer on the bottleneck."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from dynamic_network_architectures.building_blocks.plain_conv_encoder import PlainConvEncoder
from dynamic_network_architectures.building_blocks.unet_decoder import UNetDecoder
from torch import nn

from femur_nnunet.networks.checkpointing import run_segment
from femur_nnunet.networks.token_layers import BOTTLENECK, cells_of_map, parse_token_layer
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
    activation_checkpointing : bool
        While training, keep the outputs of stages and transformer layers alone and compute what lies
        between anew on the way back (Chen et al. 2016, arXiv 1604.06174): less memory, one more
        forward pass, the same outputs and gradients.
    **unet
        The keyword arguments of nnU-Net's ``PlainConvUNet``.

    Attributes
    ----------
    return_tokens : bool
        While training and set, :meth:`forward` returns ``(outputs, tokens)``.
    token_layers : tuple of str
        Layers whose tokens are returned: ``bottleneck`` (behind the transformer), ``encoder_K`` (K = 0
        is the finest stage) and ``decoder_K`` (K = 0 is the finest, before its segmentation layer).
    """

    def __init__(self, input_channels: int, num_classes: int, *, n_stages: int, features_per_stage: Sequence[int],
                 conv_op: type[nn.Module], kernel_sizes: Sequence[Any], strides: Sequence[Any],
                 n_conv_per_stage: Sequence[int], n_conv_per_stage_decoder: Sequence[int],
                 transformer: dict[str, Any], conv_bias: bool = True, norm_op: type[nn.Module] | None = None,
                 norm_op_kwargs: dict[str, Any] | None = None, dropout_op: type[nn.Module] | None = None,
                 dropout_op_kwargs: dict[str, Any] | None = None, nonlin: type[nn.Module] | None = None,
                 nonlin_kwargs: dict[str, Any] | None = None, deep_supervision: bool = False,
                 activation_checkpointing: bool = False) -> None:
        super().__init__()
        self.return_tokens = False
        self.token_layers: tuple[str, ...] = (BOTTLENECK,)
        self.activation_checkpointing = activation_checkpointing
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
            Shape (m, classes, z, y, x), or a list of levels, finest first, under deep supervision.
            While ``training and return_tokens`` together with the tokens of ``token_layers``, a
            dictionary of tensors (n, t, width) in their order: of all images, but for decoder layers
            of those that were decoded.
        """
        wanted = self.token_layers if self.training and self.return_tokens else ()
        checkpointing = self.activation_checkpointing and self.training
        found: dict[str, torch.Tensor] = {}
        skips = []
        feature_map = image
        for number, stage in enumerate(self.encoder.stages):
            feature_map = run_segment(stage, feature_map, checkpointing=checkpointing)
            skips.append(feature_map)
            if f"encoder_{number}" in wanted:
                found[f"encoder_{number}"] = cells_of_map(feature_map)
        skips[-1], found[BOTTLENECK] = self.bottleneck(skips[-1], checkpointing=checkpointing)
        if decoded is not None:
            skips = [skip[decoded] for skip in skips]
        outputs = self._decode(skips, wanted, found, checkpointing=checkpointing)
        return (outputs, {name: found[name] for name in wanted}) if wanted else outputs

    def _decode(self, skips: list[torch.Tensor], wanted: Sequence[str], found: dict[str, torch.Tensor], *,
                checkpointing: bool) -> Any:
        """Do what nnU-Net's decoder does; its stages are run here so that their maps can be had."""
        feature_map = skips[-1]
        last = len(self.decoder.stages) - 1
        levels = []
        for number, (upsample, stage, segment) in enumerate(
                zip(self.decoder.transpconvs, self.decoder.stages, self.decoder.seg_layers, strict=True)):

            def decoder_stage(below: torch.Tensor, skip: torch.Tensor, upsample: nn.Module = upsample,
                              stage: nn.Module = stage) -> torch.Tensor:
                return stage(torch.cat((upsample(below), skip), 1))  # type: ignore[no-any-return]

            feature_map = run_segment(decoder_stage, feature_map, skips[-(number + 2)], checkpointing=checkpointing)
            name = f"decoder_{last - number}"
            if name in wanted:
                found[name] = cells_of_map(feature_map)
            if self.decoder.deep_supervision or number == last:
                levels.append(segment(feature_map))
        return levels[::-1] if self.decoder.deep_supervision else levels[-1]

    @property
    def token_width(self) -> int:
        """Width of the bottleneck's tokens."""
        return self.bottleneck.embed.out_features

    @property
    def token_widths(self) -> dict[str, int]:
        """Width of the tokens of each of ``token_layers``.

        Raises
        ------
        UsageError
            A name that is no layer of this network.
        """
        features = list(self.encoder.output_channels)
        widths = {}
        for name in self.token_layers:
            part, number = parse_token_layer(name, stages=len(features))
            widths[name] = self.token_width if part == BOTTLENECK else features[number]
        return widths

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
