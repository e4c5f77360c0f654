"""Bytes that a training step of a plan's network needs, from arithmetic over its stages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import nn

from femur_nnunet.networks.from_plan import build_transunet, check_plan_imports
from femur_nnunet.networks.stored_activations import stored_activations
from femur_nnunet.plan_settings import FemurPlanSettings, settings_from_configuration

MIB = 1 << 20
_FLOAT = 4
_HALF = 2
# On the way back through a block: the gradients on both sides of the operation at work and the one that waits.
_MAPS_UNDER_WAY = 3
# AdamW keeps two moments a weight, SGD one momentum.
_MOMENTS = {"adamw": 2, "sgd": 1}


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes of one training step.

    Attributes
    ----------
    weights, gradients, optimiser_state : int
        Of the parameters, in float32.
    activations : int
        What autograd stores on the way forward, the loss included; under autocast with the weights' copies in half
        precision.
    peak : int
        The largest sum of all these at one moment of the step, with the gradients of feature maps that are then under
        way. Gradients of weights come as activations go, so it is less than the sum of the parts. Buffers inside
        of convolution routines, the allocator's reserve and the context of a GPU (together often 1 to 2 GiB) come on
        top.
    """

    weights: int
    gradients: int
    optimiser_state: int
    activations: int
    peak: int

    def in_mib(self) -> dict[str, int]:
        """Return the parts in MiB (2^20 bytes), rounded."""
        return {name: round(getattr(self, name) / MIB)
                for name in ("weights", "gradients", "optimiser_state", "activations", "peak")}


@dataclass(frozen=True)
class _Segment:
    """A stretch of the network that activation checkpointing computes anew at once, sizes in bytes of the batch.

    ``stored`` is all that autograd keeps of its inside and its output, ``output`` its output alone, ``working`` what
    the way back through it needs besides, ``pending`` the gradient that it leaves for its level's skip connection.
    """

    stored: int
    output: int
    working: int
    parameters: int
    pending: int = 0


def estimate_training_memory(configuration: Mapping[str, Any], *, input_channels: int = 1, num_classes: int = 2,
                             batch_size: int | None = None, half: bool = False,
                             checkpointing: bool | None = None) -> MemoryEstimate:
    """Estimate the memory of a training step with deep supervision and nnU-Net's loss.

    Parameters
    ----------
    configuration : mapping
        ``configurations.3d_fullres`` of a plan for TransUNet, V-Net (with its own loss) or nnU-Net's
        PlainConvUNet.
    input_channels, num_classes : int
        As nnU-Net gives them.
    batch_size : int, optional
        In place of the plan's. All patches count as labelled; a patch that is not decoded needs less.
    half : bool
        With autocast to half precision, as on a GPU.
    checkpointing : bool, optional
        In place of the plan's ``architecture.activation_checkpointing``.
    """
    settings = settings_from_configuration(configuration)
    kwargs = configuration["architecture"]["arch_kwargs"]
    network = _network(configuration, settings, input_channels, num_classes)
    samples = int(configuration["batch_size"] if batch_size is None else batch_size)
    patch = [int(edge) for edge in configuration["patch_size"]]
    if settings.architecture.family == "vnet":
        return _of_vnet(network, settings, (samples, input_channels, *patch), num_classes, half=half)
    width = _HALF if half else _FLOAT
    sizes = _voxels_of_stages(patch, kwargs["strides"])
    segments = [*_encoder(network, kwargs, sizes, samples, width),
                *_transformer(network, sizes[-1], samples, half=half),
                *_decoder(network, kwargs, sizes, samples, width)]
    image = samples * input_channels * sizes[0] * (_FLOAT + (width if half else 0))
    loss, target = _loss(kwargs, sizes, samples, num_classes, half=half)
    if checkpointing is None:
        checkpointing = settings.architecture.activation_checkpointing
    checkpointing = checkpointing and settings.architecture.family == "transunet"
    parameters = sum(parameter.numel() for parameter in network.parameters())
    # A segment that is computed anew copies its weights anew too.
    copies = parameters * _HALF if half and not checkpointing else 0
    kept = [segment.output if checkpointing else segment.stored for segment in segments]
    weights = parameters * _FLOAT
    optimiser = weights * _MOMENTS[settings.optimiser.name]
    passing = _largest_on_the_way_back(segments, kept, loss, checkpointing=checkpointing,
                                       copy_bytes=_HALF if half else 0)
    return MemoryEstimate(weights, weights, optimiser, sum(kept) + loss + image + copies,
                          weights + optimiser + image + target + passing)


def _of_vnet(network: nn.Module, settings: FemurPlanSettings, input_shape: Sequence[int], num_classes: int, *,
             half: bool) -> MemoryEstimate:
    """Estimate by counting what autograd keeps; the loss keeps mask and probability and their products in float32."""
    parameters = _parameters(network)
    weights = parameters * _FLOAT
    optimiser = weights * _MOMENTS[settings.optimiser.name]
    voxels = input_shape[0] * math.prod(input_shape[2:])
    image = input_shape[1] * voxels * (_FLOAT + (_HALF if half else 0))
    loss = (2 * num_classes + 3 * (num_classes - 1)) * voxels * _FLOAT
    counted = stored_activations(network, input_shape, half=half)
    activations = counted.total + loss + image + (parameters * _HALF if half else 0)
    # Most is held when the way back begins at the finest level, before the first gradients of weights.
    return MemoryEstimate(weights, weights, optimiser, activations, weights + optimiser + max(
        activations + voxels * _FLOAT + _MAPS_UNDER_WAY * counted.largest, weights))


def _largest_on_the_way_back(segments: Sequence[_Segment], kept: Sequence[int], loss: int, *,
                             checkpointing: bool, copy_bytes: int) -> int:
    """Walk back through the segments and return the largest sum of what is there at a time.

    Gradients of weights come, feature maps and the weights' copies in half precision (``copy_bytes`` a weight) go.
    """
    largest, gradients, pending = 0, 0, 0
    for number in reversed(range(len(segments))):
        segment = segments[number]
        gradients += segment.parameters * _FLOAT
        inside = segment.stored - segment.output if checkpointing else 0
        # The loss is gone once the way back has left it.
        before = loss if number == len(segments) - 1 else 0
        copied = [segment] if checkpointing else segments[:number + 1]
        copies = sum(other.parameters for other in copied) * copy_bytes
        largest = max(largest, sum(kept[:number + 1]) + inside + before + segment.working + gradients + pending
                      + copies)
        pending += segment.pending
    return largest


def _network(configuration: Mapping[str, Any], settings: FemurPlanSettings, input_channels: int,
             num_classes: int) -> Any:
    # On the device "meta" a network has shapes and no memory.
    with torch.device("meta"):
        if settings.architecture.family == "transunet":
            return build_transunet(configuration, input_channels, num_classes, deep_supervision=True)
        check_plan_imports(configuration)
        architecture = configuration["architecture"]
        return get_network_from_plans(architecture["network_class_name"], architecture["arch_kwargs"],
                                      architecture["_kw_requires_import"], input_channels, num_classes,
                                      allow_init=False, deep_supervision=True)


def _voxels_of_stages(patch: Sequence[int], strides: Sequence[Sequence[int]]) -> list[int]:
    size, voxels = list(patch), []
    for stride in strides:
        size = [edge // step for edge, step in zip(size, stride, strict=True)]
        voxels.append(math.prod(size))
    return voxels


def _maps_of_a_block(kwargs: Mapping[str, Any]) -> int:
    """Feature maps that convolution, normalisation and non-linearity keep: the input of each but the first."""
    in_place = bool((kwargs.get("nonlin_kwargs") or {}).get("inplace"))
    return (1 if kwargs.get("norm_op") else 0) + (1 if in_place else 2)


def _encoder(network: Any, kwargs: Mapping[str, Any], sizes: Sequence[int], samples: int,
             width: int) -> list[_Segment]:
    segments = []
    for stage, (voxels, features) in enumerate(zip(sizes, kwargs["features_per_stage"], strict=True)):
        one = samples * features * voxels * width
        maps = kwargs["n_conv_per_stage"][stage] * _maps_of_a_block(kwargs)
        segments.append(_Segment(maps * one, one, _MAPS_UNDER_WAY * one, _parameters(network.encoder.stages[stage])))
    return segments


def _transformer(network: Any, tokens: int, samples: int, *, half: bool) -> list[_Segment]:
    """Per token and layer: in- and output of both LayerNorms, query, key, value, attended values, hidden layer twice.

    Under autocast LayerNorm works on a float32 copy.
    """
    transformer = getattr(network, "bottleneck", None)
    if transformer is None:
        return []
    width, count = transformer.embed.out_features, samples * tokens
    value = _HALF if half else _FLOAT
    segments = []
    for layer in transformer.layers:
        hidden = layer.mlp[0].out_features
        stored = count * (2 * _FLOAT * width + (6 * width + 2 * hidden) * value)
        segments.append(_Segment(stored, count * width * value, count * (hidden + 2 * width) * value,
                                 _parameters(layer)))
    around = _parameters(transformer) - sum(segment.parameters for segment in segments)
    outside = count * (_FLOAT + 2 * value) * width + samples * tokens * transformer.embed.in_features * value
    segments.append(_Segment(outside, outside, count * width * value, around))
    return segments


def _decoder(network: Any, kwargs: Mapping[str, Any], sizes: Sequence[int], samples: int,
             width: int) -> list[_Segment]:
    segments = []
    stages = len(sizes)
    for number in range(stages - 1):
        level = stages - 2 - number
        one = samples * kwargs["features_per_stage"][level] * sizes[level] * width
        # The concatenation of the upsampled map and the skip is one map of twice the features.
        maps = 2 + kwargs["n_conv_per_stage_decoder"][number] * _maps_of_a_block(kwargs)
        parameters = sum(_parameters(part[number]) for part in (
            network.decoder.transpconvs, network.decoder.stages, network.decoder.seg_layers))
        segments.append(_Segment(maps * one, one, _MAPS_UNDER_WAY * one, parameters, pending=2 * one))
    return segments


def _loss(kwargs: Mapping[str, Any], sizes: Sequence[int], samples: int, num_classes: int, *,
          half: bool) -> tuple[int, int]:
    """Return bytes of logits and of what nnU-Net's Dice and cross-entropy keep, and bytes of the label maps."""
    voxels = sum(sizes[:len(kwargs["n_conv_per_stage_decoder"])]) * samples
    logits = num_classes * voxels
    return logits * ((_HALF if half else _FLOAT) + 3 * _FLOAT), voxels * _FLOAT


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
