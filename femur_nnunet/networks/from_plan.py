"""Networks from plans: the trainer names the class, the plan gives its sizes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
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
# Which block of the list below a plan's setting stands for.
NORMALISATION_PATHS: dict[str, str] = {"instance": "torch.nn.modules.instancenorm.InstanceNorm3d",
                                       "batch": "torch.nn.modules.batchnorm.BatchNorm3d"}
_MOST_CONVOLUTIONS = 3
# What a plan may name, by dotted path: a plan is data and must not be able to name any callable. Names are looked up
# here and never imported.
BUILDING_BLOCKS: dict[str, type[nn.Module]] = {
    "torch.nn.modules.conv.Conv3d": nn.Conv3d,
    "torch.nn.modules.batchnorm.BatchNorm3d": nn.BatchNorm3d,
    "torch.nn.modules.instancenorm.InstanceNorm3d": nn.InstanceNorm3d,
    "torch.nn.LeakyReLU": nn.LeakyReLU,
    "torch.nn.modules.activation.LeakyReLU": nn.LeakyReLU,
}
_UNETS: dict[str, type[nn.Module]] = {
    "dynamic_network_architectures.architectures.unet.PlainConvUNet": PlainConvUNet,
    "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet": ResidualEncoderUNet,
}
# Ours, and those of nnU-Net's default and residual-encoder planners; which builder each belongs to.
NETWORK_FAMILIES: dict[str, str] = {TRANSUNET_CLASS_PATH: "transunet", VNET_CLASS_PATH: "vnet",
                                    **dict.fromkeys(_UNETS, "unet")}
ALLOWED_IMPORTS = frozenset(BUILDING_BLOCKS)
ALLOWED_NETWORKS = frozenset(NETWORK_FAMILIES)


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
    """Return the transformer's sizes for a topology: ``layers, heads, width, mlp_ratio, ..., grid``.

    Raises
    ------
    UsageError
        The heads do not share the width evenly.
    """
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
    _put_classes(arch_kwargs, configuration["architecture"]["_kw_requires_import"])
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
    _put_classes(arch_kwargs, VNET_IMPORTS)
    return VNet(input_channels, num_classes, deep_supervision=deep_supervision, **arch_kwargs)


def build_unet(configuration: Mapping[str, Any], input_channels: int, num_classes: int, *,
               deep_supervision: bool) -> nn.Module:
    """Build nnU-Net's network of a plan's configuration, one of femur_plan or a stock one, without nnU-Net's builder.

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
    if architecture["network_class_name"] not in _UNETS:
        raise UsageError(f"the network {architecture['network_class_name']}", expected="a U-Net of nnU-Net",
                         action="give the right plan with -p, or another trainer")
    arch_kwargs = dict(architecture["arch_kwargs"])
    _put_classes(arch_kwargs, architecture["_kw_requires_import"])
    network = _UNETS[architecture["network_class_name"]](
        input_channels=input_channels, num_classes=num_classes, deep_supervision=deep_supervision, **arch_kwargs)
    # As nnU-Net's own builder starts its networks.
    network.apply(network.initialize)  # type: ignore[arg-type]
    return network


def build_of_family(family: str, configuration: Mapping[str, Any], input_channels: int, num_classes: int, *,
                    deep_supervision: bool) -> nn.Module:
    """Build the network of a family, ``transunet``, ``vnet`` or ``unet``, from a plan's configuration.

    Raises
    ------
    UsageError
        As :func:`build_transunet`.
    """
    build = {"transunet": build_transunet, "vnet": build_vnet, "unet": build_unet}[family]
    return build(configuration, input_channels, num_classes, deep_supervision=deep_supervision)


def _put_classes(arch_kwargs: dict[str, Any], names: Iterable[str]) -> None:
    """Replace dotted paths by the classes they stand for; to be called once the plan's names were checked."""
    for name in names:
        if arch_kwargs[name] is not None:
            arch_kwargs[name] = BUILDING_BLOCKS[arch_kwargs[name]]


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
