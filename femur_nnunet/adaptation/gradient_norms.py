"""How strongly each term of the loss pulls at the encoder's weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import distributed


def gradient_norms(terms: Mapping[str, torch.Tensor], encoder: Iterable[torch.nn.Parameter], *,
                   loss_scale: float = 1.0) -> dict[str, float]:
    """Return the norm of each weighted term's own gradient with respect to the encoder's weights.

    It is what an optimiser without momentum would be given for these weights if the loss had this term
    alone, whichever way the term takes to them: the segmentation loss comes through the skip
    connections too, and a term on tokens through the tokens alone. The graph stays for the step's own
    backward pass, and no ``.grad`` is written. Each term costs one pass back through what lies between
    it and the encoder.

    Parameters
    ----------
    terms : mapping of str to Tensor
        Scalars with their weights. Under DDP every rank must bring the same names in the same order.
    encoder : iterable of Parameter
        Weights that the norms are taken over.
    loss_scale : float
        The gradient scaler's factor, so that half precision does not lose small gradients on the way;
        it is taken out of the norms.

    Returns
    -------
    dict
        ``gradient_<term>``; 0 for a term that is detached from the encoder. Under DDP that of the mean
        over ranks, as DDP forms it, the same on every rank.
    """
    weights = list(encoder)
    in_use = distributed.is_available() and distributed.is_initialized()
    norms = {}
    for name, value in terms.items():
        found: tuple[torch.Tensor | None, ...] = (None,) * len(weights)
        if value.requires_grad:
            found = torch.autograd.grad(value * loss_scale, weights, retain_graph=True, allow_unused=True)
        gradient = torch.cat([torch.zeros_like(weight).flatten() if part is None else part.flatten()
                              for part, weight in zip(found, weights, strict=True)]).float() / loss_scale
        if in_use:
            distributed.all_reduce(gradient)
            gradient /= distributed.get_world_size()
        norms[f"gradient_{name}"] = gradient.norm().item()
    return norms


def keep_buffers_for_further_passes() -> None:
    """Let networks that torch.compile compiles from now on be differentiated more than once a step.

    By default their backward pass overwrites what the forward pass stored and refuses to run while the
    graph is kept; torch's own message names this switch. Older versions have neither.
    """
    from torch._functorch import config

    if hasattr(config, "donated_buffer"):
        config.donated_buffer = False
