"""The adaptation terms of a training step, from tokens and sites of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from femur_nnunet.adaptation.gradient_reversal import ramp, reversal_strength, reverse_gradient
from femur_nnunet.adaptation.mmd import mmd_between_sites
from femur_nnunet.adaptation.site_classifier import LayerClassifiers
from femur_nnunet.adaptation.site_queue import FeatureQueues
from femur_nnunet.plan_settings import AdaptationSettings


@dataclass(frozen=True)
class AdaptationTerms:
    """What a step adds to the segmentation loss.

    Attributes
    ----------
    domain, mmd : Tensor
        The terms without their weights, scalars.
    domain_weight, mmd_weight : float
        Their weights in this step, ramps included.
    strength : float
        Lambda of the gradient reversal in this step.
    site_accuracy : Tensor
        Accuracy of the site classifier on pooled features, a scalar.
    """

    domain: torch.Tensor
    mmd: torch.Tensor
    domain_weight: float
    mmd_weight: float
    strength: float
    site_accuracy: torch.Tensor

    @property
    def total(self) -> torch.Tensor:
        """The weighted sum, a scalar; each term stands in it once."""
        return self.domain_weight * self.domain + self.mmd_weight * self.mmd

    def reaching_encoder(self) -> dict[str, torch.Tensor]:
        """Return the weighted terms that should have a gradient at the encoder in this step."""
        found = {}
        if self.domain_weight > 0 and self.strength > 0:
            found["domain"] = self.domain_weight * self.domain
        if self.mmd_weight > 0:
            found["mmd"] = self.mmd_weight * self.mmd
        return found

    def record(self) -> dict[str, float]:
        """Return the numbers that are logged for a step."""
        return {"domain_loss": float(self.domain.detach()), "mmd": float(self.mmd.detach()),
                "reversal_strength": self.strength, "mmd_weight": self.mmd_weight,
                "site_accuracy": float(self.site_accuracy)}


def adaptation_terms(tokens: Mapping[str, torch.Tensor], sites: torch.Tensor, heads: LayerClassifiers, *,
                     progress: float, settings: AdaptationSettings, queues: FeatureQueues | None = None,
                     sample_seed: int = 0) -> AdaptationTerms:
    """Compute the site classifier's loss behind the reversed gradient, and MMD, and fill the queues.

    Computed in float32 and outside of autocast: differences of kernel means vanish in half precision.

    Parameters
    ----------
    tokens : mapping of str to Tensor
        For each attached layer (n, t, w), of the whole (global) batch, with gradient.
    sites : Tensor
        Shape (n,), integer sites.
    heads : LayerClassifiers
        Learn to tell sites; their own gradient is not reversed.
    progress : float
        Share of training that is done, 0..1.
    settings : AdaptationSettings
        Weights and schedules.
    queues : FeatureQueues, optional
        Features of past steps; the present ones are added to them, without gradient.
    sample_seed : int
        Seeds the sample of tokens, so that all ranks that hold the same batch draw the same one.
    """
    strength = reversal_strength(progress, settings)
    mmd_weight = settings.mmd_weight * ramp(progress, settings)
    with torch.autocast(device_type=sites.device.type, enabled=False):
        tokens = {layer: values.float() for layer, values in tokens.items()}
        domain, accuracy = heads.loss({layer: reverse_gradient(values, strength) for layer, values in tokens.items()},
                                      sites)
        # Without a weight MMD is only logged.
        with torch.set_grad_enabled(mmd_weight > 0 and torch.is_grad_enabled()):
            mmd = torch.stack([_mmd(layer, values, sites, settings, queues, sample_seed)
                               for layer, values in tokens.items()]).mean()
    return AdaptationTerms(domain, mmd, settings.domain_weight, mmd_weight, strength, accuracy)


def _mmd(layer: str, tokens: torch.Tensor, sites: torch.Tensor, settings: AdaptationSettings,
         queues: FeatureQueues | None, sample_seed: int) -> torch.Tensor:
    """MMD of a layer's pooled features plus MMD of a sample of the tokens of each site.

    Pairs of tokens of one patch are left out: a single patch a site is compared with the queue's alone.
    """
    pooled = tokens.mean(dim=1)
    value = mmd_between_sites(pooled, sites, settings.mmd_bandwidths, queues.pooled[layer] if queues else None)
    if queues is not None:
        queues.pooled[layer].push(pooled, sites)
    if settings.mmd_tokens == 0:
        return value
    rows, patches = token_sample(tokens, sites, settings.mmd_tokens, sample_seed)
    row_sites = sites[patches]
    value = value + mmd_between_sites(rows, row_sites, settings.mmd_bandwidths,
                                      queues.tokens[layer] if queues else None, groups=patches)
    if queues is not None:
        queues.tokens[layer].push(rows, row_sites)
    return value


def token_sample(tokens: torch.Tensor, sites: torch.Tensor, count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return at most ``count`` tokens of each site, drawn with a seed, and the patch (row of ``tokens``) of each.

    The kernel's size is bounded by ``count``, whatever the number of tokens.

    Parameters
    ----------
    tokens : Tensor
        Shape (n, t, w).
    sites : Tensor
        Shape (n,).
    count, seed : int
        Tokens of a site, and what the draw depends on besides the shapes.
    """
    generator = torch.Generator().manual_seed(seed)
    rows, patches = [], []
    for site in torch.unique(sites).tolist():
        own = torch.nonzero(sites == site).flatten()
        chosen = torch.randperm(len(own) * tokens.shape[1], generator=generator)[:count].to(own.device)
        patches.append(own[chosen // tokens.shape[1]])
        rows.append(tokens[patches[-1], chosen % tokens.shape[1]])
    return torch.cat(rows), torch.cat(patches)
