"""How strongly each term of the loss pulls at the encoder's features."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import distributed

from femur_nnunet.adaptation.gathering import gather
from femur_nnunet.networks.token_layers import BOTTLENECK


class GradientProbe:
    """Norms of the gradient of each weighted term with respect to the tokens of the attached layers.

    The adaptation terms are differentiated down to the tokens only, which costs little. What the
    bottleneck's tokens then receive besides, in the step's own backward pass, is the segmentation's in
    the rows of labelled patches and the consistency's in those of unlabelled ones, since samples do not
    mix in the network: no second pass through the decoder is needed. Tokens of other layers are side
    branches that no decoder uses; without the bottleneck these two norms are not measured.

    Parameters
    ----------
    own_tokens : mapping of str to Tensor
        Tokens (n, t, w) of this rank as the network gave them, before gathering.
    compiled : bool
        Whether the network runs under torch.compile. Its backward pass is then one piece, in which what
        the tokens receive from the decoder cannot be seen: the two norms are not measured.
    """

    def __init__(self, own_tokens: Mapping[str, torch.Tensor], *, compiled: bool = False) -> None:
        self._own = dict(own_tokens)
        self._sees_decoder = BOTTLENECK in self._own and not compiled
        self._terms: dict[str, list[torch.Tensor]] = {}

    def measure_terms(self, terms: Mapping[str, torch.Tensor], gathered_tokens: Mapping[str, torch.Tensor]) -> None:
        """Differentiate each weighted term with respect to the tokens of all ranks, before the backward pass."""
        inputs = list(gathered_tokens.values())
        for name, value in terms.items():
            if not value.requires_grad:
                self._terms[name] = [torch.zeros_like(layer) for layer in inputs]
                continue
            gradients = torch.autograd.grad(value, inputs, retain_graph=True, allow_unused=True)
            self._terms[name] = [torch.zeros_like(layer) if gradient is None else gradient
                                 for gradient, layer in zip(gradients, inputs, strict=True)]
        if self._sees_decoder:
            # Only now: a tensor that retains its gradient would add up those just taken, too.
            self._own[BOTTLENECK].retain_grad()

    def norms(self, labelled: torch.Tensor, *, loss_scale: float, consistency: bool) -> dict[str, float]:
        """Return the norm of each term's gradient, after the backward pass.

        Parameters
        ----------
        labelled : Tensor
            Shape (n,), bool: the labelled patches of this rank.
        loss_scale : float
            The gradient scaler's factor in that pass, 1 without one.
        consistency : bool
            Whether the step had a consistency term in use.

        Returns
        -------
        dict
            ``gradient_<term>``: the norm over all ranks' tokens and all attached layers. A term that was
            not in use has no entry.
        """
        found = {f"gradient_{name}": float(sum(gradient.square().sum() for gradient in gradients)) ** 0.5
                 for name, gradients in self._terms.items()}
        if not self._sees_decoder:
            return found
        own = self._own[BOTTLENECK]
        assert own.grad is not None
        in_use = distributed.is_available() and distributed.is_initialized()
        ranks, rank = (distributed.get_world_size(), distributed.get_rank()) if in_use else (1, 0)
        rows = slice(rank * len(own), (rank + 1) * len(own))
        layer = list(self._own).index(BOTTLENECK)
        # The gathered terms come back once from every rank, and DDP divides all by the ranks.
        rest = own.grad.float() / (loss_scale * ranks)
        rest = rest - sum(gradients[layer][rows] for gradients in self._terms.values())
        a_patch = rest.flatten(1).square().sum(1)
        squares = torch.stack([a_patch[labelled].sum(), a_patch[~labelled].sum()])
        segmentation, unlabelled = gather(squares[None]).sum(0).sqrt().tolist()
        found["gradient_segmentation"] = segmentation
        if consistency:
            found["gradient_consistency"] = unlabelled
        return found
