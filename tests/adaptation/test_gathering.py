from __future__ import annotations

import pytest
import torch
from torch import multiprocessing
from two_ranks import FEATURES, SITES, free_port, one_patch_a_site, run_rank

from femur_nnunet.adaptation import gathering
from femur_nnunet.adaptation.gathering import gather, gather_with_gradient
from femur_nnunet.adaptation.mmd import mmd_between_sites
from femur_nnunet.networks.token_layers import cells_of_map


@pytest.fixture(scope="module")
def ranks_folder(tmp_path_factory):
    """What two processes wrote."""
    folder = tmp_path_factory.mktemp("ranks")
    multiprocessing.spawn(run_rank, args=(free_port(), str(folder)), nprocs=2)
    return folder


def test_without_ddp_nothing_is_gathered():
    assert gather_with_gradient(FEATURES) is FEATURES
    assert gather(SITES) is SITES


def test_a_transposed_view_is_sent_as_one_block_of_memory(monkeypatch):
    # What a layer's cells are; gloo copies such a view itself, NCCL refuses it.
    cells = cells_of_map(torch.randn(2, 3, 8, 8, 8))
    assert not cells.is_contiguous()
    sent = []
    monkeypatch.setattr(gathering.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(gathering.AllGatherGrad, "apply", lambda features: sent.append(features) or features[None])
    assert torch.equal(gather_with_gradient(cells), cells)
    assert sent[0].is_contiguous()


def test_two_processes_give_the_mmd_and_the_gradient_of_one(ranks_folder):
    whole = FEATURES.clone().requires_grad_(True)
    expected = mmd_between_sites(whole, SITES, (0.5, 1.0))
    expected.backward()
    parts = [torch.load(ranks_folder / f"rank{rank}.pt") for rank in (0, 1)]
    for value, _ in parts:
        assert torch.allclose(value, expected.detach(), rtol=1e-12)
    assert torch.allclose(torch.cat([gradient for _, gradient in parts]), whole.grad, rtol=1e-10)


def test_one_patch_a_rank_still_aligns_as_in_one_process(ranks_folder):
    alone = one_patch_a_site(slice(0, 2))
    parts = [torch.load(ranks_folder / f"one_patch{rank}.pt") for rank in (0, 1)]
    for step, expected in enumerate(alone):
        for key in ("domain", "mmd"):
            assert all(torch.allclose(part[step][key], expected[key], rtol=1e-5, atol=1e-7) for part in parts), key
            name = f"{key} gradient"
            # DDP averages over the ranks.
            found = torch.cat([part[step][name] for part in parts]) / 2
            assert torch.allclose(found, expected[name], rtol=1e-4, atol=1e-7), name
    # MMD compares with the queue, which is empty in the first step.
    assert not alone[0]["mmd gradient"].any()
    for name in ("domain gradient", "mmd gradient"):
        assert alone[1][name].flatten(1).norm(dim=1).min() > 1e-6
