"""A score of predictions on unlabelled scans that needs no label: agreement times plausibility."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

DICE_WINDOW = 3
_CONTRAST, _BRIGHTNESS, _NOISE = 0.15, 0.1, 0.1


@dataclass(frozen=True)
class TargetScore:
    """Label-free score of a network on target patches.

    Attributes
    ----------
    agreement : float
        Mean Dice between the predictions of a patch and of its perturbed view; 0 where both are empty.
        Agreement of repeated predictions follows the true Dice (Roy et al. 2019, Bayesian QuickNAT,
        doi 10.1016/j.neuroimage.2019.03.042).
    plausibility : float
        min(r, 1/r), r the predicted share of femur over that of labelled scans' patches at the same
        relative places; 0 where nothing is predicted. Agreement alone would be won by a network that
        finds femur nowhere or everywhere. The share of a structure is what is known of it without
        labels (Bateson et al. 2020, arXiv 2005.03697).
    """

    agreement: float
    plausibility: float

    @property
    def value(self) -> float:
        """The product of both, 0..1."""
        return self.agreement * self.plausibility


def perturbed(patches: torch.Tensor) -> torch.Tensor:
    """Return patches (n, c, z, y, x) of normalised intensity, changed as another scanner might.

    Contrast by 15 % and brightness by 0.1 standard deviations, both up in even patches and down in odd
    ones, and noise of 0.1, drawn with a fixed seed: the same views in every epoch.
    """
    sign = torch.tensor([1.0 if number % 2 == 0 else -1.0 for number in range(len(patches))])
    sign = sign.to(patches).view(-1, *[1] * (patches.ndim - 1))
    noise = torch.randn(patches.shape, generator=torch.Generator().manual_seed(0)).to(patches)
    mean = patches.mean(dim=tuple(range(1, patches.ndim)), keepdim=True)
    return (patches - mean) * (1.0 + _CONTRAST * sign) + mean + _BRIGHTNESS * sign + _NOISE * noise


def target_score(predict: Callable[[torch.Tensor], torch.Tensor], patches: torch.Tensor, views: torch.Tensor,
                 expected_share: float) -> TargetScore:
    """Score a network's predictions on target patches.

    Parameters
    ----------
    predict : callable
        Takes patches (n, c, z, y, x) and returns a mask (n, z, y, x), bool.
    patches, views : Tensor
        Target patches and their perturbed views, shapes (n, c, z, y, x).
    expected_share : float
        Mean share of femur in patches of labelled scans at the same relative places, above 0. Not
        centred on their own femur: these unlabelled ones are not.
    """
    agreements, predicted = [], 0.0
    for patch, view in zip(patches, views, strict=True):
        first, second = predict(patch[None]), predict(view[None])
        total = float(first.sum() + second.sum())
        agreements.append(2.0 * float((first & second).sum()) / total if total > 0 else 0.0)
        predicted += float(first.float().mean()) / len(patches)
    ratio = predicted / expected_share
    return TargetScore(sum(agreements) / len(agreements), min(ratio, 1.0 / ratio) if ratio > 0 else 0.0)


def combined_score(source_dice: Sequence[float], target: TargetScore, source_weight: float) -> float:
    """Return the weighted mean of the source's validation Dice, over its last three epochs, and the target's score."""
    latest = [float(value) for value in source_dice[-DICE_WINDOW:]]
    return source_weight * sum(latest) / len(latest) + (1.0 - source_weight) * target.value
