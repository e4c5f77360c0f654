"""Networks from plans: the trainer names the class, the plan gives its sizes."""

from __future__ import annotations

import math
import pydoc
from collections.abc import Mapping
from typing import Any

from torch import nn

from femur_nnunet.errors import UsageError
from femur_nnunet.networks.transunet import TransUNet3D
from femur_nnunet.plan_settings import PLAN_BLOCK_KEY, ArchitectureSettings, settings_from_configuration

TRANSUNET_CLASS_PATH = f"{TransUNet3D.__module__}.{TransUNet3D.__qualname__}"
# What a plan may name, by dotted path: a plan is data and must not be able to name any callable.
ALLOWED_IMPORTS = frozenset({
    "torch.nn.modules.conv.Conv3d", "torch.nn.modules.instancenorm.InstanceNorm3d", "torch.nn.LeakyReLU",
    "torch.nn.modules.activation.LeakyReLU",
})


def transformer_sizes(architecture: ArchitectureSettings, arch_kwargs: Mapping[str, Any],
                      patch_size: list[int]) -> dict[str, Any]:
    """Return the transformer's sizes for a topology: ``layers, heads, width, mlp_ratio, ..., grid``."""
    stride = [math.prod(stage[axis] for stage in arch_kwargs["strides"]) for axis in range(3)]
    width = architecture.transformer_width or int(arch_kwargs["features_per_stage"][-1])
    if width % architecture.transformer_heads:
        raise UsageError(f"tokens of width {width} for {architecture.transformer_heads} heads",
                         expected="a width that the heads share evenly",
                         action="change transformer_width or transformer_heads in the plan")
    return {
        "layers": architecture.transformer_layers,
        "heads": architecture.transformer_heads,
        "width": width,
        "mlp_ratio": architecture.transformer_mlp_ratio,
        "stochastic_depth": architecture.stochastic_depth,
        "grid": [int(size) // step for size, step in zip(patch_size, stride, strict=True)],
    }


def build_transunet(configuration: Mapping[str, Any], input_channels: int, num_classes: int, *,
                    deep_supervision: bool) -> nn.Module:
    """Build the TransUNet of a plan's configuration.

    A plan of femur_plan brings all sizes. On a stock plan of nnU-Net the topology is that of its
    U-Net and the transformer has the default sizes.

    Raises
    ------
    UsageError
        The plan was made for another of our architectures, is not three-dimensional, or names
        something that is not on the list of allowed building blocks.
    """
    settings = settings_from_configuration(configuration)
    if settings.architecture.family != "transunet":
        raise UsageError(f"a plan for the architecture {settings.architecture.family}",
                         expected="a plan made by femur_plan --architecture transunet",
                         action="give the right plan with -p, or another trainer")
    arch_kwargs = dict(configuration["architecture"]["arch_kwargs"])
    if len(configuration["patch_size"]) != 3:
        raise UsageError("a two-dimensional plan", expected="the configuration 3d_fullres",
                         action="train with: nnUNetv2_train DATASET 3d_fullres FOLD")
    if PLAN_BLOCK_KEY not in configuration:
        if "n_conv_per_stage" not in arch_kwargs:
            raise UsageError("a stock plan of another network than PlainConvUNet",
                             expected="nnU-Net's default plan or one of femur_plan", action="run femur_plan")
        arch_kwargs["transformer"] = transformer_sizes(settings.architecture, arch_kwargs, configuration["patch_size"])
    for name in configuration["architecture"]["_kw_requires_import"]:
        if arch_kwargs[name] is not None:
            arch_kwargs[name] = _allowed_class(arch_kwargs[name])
    return TransUNet3D(input_channels, num_classes, deep_supervision=deep_supervision, **arch_kwargs)


def _allowed_class(dotted_path: str) -> Any:
    if dotted_path not in ALLOWED_IMPORTS:
        raise UsageError(f"{dotted_path} in the plan", expected=f"one of {', '.join(sorted(ALLOWED_IMPORTS))}",
                         action="make the plan anew with femur_plan")
    return pydoc.locate(dotted_path)
