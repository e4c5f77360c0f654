"""A TransUNet under DDP in two processes; spawned processes have to import what they run."""

from __future__ import annotations

from pathlib import Path

import torch
from small_plan import configuration
from torch.nn.parallel import DistributedDataParallel

from femur_nnunet.networks.from_plan import build_transunet


def loss_on(network, image: torch.Tensor) -> torch.Tensor:
    """A loss that reaches every parameter."""
    levels, tokens = network(image)
    return sum(value.square().mean() for value in (*levels, *tokens.values()))


def make_network(*, checkpointing: bool):
    torch.manual_seed(0)
    network = build_transunet(configuration(stochastic_depth=0.0, checkpointing=checkpointing), 1, 2,
                              deep_supervision=True)
    network.train().return_tokens = True
    network.token_layers = ("bottleneck", "encoder_1")
    return network


def images() -> torch.Tensor:
    return torch.randn(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(1))


def run_rank(rank: int, port: int, folder: str, checkpointing: bool) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    network = DistributedDataParallel(make_network(checkpointing=checkpointing))
    loss_on(network, images()[rank:rank + 1]).backward()
    torch.save([parameter.grad for parameter in network.module.parameters()], Path(folder) / f"rank{rank}.pt")
    torch.distributed.destroy_process_group()
