"""Networks from plans: the trainer names the class, the plan gives its sizes."""

from __future__ import annotations

import math
import pydoc
from collections.abc import Mapping
from typing import Any

from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import nn

from femur_nnunet.errors import UsageError
from femur_nnunet.networks.transunet import TransUNet3D
from femur_nnunet.networks.vnet import VNet
from femur_nnunet.plan_settings import (
    PLAN_BLOCK_KEY,
    ArchitectureSettings,
    FemurPlanSettings,
    VNetSettings,
    settings_from_configuration,
)

TRANSUNET_CLASS_PATH = f"{TransUNet3D.__module__}.{TransUNet3D.__qualname__}"
VNET_CLASS_PATH = f"{VNet.__module__}.{VNet.__qualname__}"
# What VNet takes from a plan as the name of a class.
VNET_IMPORTS = ["norm_op"]
_MOST_CONVOLUTIONS = 3
# What a plan may name, by dotted path: a plan is data and must not be able to name any callable.
ALLOWED_IMPORTS = frozenset({
    "torch.nn.modules.conv.Conv3d", "torch.nn.modules.instancenorm.InstanceNorm3d", "torch.nn.LeakyReLU",
    "torch.nn.modules.activation.LeakyReLU",
})
# Ours, and those of nnU-Net's default and residual-encoder planners.
ALLOWED_NETWORKS = frozenset({
    TRANSUNET_CLASS_PATH, VNET_CLASS_PATH, "dynamic_network_architectures.architectures.unet.PlainConvUNet",
    "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet",
})


def check_plan_imports(configuration: Mapping[str, Any], *, subject: str = "") -> None:
    """Refuse a plan's configuration that names anything but known networks and building blocks.

    nnU-Net's own builder imports and calls any dotted path of a plan, with arguments of the plan: to be called before
    a network is built from a plan that came from elsewhere. Nothing is imported here.

    Parameters
    ----------
    configuration : mapping
        A configuration of plans.json.
    subject : str, optional
        What an error is about, as the plan's file.

    Raises
    ------
    UsageError
        ``network_class_name`` is not in :data:`ALLOWED_NETWORKS`, or what ``_kw_requires_import`` asks to import is
        not in :data:`ALLOWED_IMPORTS`.
    """
    architecture = configuration["architecture"]
    _require_listed(architecture["network_class_name"], ALLOWED_NETWORKS, subject)
    for name in architecture["_kw_requires_import"]:
        dotted_path = architecture["arch_kwargs"].get(name)
        if dotted_path is not None:
            _require_listed(dotted_path, ALLOWED_IMPORTS, subject)


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
    settings = _settings_for(configuration, "transunet")
    check_plan_imports(configuration)
    arch_kwargs = dict(configuration["architecture"]["arch_kwargs"])
    if PLAN_BLOCK_KEY not in configuration:
        arch_kwargs["transformer"] = transformer_sizes(settings.architecture, arch_kwargs, configuration["patch_size"])
    for name in configuration["architecture"]["_kw_requires_import"]:
        if arch_kwargs[name] is not None:
            arch_kwargs[name] = pydoc.locate(arch_kwargs[name])
    return TransUNet3D(input_channels, num_classes, deep_supervision=deep_supervision,
                       activation_checkpointing=settings.architecture.activation_checkpointing, **arch_kwargs)


def vnet_sizes(vnet: VNetSettings, arch_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of :class:`VNet` for the topology of nnU-Net's U-Net.

    Strides and the axes of flat kernels are those of the U-Net's finest stages, as many as
    ``vnet.levels`` asks for; the number of convolutions grows by one a stage up to three, as in the paper.

    Raises
    ------
    UsageError
        The kernel's edge is even: there would be no voxel in its middle.
    """
    if vnet.kernel_size % 2 == 0:
        raise UsageError(f"{vnet.kernel_size} for vnet.kernel_size", expected="an odd number",
                         action="correct the plan")
    stages = min(vnet.levels + 1, len(arch_kwargs["strides"]))
    most_features = max(int(width) for width in arch_kwargs["features_per_stage"])
    convolutions = [min(stage + 1, _MOST_CONVOLUTIONS) for stage in range(stages)]
    return {
        "features_per_stage": [min(vnet.base_features * 2**stage, most_features) for stage in range(stages)],
        "kernel_sizes": [[1 if edge == 1 else vnet.kernel_size for edge in kernel]
                         for kernel in arch_kwargs["kernel_sizes"][:stages]],
        "strides": [list(stride) for stride in arch_kwargs["strides"][:stages]],
        "n_conv_per_stage": convolutions,
        "n_conv_per_stage_decoder": convolutions[-2::-1],
        "conv_bias": arch_kwargs["conv_bias"],
        "norm_op": arch_kwargs["norm_op"],
        "norm_op_kwargs": arch_kwargs["norm_op_kwargs"],
    }


def build_vnet(configuration: Mapping[str, Any], input_channels: int, num_classes: int, *,
               deep_supervision: bool) -> nn.Module:
    """Build the V-Net of a plan's configuration; on a stock plan of nnU-Net, of its topology and the default sizes.

    Raises
    ------
    UsageError
        As :func:`build_transunet`.
    """
    settings = _settings_for(configuration, "vnet")
    check_plan_imports(configuration)
    arch_kwargs = dict(configuration["architecture"]["arch_kwargs"])
    if PLAN_BLOCK_KEY not in configuration:
        arch_kwargs = vnet_sizes(settings.vnet, arch_kwargs)
    for name in VNET_IMPORTS:
        if arch_kwargs[name] is not None:
            # The plan's own list of imports may leave it out.
            _require_listed(arch_kwargs[name], ALLOWED_IMPORTS)
            arch_kwargs[name] = pydoc.locate(arch_kwargs[name])
    return VNet(input_channels, num_classes, deep_supervision=deep_supervision, **arch_kwargs)


def build_unet(configuration: Mapping[str, Any], input_channels: int, num_classes: int, *,
               deep_supervision: bool) -> nn.Module:
    """Build nnU-Net's network of a plan's configuration, one of femur_plan or a stock one.

    Raises
    ------
    UsageError
        The plan was made for one of our architectures, or names something that is not on the lists of allowed networks
        and building blocks.
    """
    if PLAN_BLOCK_KEY in configuration:
        _settings_for(configuration, "unet")
    check_plan_imports(configuration)
    architecture = configuration["architecture"]
    return get_network_from_plans(  # type: ignore[no-any-return]
        architecture["network_class_name"], architecture["arch_kwargs"], architecture["_kw_requires_import"],
        input_channels, num_classes, allow_init=True, deep_supervision=deep_supervision)


def _settings_for(configuration: Mapping[str, Any], family: str) -> FemurPlanSettings:
    """Return the plan's settings; a plan made for another of our architectures, or flat, is refused."""
    settings = settings_from_configuration(configuration)
    own = PLAN_BLOCK_KEY in configuration
    if own and settings.architecture.family != family:
        raise UsageError(f"a plan for the architecture {settings.architecture.family}",
                         expected=f"a plan made by femur_plan --architecture {family}",
                         action="give the right plan with -p, or another trainer")
    if len(configuration["patch_size"]) != 3:
        raise UsageError("a two-dimensional plan", expected="the configuration 3d_fullres",
                         action="train with: nnUNetv2_train DATASET 3d_fullres FOLD")
    if not own and "n_conv_per_stage" not in configuration["architecture"]["arch_kwargs"]:
        raise UsageError("a stock plan of another network than PlainConvUNet",
                         expected="nnU-Net's default plan or one of femur_plan", action="run femur_plan")
    return settings


def _require_listed(dotted_path: Any, allowed: frozenset[str], subject: str = "") -> None:
    if not isinstance(dotted_path, str) or dotted_path not in allowed:
        raise UsageError(f"{dotted_path} in the plan", expected=f"one of {', '.join(sorted(allowed))}",
                         action="make the plan anew with femur_plan", subject=subject)
