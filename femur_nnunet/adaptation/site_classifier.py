"""The site classifiers that the reversed gradient comes from: on tokens and on their mean, for each layer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn


class SiteClassifier(nn.Module):
    """Two small perceptrons that tell the site of a patch from its tokens and from their mean.

    It belongs to training alone and is never part of the segmentation network.

    Parameters
    ----------
    token_width : int
        Width of the tokens.
    n_sites : int
        Number of sites, 2 or more.
    hidden : int
        Width of the hidden layer.
    """

    def __init__(self, token_width: int, n_sites: int, hidden: int) -> None:
        super().__init__()
        self.token_head = _perceptron(token_width, n_sites, hidden)
        self.pooled_head = _perceptron(token_width, n_sites, hidden)

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits for tokens (n, t, w): (n, t, sites) for each token and (n, sites) for their mean."""
        return self.token_head(tokens), self.pooled_head(tokens.mean(dim=1))

    def loss(self, tokens: torch.Tensor, sites: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean of both heads' cross-entropies, and the pooled head's accuracy.

        Parameters
        ----------
        tokens : Tensor
            Shape (n, t, w).
        sites : Tensor
            Shape (n,), integer sites.
        """
        token_logits, pooled_logits = self(tokens)
        token_loss = nn.functional.cross_entropy(token_logits.flatten(0, 1),
                                                 sites.repeat_interleave(tokens.shape[1]))
        pooled_loss = nn.functional.cross_entropy(pooled_logits, sites)
        accuracy = (pooled_logits.detach().argmax(1) == sites).float().mean()
        return 0.5 * (token_loss + pooled_loss), accuracy


class LayerClassifiers(nn.Module):
    """One :class:`SiteClassifier` for each attached layer.

    Parameters
    ----------
    token_widths : mapping of str to int
        Width of the tokens of each layer.
    n_sites, hidden : int
        See :class:`SiteClassifier`.
    """

    def __init__(self, token_widths: Mapping[str, int], n_sites: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({layer: SiteClassifier(width, n_sites, hidden)
                                     for layer, width in token_widths.items()})

    def loss(self, tokens: Mapping[str, torch.Tensor], sites: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the means over layers of the classifiers' losses and of their accuracies.

        Parameters
        ----------
        tokens : mapping of str to Tensor
            For each layer (n, t, w).
        sites : Tensor
            Shape (n,), integer sites.
        """
        found = [self.layers[layer].loss(values, sites) for layer, values in tokens.items()]  # type: ignore[operator]
        return torch.stack([loss for loss, _ in found]).mean(), torch.stack([right for _, right in found]).mean()


def _perceptron(width: int, n_sites: int, hidden: int) -> nn.Sequential:
    # LayerNorm in front: the heads then see the direction of features, not their scale, which the
    # network could otherwise shrink to hide the site.
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, n_sites))
