from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from femur_nnunet.adaptation.mean_teacher import MeanTeacher, consistency_loss, consistency_weight
from femur_nnunet.plan_settings import TeacherSettings


class Network(nn.Module):
    """One weight, and the switch that nnU-Net's networks have."""

    def __init__(self):
        super().__init__()
        self.decoder = nn.Module()
        self.decoder.deep_supervision = True
        self.scale = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, image):
        logits = torch.cat([image * 0, image * self.scale], dim=1)
        return [logits] if self.decoder.deep_supervision else logits


def test_the_teacher_is_the_moving_average_of_the_student():
    student = Network()
    teacher = MeanTeacher(student, 0.9)
    expected = 0.0
    for step in range(1, 30):
        with torch.no_grad():
            student.scale.fill_(float(step))
        teacher.update(student)
        decay = min(0.9, 1 - 1 / (step + 1))
        expected = decay * expected + (1 - decay) * step
        assert teacher.network.scale.item() == pytest.approx(expected)


def test_the_teacher_has_no_gradient_and_leaves_the_students_mode_alone():
    student = Network().train()
    teacher = MeanTeacher(student, 0.9)
    image = torch.ones(1, 1, 2, 2, 2, dtype=torch.float64)
    probabilities = teacher.probabilities(image)
    assert not probabilities.requires_grad
    assert not any(parameter.requires_grad for parameter in teacher.network.parameters())
    assert student.training
    assert student.decoder.deep_supervision
    loss = consistency_loss(student(image)[0] + 1.0 * student.scale, probabilities)
    loss.backward()
    assert student.scale.grad is not None


def test_the_consistency_loss_is_the_mean_squared_difference_of_probabilities():
    # Logits (0, log 3) are probabilities (1/4, 3/4).
    logits = torch.tensor([0.0, math.log(3.0)]).view(1, 2, 1, 1, 1)
    teacher = torch.tensor([0.5, 0.5]).view(1, 2, 1, 1, 1)
    assert consistency_loss(logits, teacher).item() == pytest.approx(0.25**2)


@pytest.mark.parametrize(("progress", "expected"), [(0.0, 3 * math.exp(-5)), (0.1, 3 * math.exp(-5 * 0.25)),
                                                    (0.2, 3.0), (1.0, 3.0)])
def test_the_weight_rises_as_laine_and_aila_have_it(progress, expected):
    settings = TeacherSettings(consistency_weight=3.0, ramp_end=0.2)
    assert consistency_weight(progress, settings) == pytest.approx(expected)


def test_a_checkpoint_brings_back_weights_and_steps():
    student = Network()
    teacher, restored = MeanTeacher(student, 0.9), MeanTeacher(student, 0.9)
    with torch.no_grad():
        student.scale.fill_(2.0)
    teacher.update(student)
    restored.load_state(teacher.state())
    assert restored.steps == 1
    assert restored.network.scale.item() == teacher.network.scale.item() == 1.0
