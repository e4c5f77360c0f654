"""Gradient reversal: identity forward, ``-strength * gradient`` backward, and the schedule of its strength."""

from __future__ import annotations

import math
from typing import Any

import torch

from femur_nnunet.plan_settings import AdaptationSettings


class _ReverseGradient(torch.autograd.Function):
    """The layer of Ganin and Lempitsky (2015), equations 8 and 9."""

    @staticmethod
    def forward(ctx: Any, features: torch.Tensor, strength: float) -> torch.Tensor:
        ctx.strength = strength
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return -ctx.strength * gradients[0], None


def reverse_gradient(features: torch.Tensor, strength: float) -> torch.Tensor:
    """Return ``features`` unchanged; on the way back their gradient is multiplied by ``-strength``.

    Parameters
    ----------
    features : Tensor
        Any shape.
    strength : float
        Lambda. It is applied here and nowhere else: a second factor in the loss weight would reach
        the encoder squared.
    """
    return _ReverseGradient.apply(features, strength)


def reversal_strength(progress: float, settings: AdaptationSettings) -> float:
    """Return lambda at a training progress between 0 and 1.

    ``ganin`` is 2 / (1 + exp(-10 p)) - 1 (Ganin and Lempitsky 2015, section 4.1); ``delayed_ramp`` is
    0 until ``ramp_start``, then linear to 1 at ``ramp_end``; both times ``reversal_strength``.
    """
    if settings.reversal_schedule == "constant":
        share = 1.0
    elif settings.reversal_schedule == "ganin":
        share = 2.0 / (1.0 + math.exp(-10.0 * progress)) - 1.0
    else:
        share = ramp(progress, settings)
    return settings.reversal_strength * share


def ramp(progress: float, settings: AdaptationSettings) -> float:
    """Return the linear ramp from 0 at ``ramp_start`` to 1 at ``ramp_end``."""
    position = (progress - settings.ramp_start) / (settings.ramp_end - settings.ramp_start)
    return min(max(position, 0.0), 1.0)
