"""nnU-Net's polynomial decay behind a linear warm-up, each parameter group with its own factor."""

from __future__ import annotations

import torch


class WarmupPolyScheduler:
    """Sets the learning rate once an epoch; nnU-Net calls ``step(epoch)``.

    Parameters
    ----------
    optimizer : Optimizer
        Groups may carry ``rate_factor`` (1 where they do not).
    learning_rate : float
        Highest rate.
    epochs, warmup_epochs : int
        Length of training and of the warm-up.
    exponent : float
        Of the decay, 0.9 as in nnU-Net.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, learning_rate: float, epochs: int, warmup_epochs: int,
                 exponent: float = 0.9) -> None:
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.warmup_epochs = warmup_epochs
        self.exponent = exponent
        self.step(0)

    def rate(self, epoch: int) -> float:
        """Return the rate of an epoch."""
        warm = min(1.0, (epoch + 1) / (self.warmup_epochs + 1))
        return self.learning_rate * warm * (1.0 - epoch / self.epochs) ** self.exponent

    def step(self, epoch: int) -> None:
        """Set the rate of every group for an epoch."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(epoch) * group.get("rate_factor", 1.0)
