"""The order of a network's weights in memory that a processor computes fastest with."""

from __future__ import annotations

import torch
from torch import nn


def lay_out_for(network: nn.Module, device: torch.device) -> None:
    """Put a network's 3D weights channels last on a CPU, in place; other devices keep theirs.

    oneDNN's convolutions want channels last and else turn every feature map around, there and back: a training step of
    the small U-Net takes 6 to 11 % less time (benchmarks/weights_layout.py). Values, parameters and
    checkpoints stay.
    """
    if device.type == "cpu":
        network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
