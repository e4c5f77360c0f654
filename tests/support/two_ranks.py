"""One rank of a two-process run; spawned processes have to import what they run."""

from __future__ import annotations

import socket
from pathlib import Path

import torch

from femur_nnunet.adaptation.gathering import gather, gather_with_gradient
from femur_nnunet.adaptation.mmd import mmd_between_sites

FEATURES = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
SITES = torch.tensor([0, 1, 0, 1])


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def run_rank(rank: int, port: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    own = FEATURES[2 * rank:2 * rank + 2].clone().requires_grad_(True)
    value = mmd_between_sites(gather_with_gradient(own), gather(SITES[2 * rank:2 * rank + 2]), (0.5, 1.0))
    value.backward()
    # DDP averages parameter gradients over the ranks; here the features stand for the parameters.
    torch.save((value.detach(), own.grad / 2), Path(folder) / f"rank{rank}.pt")
    torch.distributed.destroy_process_group()


def run_labelled_loss(rank: int, port: int, folder: str) -> None:
    """Rank 0 holds one labelled patch of two, rank 1 holds none."""
    from femur_nnunet.trainers.labelled_loss import loss_of_labelled, patches_to_decode

    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    labelled = torch.tensor([rank == 0, False])
    scores = torch.tensor([3.0, 5.0], requires_grad=True)
    loss = loss_of_labelled(lambda out, target: (out - target).square().mean(), scores[patches_to_decode(labelled)],
                            torch.zeros(2), labelled)
    loss.backward()
    torch.save((loss.detach(), scores.grad), Path(folder) / f"rank{rank}.pt")
    torch.distributed.destroy_process_group()
