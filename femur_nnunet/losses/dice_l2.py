"""The compound loss Dice + w * L2 of the V-Net study, in both readings of L2."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

import torch
from torch import nn

from femur_nnunet.adaptation.gathering import gather, gather_with_gradient


class DiceL2Terms(NamedTuple):
    """The parts of the loss: ``total = dice + weight * l2``, each a scalar tensor in float32."""

    total: torch.Tensor
    dice: torch.Tensor
    l2: torch.Tensor


class DiceL2Loss(nn.Module):
    """Dice + w * L2.

    Dice is that of V-Net (Milletari et al. 2016, section 3), with squares in the denominator. For each
    foreground class, with probabilities p (softmax), the mask g in {0, 1} and sums over all voxels of
    the batch of all ranks,

        dice = 1 - 2 sum(p g) / (sum(p^2) + sum(g^2))

    and the term is the mean over the foreground classes that occur in the batch's masks. A class that
    occurs nowhere in it has no Dice: its coefficient would be 0 whatever the network says. The paper
    sums over one whole volume; here a patch need not show the femur, and only in a sum over the batch
    does what is found there by mistake count.

    L2 is one of two readings:

    - ``weights``: sum of squares of all parameters given; its gradient is 2 w theta.
    - ``residual``: mean over voxels and foreground classes of (p - g)^2.

    Everything is computed in float32, whatever type the logits have. Under distributed training the
    sums of Dice and residual are gathered with gradient, and every rank computes the loss of the whole
    batch; the squared norm is that of each rank's own (equal) parameters. In both cases DDP's average
    over ranks gives the gradient once, not once a rank.

    Parameters
    ----------
    l2 : str
        ``weights`` or ``residual``.
    weight : float
        w.
    parameters : iterable of Parameter
        Parameters that ``weights`` takes the norm of.
    """

    def __init__(self, l2: Literal["weights", "residual"], weight: float,
                 parameters: Iterable[nn.Parameter] = ()) -> None:
        super().__init__()
        self.l2 = l2
        self.weight = weight
        # In a tuple they are no parameters of this module, and the norm needs no walk over the network.
        self.regularised = tuple(parameters)

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return ``total`` of :meth:`terms`, as nnU-Net's validation asks for it."""
        return self.terms(logits, target).total

    def terms(self, logits: torch.Tensor, target: torch.Tensor) -> DiceL2Terms:
        """Return the parts of the loss.

        Parameters
        ----------
        logits : Tensor
            Shape (n, classes, z, y, x), class 0 the background.
        target : Tensor
            Shape (n, 1, z, y, x), label values.
        """
        probability = torch.softmax(_at_least_single(logits), dim=1)[:, 1:]
        classes = torch.arange(1, logits.shape[1], device=logits.device).view(1, -1, 1, 1, 1)
        mask = (target.long() == classes).to(probability.dtype)
        axes = (0, 2, 3, 4)
        sums = torch.stack([(probability * mask).sum(axes), probability.square().sum(axes),
                            (probability - mask).square().sum(axes)])
        # One row a rank; the rows of a single process are one.
        overlap, squares, residuals = gather_with_gradient(sums[None]).sum(0)
        counts = gather(torch.stack([mask.sum(axes), torch.full_like(sums[0], mask[:, 0].numel())])[None]).sum(0)
        reference, voxels = counts
        occurring = reference > 0
        coefficients = 2 * overlap / (squares + reference).clamp_min(torch.finfo(squares.dtype).tiny)
        # Where no class occurs the zero keeps its gradient, so that the optimiser's step goes on.
        dice = ((1 - coefficients) * occurring).sum() / occurring.sum().clamp_min(1)
        l2 = self.squared_norm().to(logits.device) if self.l2 == "weights" else (residuals / voxels).mean()
        return DiceL2Terms(dice + self.weight * l2, dice, l2)

    def squared_norm(self) -> torch.Tensor:
        """Return the sum of squares of the regularised parameters, a scalar in float32 or better."""
        if not self.regularised:
            return torch.zeros(())
        return torch.stack([_at_least_single(parameter).square().sum() for parameter in self.regularised]).sum()


def _at_least_single(values: torch.Tensor) -> torch.Tensor:
    """Return float32 for lower precisions; float64, as the tests use it, stays."""
    return values if values.dtype == torch.float64 else values.float()
