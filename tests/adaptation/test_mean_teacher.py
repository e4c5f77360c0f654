from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from femur_nnunet.adaptation.mean_teacher import MeanTeacher, consistency_loss, consistency_weight
from femur_nnunet.networks.transunet import TransUNet3D
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


def test_every_weight_of_a_transunet_moves_by_the_same_share_though_several_names_lead_to_it():
    student = TransUNet3D(1, 2, n_stages=3, features_per_stage=[4, 8, 8], conv_op=nn.Conv3d,
                          kernel_sizes=[[3, 3, 3]] * 3, strides=[[1, 1, 1], [2, 2, 2], [2, 2, 2]],
                          n_conv_per_stage=[1, 1, 1], n_conv_per_stage_decoder=[1, 1], norm_op=nn.InstanceNorm3d,
                          norm_op_kwargs={"affine": True}, nonlin=nn.LeakyReLU, deep_supervision=True,
                          transformer={"layers": 1, "heads": 2, "width": 8, "mlp_ratio": 2.0, "stochastic_depth": 0.0,
                                       "grid": [2, 2, 2]})
    assert len(student.state_dict()) > len(list(student.parameters()))
    teacher = MeanTeacher(student, 0.99)
    teacher.steps = 1000
    before = {name: value.clone() for name, value in teacher.network.named_parameters()}
    with torch.no_grad():
        for value in student.parameters():
            value += 1.0
    teacher.update(student)
    for name, value in teacher.network.named_parameters():
        assert torch.allclose(value - before[name], torch.full_like(value, 0.01), atol=1e-5), name


def test_running_statistics_follow_and_counts_are_copied():
    student = nn.Module()
    student.decoder = nn.Module()
    student.norm = nn.BatchNorm1d(1)
    teacher = MeanTeacher(student, 0.5)
    teacher.steps = 9
    student.norm.running_mean.fill_(4.0)
    student.norm.num_batches_tracked.fill_(7)
    teacher.update(student)
    assert teacher.network.norm.running_mean.item() == pytest.approx(2.0)
    assert teacher.network.norm.num_batches_tracked.item() == 7


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
