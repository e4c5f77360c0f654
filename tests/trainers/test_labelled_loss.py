from __future__ import annotations

import pytest
import torch
from torch import multiprocessing
from two_ranks import free_port, run_labelled_loss

from femur_nnunet.trainers.labelled_loss import loss_of_labelled, patches_to_decode

LABELLED = torch.tensor([True, False, True, False])


def mean_square(outputs, target):
    levels = zip(outputs, target, strict=True) if isinstance(outputs, list) else [(outputs, target)]
    return sum((out - wanted).square().mean() for out, wanted in levels)


def test_labelled_patches_alone_are_decoded():
    assert patches_to_decode(LABELLED).tolist() == [0, 2]


def test_a_batch_without_labels_decodes_one_patch_so_that_no_rank_stalls():
    assert patches_to_decode(torch.tensor([False, False])).tolist() == [0]


def test_the_label_maps_of_unlabelled_patches_are_never_looked_at():
    outputs, target = torch.randn(2, 2, 3, 3, 3), torch.randn(4, 2, 3, 3, 3)
    changed = target.clone()
    changed[~LABELLED] = float("nan")
    values = [loss_of_labelled(mean_square, outputs, maps, LABELLED) for maps in (target, changed)]
    assert values[0] == values[1] == (outputs - target[LABELLED]).square().mean()


def test_the_loss_is_that_of_the_labelled_patches_on_every_level():
    outputs = [torch.randn(2, 2, 4, 4, 4), torch.randn(2, 2, 2, 2, 2)]
    target = [torch.randn(4, 2, 4, 4, 4), torch.randn(4, 2, 2, 2, 2)]
    expected = sum((o - t[LABELLED]).square().mean() for o, t in zip(outputs, target, strict=True))
    assert loss_of_labelled(mean_square, outputs, target, LABELLED).item() == pytest.approx(expected.item(), rel=1e-6)


def test_without_labelled_patches_the_loss_is_a_zero_that_can_go_backward():
    outputs = torch.randn(1, 2, 3, 3, 3, requires_grad=True)
    value = loss_of_labelled(mean_square, outputs, torch.zeros(2, 2, 3, 3, 3), torch.tensor([False, False]))
    value.backward()
    assert value.item() == 0
    assert (outputs.grad == 0).all()


def test_a_rank_without_labelled_patches_neither_stalls_nor_dilutes_the_mean(tmp_path):
    multiprocessing.spawn(run_labelled_loss, args=(free_port(), str(tmp_path)), nprocs=2)
    (loss, gradient), (idle_loss, idle_gradient) = (torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1))
    # One labelled patch with score 3 in all: the mean is 9, its gradient 6; DDP halves the sum of the ranks'.
    assert (loss + idle_loss).item() / 2 == 9
    assert ((gradient + idle_gradient) / 2).tolist() == [6, 0]
