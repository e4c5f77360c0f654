"""V-Net: residual stages joined by strided and transposed convolutions, with PReLU throughout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

# nnU-Net's measure counts one feature map a convolution, of which training keeps 2.0 in its U-Net: activations
# there work in place. Here it keeps 3.2: outputs of convolution, norm and PReLU, and sums and concatenations
# (both counted with stored_activations at 128^3 and nnU-Net's default sizes).
_MAPS_KEPT = 1.6


class VNet(nn.Module):
    """The network of Milletari, Navab and Ahmadi 2016 (arXiv 1606.04797) with sizes from a plan.

    As in the paper: a stage of convolutions adds its input to the output of the last of them before
    PReLU; strided convolutions lead down and double the features; transposed convolutions lead up; a
    stage of the way up works on the upsampled map and the skip side by side and adds both to its
    output; a 1 x 1 x 1 convolution gives the logits. Other than in the paper: strides and kernels
    follow the spacing, so that a coarse axis is not halved and not mixed before the others have become
    as coarse; an instance norm follows every convolution (the paper has none, its batches are of two
    patches and do not carry a batch norm).

    Parameters
    ----------
    input_channels, num_classes : int
        As nnU-Net gives them.
    features_per_stage : sequence of int
        Features of each stage, the finest first.
    kernel_sizes, strides : sequence of sequence of int
        For each stage the kernel of its convolutions along (z, y, x), and the stride by which it is
        reached; the first stage's strides are 1.
    n_conv_per_stage, n_conv_per_stage_decoder : sequence of int
        Convolutions of the stages of the way down (the paper: 1, 2, 3, 3, ...) and of the way up, the
        coarsest first (the mirror image).
    norm_op : type of Module, optional
        Norm after each convolution; none without it.
    norm_op_kwargs : dict, optional
        Its arguments.
    conv_bias : bool
        Whether convolutions have a bias.
    deep_supervision : bool
        Taken for nnU-Net's sake, without effect: V-Net has one output.
    """

    def __init__(self, input_channels: int, num_classes: int, *, features_per_stage: Sequence[int],
                 kernel_sizes: Sequence[Sequence[int]], strides: Sequence[Sequence[int]],
                 n_conv_per_stage: Sequence[int], n_conv_per_stage_decoder: Sequence[int],
                 norm_op: type[nn.Module] | None = None, norm_op_kwargs: dict[str, Any] | None = None,
                 conv_bias: bool = True, deep_supervision: bool = False) -> None:
        super().__init__()
        self.strides = [tuple(stride) for stride in strides]
        rules = _Rules(norm_op, norm_op_kwargs or {}, conv_bias)
        widths = [int(width) for width in features_per_stage]
        kernels = [(int(z), int(y), int(x)) for z, y, x in kernel_sizes]
        self.encoder = nn.ModuleList()
        for stage, (width, kernel, count) in enumerate(zip(widths, kernels, n_conv_per_stage, strict=True)):
            down = _step(nn.Conv3d, widths[stage - 1], width, self.strides[stage], rules) if stage else nn.Identity()
            body = _ResidualStage(width if stage else input_channels, width, kernel, count, rules)
            self.encoder.append(nn.Sequential(down, body))
        self.decoder = _Decoder(widths, kernels, self.strides, n_conv_per_stage_decoder, num_classes, rules)
        self.decoder.deep_supervision = deep_supervision
        for module in self.modules():
            if isinstance(module, (nn.Conv3d, nn.ConvTranspose3d)):
                nn.init.kaiming_normal_(module.weight, a=0.25)  # the slope that PReLU starts with
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes, z, y, x) for images (n, c, z, y, x)."""
        skips = []
        for stage in self.encoder:
            image = stage(image)
            skips.append(image)
        return self.decoder(skips)

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> float:
        """Return the number of feature-map values for a patch, nnU-Net's measure of memory."""
        values, size = 0.0, list(input_size)
        sizes = []
        for stride, stage in zip(self.strides, self.encoder, strict=True):
            size = [edge // step for edge, step in zip(size, stride, strict=True)]
            sizes.append(math.prod(size))
            values += _kept_values(stage, sizes[-1])
        for voxels, up, stage in zip(sizes[-2::-1], self.decoder.up, self.decoder.stages, strict=True):
            values += _kept_values(up, voxels) + _kept_values(stage, voxels)
        return values + sizes[0] * self.decoder.logits.out_channels


class _Rules:
    """What all convolutions of a network share."""

    def __init__(self, norm_op: type[nn.Module] | None, norm_op_kwargs: dict[str, Any], conv_bias: bool) -> None:
        self.norm_op = norm_op
        self.norm_op_kwargs = norm_op_kwargs
        self.conv_bias = conv_bias

    def norm(self, width: int) -> nn.Module:
        return nn.Identity() if self.norm_op is None else self.norm_op(width, **self.norm_op_kwargs)


class _ResidualStage(nn.Module):
    """Convolutions whose input is added to the output of the last one, before its PReLU."""

    def __init__(self, width_in: int, width: int, kernel: tuple[int, int, int], count: int, rules: _Rules) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number in range(count):
            layers += [nn.Conv3d(width_in if number == 0 else width, width, kernel,
                                 padding=(kernel[0] // 2, kernel[1] // 2, kernel[2] // 2), bias=rules.conv_bias),
                       rules.norm(width), nn.PReLU(width)]
        self.activation = layers.pop()
        self.body = nn.Sequential(*layers)
        # The paper adds its one input channel to every channel of the first stage; so does broadcasting.
        self.shortcut = nn.Identity() if width_in in (1, width) else nn.Conv3d(width_in, width, 1, bias=False)

    def forward(self, feature_map: torch.Tensor) -> torch.Tensor:
        return self.activation(self.body(feature_map) + self.shortcut(feature_map))


class _Decoder(nn.Module):
    """The way up, and the logits."""

    def __init__(self, widths: list[int], kernels: list[tuple[int, int, int]], strides: Sequence[tuple[int, ...]],
                 counts: Sequence[int], num_classes: int, rules: _Rules) -> None:
        super().__init__()
        self.up, self.stages = nn.ModuleList(), nn.ModuleList()
        width_below = widths[-1]
        for stage, count in zip(reversed(range(len(widths) - 1)), counts, strict=True):
            self.up.append(_step(nn.ConvTranspose3d, width_below, widths[stage], strides[stage + 1], rules))
            width_below = 2 * widths[stage]
            self.stages.append(_ResidualStage(width_below, width_below, kernels[stage], count, rules))
        self.logits = nn.Conv3d(width_below, num_classes, 1)

    @property
    def deep_supervision(self) -> bool:
        """Always False: there is one output."""
        return False

    @deep_supervision.setter
    def deep_supervision(self, enabled: bool) -> None:
        """Do nothing; nnU-Net sets it before and after its validation."""

    def forward(self, skips: list[torch.Tensor]) -> torch.Tensor:
        feature_map = skips[-1]
        for up, stage, skip in zip(self.up, self.stages, reversed(skips[:-1]), strict=True):
            feature_map = stage(torch.cat((up(feature_map), skip), dim=1))
        return self.logits(feature_map)


def _step(conv: type[nn.Module], width_in: int, width: int, stride: tuple[int, ...], rules: _Rules) -> nn.Module:
    """Return a strided or transposed convolution whose kernel is its stride, with norm and PReLU."""
    return nn.Sequential(conv(width_in, width, stride, stride, bias=rules.conv_bias), rules.norm(width),
                         nn.PReLU(width))


def _kept_values(part: nn.Module, voxels: int) -> float:
    return sum(_MAPS_KEPT * module.out_channels * voxels for module in part.modules()
               if isinstance(module, (nn.Conv3d, nn.ConvTranspose3d)))
