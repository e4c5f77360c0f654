"""One rank of a two-process run; spawned processes have to import what they run."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace

import torch

from femur_nnunet.adaptation.gathering import gather, gather_with_gradient
from femur_nnunet.adaptation.mmd import mmd_between_sites
from femur_nnunet.adaptation.site_classifier import LayerClassifiers
from femur_nnunet.adaptation.site_queue import FeatureQueues
from femur_nnunet.adaptation.terms import adaptation_terms
from femur_nnunet.plan_settings import AdaptationSettings

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
    torch.save(one_patch_a_site(slice(rank, rank + 1)), Path(folder) / f"one_patch{rank}.pt")
    torch.distributed.destroy_process_group()


def one_patch_a_site(part: slice) -> list[dict[str, torch.Tensor]]:
    """Take two steps of one patch of each site with a part of their patches; return the terms and their gradients."""
    torch.manual_seed(4)
    heads = LayerClassifiers({"bottleneck": 4}, 2, 8)
    queues = FeatureQueues(("bottleneck",), 2, patches=4, tokens=8)
    settings = AdaptationSettings(reversal_schedule="constant", ramp_start=0.0, ramp_end=0.1, mmd_tokens=3)
    found = []
    for _ in range(2):
        # The second site's tokens lie 2 away from the first one's.
        own = (torch.randn(2, 5, 4) + torch.tensor([0.0, 2.0])[:, None, None])[part].requires_grad_(True)
        terms = adaptation_terms({"bottleneck": gather_with_gradient(own)}, gather(torch.tensor([0, 1])[part]), heads,
                                 progress=1.0, settings=settings, queues=queues)
        found.append({"domain": terms.domain.detach(), "mmd": terms.mmd.detach(), **{
            f"{name} gradient": torch.autograd.grad(term, own, retain_graph=True)[0]
            for name, term in terms.reaching_encoder().items()}})
    return found


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


L2_PATCHES = torch.randn(4, 1, 3, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
L2_TARGETS = (L2_PATCHES > 0.2).long()


def l2_network() -> torch.nn.Module:
    """A network whose weights are the same in every process."""
    torch.manual_seed(2)
    return torch.nn.Conv3d(1, 2, 3, padding=1).double()


def run_dice_l2(rank: int, port: int, folder: str) -> None:
    """One step of V-Net's loss under DDP in each of its readings, two of four patches a rank."""
    from femur_nnunet.losses.dice_l2 import DiceL2Loss

    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    part = slice(2 * rank, 2 * rank + 2)
    for l2 in ("weights", "residual"):
        network = torch.nn.parallel.DistributedDataParallel(l2_network())
        value = DiceL2Loss(l2, 0.5, network.module.parameters())(network(L2_PATCHES[part]), L2_TARGETS[part])
        value.backward()
        torch.save((value.detach(), {name: parameter.grad for name, parameter in network.module.named_parameters()}),
                   Path(folder) / f"{l2}{rank}.pt")
    torch.distributed.destroy_process_group()


def adapting_trainer_steps(plan_file: str, part: slice, *, ranks: bool) -> dict:
    """Two steps of the trainer with all terms on its part of four patches; the weights stay as they are."""
    import json

    from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as nnunet_module

    from femur_nnunet.trainers import TransUNetDAPlusTrainer

    plans = json.loads(Path(plan_file).read_text())
    dataset = json.loads((Path(plan_file).parent / "dataset.json").read_text())
    trainer = TransUNetDAPlusTrainer(plans, "3d_fullres", 0, dataset, torch.device("cpu"))
    if ranks:
        # nnU-Net takes for granted that several ranks have GPUs.
        trainer.device, trainer.grad_scaler = torch.device("cpu"), None
        nnunet_module.DDP = lambda network, device_ids: torch.nn.parallel.DistributedDataParallel(network)
    trainer.initialize()
    trainer.bare_network().return_tokens = True
    trainer.current_epoch = 1
    trainer.optimizer.step = lambda: None
    generator = torch.Generator().manual_seed(3)
    records = []
    for _ in range(2):
        data = torch.randn(4, 2, 16, 16, 16, generator=generator)
        target = (data[:, :1] > 0.5).short()
        keys = [trainer.cases.train[0], trainer.cases.unlabelled[0]] * 2
        trainer.network.train()
        records.append(trainer.train_step({"data": data[part], "keys": keys[part],
                                           "target": [target[part], target[part, :, ::2, ::2, ::2]]}))
    return {"records": records, "batch_size": trainer.batch_size,
            "gradients": [parameter.grad for parameter in (*trainer.bare_network().parameters(),
                                                           *trainer.domain_head.parameters())],
            "queue": trainer.queues.state()["pooled"]["bottleneck"]}


def selecting_stand_in(folder: Path, *, rank: int, ranks: bool) -> SimpleNamespace:
    """What of a trainer the choice of the final weights needs; rank 0 has chosen and written epoch 3 of 9."""
    network = torch.nn.Linear(2, 1, bias=False)
    if rank == 0:
        folder.mkdir(exist_ok=True)
        for name, value, epoch in (("selected", 7.0, 3), ("final", 1.0, 8)):
            torch.save({"network_weights": {"weight": torch.full((1, 2), value)}, "current_epoch": epoch + 1,
                        "femur_nnunet": {}}, folder / f"checkpoint_{name}.pth")
    return SimpleNamespace(
        local_rank=rank, is_ddp=ranks, device=torch.device("cpu"), output_folder=str(folder), network=network,
        best_selection={"epoch": 3} if rank == 0 else None, bare_network=lambda: network,
        write_selection=lambda _: None, print_to_log_file=lambda *_: None)


def run_selected_final(rank: int, port: int, folder: str) -> None:
    from femur_nnunet.trainers.selected_weights import make_selected_final

    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    trainer = selecting_stand_in(Path(folder, str(rank)), rank=rank, ranks=True)
    make_selected_final(trainer)
    torch.save(trainer.network.weight.detach(), Path(folder) / f"rank{rank}.pt")
    torch.distributed.destroy_process_group()


def run_adapting_trainer(rank: int, port: int, folder: str, plan_file: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    found = adapting_trainer_steps(plan_file, slice(2 * rank, 2 * rank + 2), ranks=True)
    torch.save(found, Path(folder) / f"rank{rank}.pt")
    torch.distributed.destroy_process_group()
