from __future__ import annotations

import pytest
import torch

from femur_nnunet.trainers.labelled_loss import loss_of_labelled

LABELLED = torch.tensor([True, False, True, False])


def mean_square(outputs, target):
    levels = zip(outputs, target, strict=True) if isinstance(outputs, list) else [(outputs, target)]
    return sum((out - wanted).square().mean() for out, wanted in levels)


def test_unlabelled_patches_have_no_segmentation_gradient():
    outputs = torch.randn(4, 2, 3, 3, 3, requires_grad=True)
    loss_of_labelled(mean_square, outputs, torch.randn(4, 2, 3, 3, 3), LABELLED).backward()
    assert (outputs.grad[~LABELLED] == 0).all()
    assert (outputs.grad[LABELLED] != 0).all()


def test_the_loss_is_that_of_the_labelled_patches_on_every_level():
    outputs = [torch.randn(4, 2, 4, 4, 4), torch.randn(4, 2, 2, 2, 2)]
    target = [torch.randn(4, 2, 4, 4, 4), torch.randn(4, 2, 2, 2, 2)]
    expected = sum((o[LABELLED] - t[LABELLED]).square().mean() for o, t in zip(outputs, target, strict=True))
    assert loss_of_labelled(mean_square, outputs, target, LABELLED).item() == pytest.approx(expected.item(), rel=1e-6)


def test_without_labelled_patches_the_loss_is_a_zero_that_can_go_backward():
    outputs = torch.randn(2, 2, 3, 3, 3, requires_grad=True)
    value = loss_of_labelled(mean_square, outputs, torch.zeros(2, 2, 3, 3, 3), torch.tensor([False, False]))
    value.backward()
    assert value.item() == 0
    assert (outputs.grad == 0).all()
