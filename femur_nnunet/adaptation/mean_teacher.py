"""Mean teacher: a moving average of the network that unlabelled patches are made consistent with."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import nn

from femur_nnunet.plan_settings import TeacherSettings


class MeanTeacher:
    """Moving average of a segmentation network's weights (Tarvainen and Valpola 2017).

    Parameters
    ----------
    network : Module
        The student, without the wrappers of DDP and torch.compile; copied.
    decay : float
        Decay a step; in the first steps 1 - 1 / (step + 1) where that is smaller, so that the teacher
        does not keep the random start.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        copied: Any = copy.deepcopy(network).eval().requires_grad_(False)
        copied.decoder.deep_supervision = False
        self.network = copied

    @torch.no_grad()
    def update(self, student: nn.Module) -> None:
        """Move the weights towards the student's, after its step."""
        self.steps += 1
        share = 1.0 - min(self.decay, 1.0 - 1.0 / (self.steps + 1))
        # Not by state_dict: nnU-Net's decoder names the encoder and its own layers again, and each name
        # of one tensor would move it once more.
        for pairs in (zip(self.network.parameters(), student.parameters(), strict=True),
                      zip(self.network.buffers(), student.buffers(), strict=True)):
            for own, value in pairs:
                if value.is_floating_point():
                    own.lerp_(value.to(own), share)
                else:
                    own.copy_(value)

    @torch.no_grad()
    def probabilities(self, images: torch.Tensor) -> torch.Tensor:
        """Return class probabilities (n, classes, z, y, x), float32, without gradient."""
        return self.network(images).float().softmax(1)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"steps": self.steps, "weights": self.network.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state` returned."""
        self.steps = int(state["steps"])
        self.network.load_state_dict(state["weights"])


def consistency_loss(student_logits: torch.Tensor, teacher_probabilities: torch.Tensor) -> torch.Tensor:
    """Return the mean over patches, classes and voxels of the squared difference of probabilities, a scalar.

    Both arguments have the shape (n, classes, z, y, x).
    """
    return (student_logits.float().softmax(1) - teacher_probabilities).square().mean()


def consistency_weight(progress: float, settings: TeacherSettings) -> float:
    """Return the weight at a progress: w exp(-5 (1 - p / ramp_end)^2), w from ``ramp_end`` on (Laine and Aila 2017)."""
    missing = 1.0 - min(progress / settings.ramp_end, 1.0)
    return settings.consistency_weight * math.exp(-5.0 * missing**2)
