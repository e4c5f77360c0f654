"""The two adaptation terms of a training step, from tokens and sites of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from femur_nnunet.adaptation.gradient_reversal import ramp, reversal_strength, reverse_gradient
from femur_nnunet.adaptation.mmd import mmd_between_sites
from femur_nnunet.adaptation.site_classifier import SiteClassifier
from femur_nnunet.plan_settings import AdaptationSettings


@dataclass(frozen=True)
class AdaptationTerms:
    """What a step adds to the segmentation loss.

    Attributes
    ----------
    total : Tensor
        ``domain_weight * domain + ramp * mmd_weight * mmd``; each term stands in it once.
    domain, mmd : Tensor
        The terms without their weights.
    strength : float
        Lambda of the gradient reversal in this step.
    site_accuracy : Tensor
        Accuracy of the site classifier on pooled features.
    """

    total: torch.Tensor
    domain: torch.Tensor
    mmd: torch.Tensor
    strength: float
    site_accuracy: torch.Tensor

    def record(self) -> dict[str, float]:
        """Return the numbers that are logged for a step."""
        return {"domain_loss": float(self.domain.detach()), "mmd": float(self.mmd.detach()),
                "reversal_strength": self.strength, "site_accuracy": float(self.site_accuracy)}


def adaptation_terms(tokens: torch.Tensor, sites: torch.Tensor, head: SiteClassifier, *, progress: float,
                     settings: AdaptationSettings) -> AdaptationTerms:
    """Compute the site classifier's loss behind the reversed gradient, and MMD.

    Parameters
    ----------
    tokens : Tensor
        Shape (n, t, w), of the whole (global) batch, with gradient; computed on in float32, since
        differences of kernel means vanish in half precision.
    sites : Tensor
        Shape (n,), integer sites.
    head : SiteClassifier
        Learns to tell sites; its own gradient is not reversed.
    progress : float
        Share of training that is done, 0..1.
    settings : AdaptationSettings
        Weights and schedules.
    """
    tokens = tokens.float()
    strength = reversal_strength(progress, settings)
    domain, accuracy = head.loss(reverse_gradient(tokens, strength), sites)
    mmd = _mmd(tokens, sites, settings)
    total = settings.domain_weight * domain + ramp(progress, settings) * settings.mmd_weight * mmd
    return AdaptationTerms(total, domain, mmd, strength, accuracy)


def _mmd(tokens: torch.Tensor, sites: torch.Tensor, settings: AdaptationSettings) -> torch.Tensor:
    """MMD of pooled features (where a site has two patches) plus MMD of a sample of tokens of each site."""
    pooled = mmd_between_sites(tokens.mean(dim=1), sites, settings.mmd_bandwidths)
    if settings.mmd_tokens == 0:
        return pooled
    rows, row_sites = [], []
    for site in torch.unique(sites).tolist():
        own = tokens[sites == site].flatten(0, 1)
        chosen = torch.randperm(len(own), device=own.device)[:settings.mmd_tokens]
        rows.append(own[chosen])
        row_sites.append(torch.full((len(chosen),), site, device=sites.device))
    return pooled + mmd_between_sites(torch.cat(rows), torch.cat(row_sites), settings.mmd_bandwidths)
