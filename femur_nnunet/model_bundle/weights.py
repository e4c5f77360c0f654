"""Weights as safetensors: shared tensors stored once, and a file compared with its network before it is read."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from femur_nnunet.model_bundle.bundle_error import BundleError
from femur_nnunet.model_bundle.strict_json import parse_json

if TYPE_CHECKING:
    import torch
    from torch import nn

# Types in which weights may be stored, and bytes of a value; networks get float32.
STORED_TYPES = {"F32": 4, "F16": 2, "BF16": 2}
_LARGEST_HEADER_BYTES = 4 << 20
_OF_CHECKPOINT = "the checkpoint's weights"


def shared_tensors(network: nn.Module) -> dict[str, str]:
    """Return the names of tensors that a network holds under an earlier name too: ``{alias: name}``.

    nnU-Net's decoder holds its encoder, and a block its layers twice; a state_dict lists each name.
    """
    first: dict[int, str] = {}
    aliases = {}
    for items in (network.named_parameters(remove_duplicate=False), network.named_buffers(remove_duplicate=False)):
        for name, tensor in items:
            kept = first.setdefault(id(tensor), name)
            if kept != name:
                aliases[name] = kept
    return aliases


def pack_weights(network_weights: Mapping[str, torch.Tensor], network: nn.Module, *, half: bool = False) -> bytes:
    """Return the weights of a state_dict as safetensors, sorted by name, shared tensors under one name.

    Parameters
    ----------
    network_weights : mapping of str to Tensor
        The state_dict of ``network``.
    network : Module
        The network, which says what is shared; its own weights are not looked at.
    half : bool
        Store float16: half the size, logits that differ slightly.

    Raises
    ------
    BundleError
        Other names or shapes than the network's, values that are not finite (in float16), or two values for one
        shared tensor.
    """
    import torch
    from safetensors.torch import save

    expected = network.state_dict()
    _compare_names(set(expected), set(network_weights), _OF_CHECKPOINT)
    aliases = shared_tensors(network)
    kept = {}
    for name in sorted(_stored_names(network, aliases)):
        weight = network_weights[name]
        if weight.shape != expected[name].shape or not weight.is_floating_point():
            _refuse_checkpoint(f"{name} of {tuple(weight.shape)}, {weight.dtype}",
                               f"{tuple(expected[name].shape)} of floating point")
        stored = weight.detach().to("cpu", torch.float16 if half else torch.float32).contiguous()
        if not bool(torch.isfinite(stored).all()):
            _refuse_checkpoint(f"values of {name} that are not finite" + (" in float16" if half else ""),
                               "finite weights")
        # A copy each: safetensors refuses tensors that lie in one storage.
        kept[name] = stored.clone()
    for alias, name in sorted(aliases.items()):
        if not torch.equal(network_weights[alias], network_weights[name]):
            _refuse_checkpoint(f"other values under {alias} than under {name}", "one shared tensor")
    return bytes(save(kept))


def _stored_names(network: nn.Module, aliases: Mapping[str, str]) -> list[str]:
    """Return the names of what is stored: each tensor once, and no counter of batch normalisation."""
    return [name for name, tensor in network.state_dict().items()
            if name not in aliases and tensor.is_floating_point()]


def _refuse_checkpoint(found: str, expected: str) -> NoReturn:
    raise BundleError(found, expected=expected, action="take a checkpoint that your own training wrote",
                      subject=_OF_CHECKPOINT)


def unpack_weights(data: bytes, network: nn.Module, aliases: Mapping[str, str], *, subject: str
                   ) -> dict[str, torch.Tensor]:
    """Return the state_dict in safetensors, float32 and with all names, once it is known to fit the network.

    Parameters
    ----------
    data : bytes
        The file.
    network : Module
        The network to fit, which may be on the device ``meta``: nothing is allocated for it before names, shapes and
        types of the file were compared with it.
    aliases : mapping of str to str
        The bundle's map of shared tensors.
    subject : str
        What errors are about.

    Raises
    ------
    BundleError
        No safetensors, other names, shapes, types or shared tensors than the network's, or values that are not finite.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    if dict(aliases) != shared_tensors(network):
        raise BundleError("another map of shared tensors", expected="that of the network", subject=subject)
    state = network.state_dict()
    expected = {name: tuple(state[name].shape) for name in _stored_names(network, aliases)}
    _check_header(data, expected, subject)
    try:
        stored = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise BundleError(f"broken safetensors ({ascii(str(error))[1:80]})", expected="whole weights",
                          subject=subject) from None
    weights = {}
    for name in expected:
        if not bool(torch.isfinite(stored[name]).all()):
            raise BundleError(f"values of {name} that are not finite", expected="finite weights", subject=subject)
        weights[name] = stored[name].to(torch.float32)
    # Batch normalisation counts its training steps, which no prediction asks for.
    weights.update({name: torch.zeros_like(tensor, device="cpu") for name, tensor in state.items()
                    if not tensor.is_floating_point()})
    weights.update({alias: weights[name] for alias, name in aliases.items()})
    return weights


def _check_header(data: bytes, expected: Mapping[str, tuple[int, ...]], subject: str) -> None:
    """Compare names, shapes and types in the file's header with the network's, and their sizes with the file's."""
    length = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
    if not 2 <= length <= min(_LARGEST_HEADER_BYTES, len(data) - 8):
        raise BundleError("no safetensors", expected="weights as femur_model pack stores them", subject=subject)
    header = parse_json(data[8:8 + length], where=f"{subject}, header")
    if not isinstance(header, dict):
        raise BundleError("no safetensors", expected="weights as femur_model pack stores them", subject=subject)
    header.pop("__metadata__", None)
    _compare_names(set(expected), set(header), subject)
    stored_bytes = 0
    for name, shape in expected.items():
        entry: Any = header[name]
        kind = entry.get("dtype") if isinstance(entry, dict) else None
        if not isinstance(kind, str) or kind not in STORED_TYPES or entry.get("shape") != list(shape):
            raise BundleError(f"{name} of another type or shape ({ascii(json.dumps(entry))[1:120]})",
                              expected=f"shape {list(shape)} in {', '.join(STORED_TYPES)}", subject=subject)
        count = STORED_TYPES[kind]
        for edge in shape:
            count *= edge
        stored_bytes += count
    if stored_bytes != len(data) - 8 - length:
        raise BundleError(f"{len(data) - 8 - length} bytes of weights", expected=f"{stored_bytes}", subject=subject)


def _compare_names(expected: set[str], given: set[str], subject: str) -> None:
    for names, what in ((expected - given, "lack"), (given - expected, "are of another network")):
        if names:
            raise BundleError(f"{len(names)} tensors that {what}, as {ascii(min(names))[:100]}",
                              expected="the tensors of the planned network", subject=subject)
