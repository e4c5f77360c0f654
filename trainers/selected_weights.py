"""The chosen weights as those of checkpoint_final.pth and of the network, on every rank."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import distributed

from femur_nnunet.errors import FemurError
from femur_nnunet.files import atomic_path
from femur_nnunet.trainers.resumable import CHECKPOINT_KEY

SELECTED_NAME = "checkpoint_selected.pth"
FINAL_NAME = "checkpoint_final.pth"


def make_selected_final(trainer: Any) -> None:
    """Put the chosen weights into the network and into checkpoint_final.pth; nothing where none were chosen.

    nnU-Net's validation, which follows, is then that of checkpoint_final.pth. Rank 0, which chose and
    wrote, decides alone and sends decision and weights: another rank might look for the file too early.

    Parameters
    ----------
    trainer : SelectingTrainer
        At the end of training, its checkpoint_final.pth written.

    Raises
    ------
    FemurError
        The file is not there or holds another epoch than was chosen.
    """
    network, best = trainer.bare_network(), trainer.best_selection
    if trainer.local_rank == 0 and best is not None:
        network.load_state_dict(_weights_of_epoch(Path(trainer.output_folder, SELECTED_NAME), best["epoch"]))
    if trainer.is_ddp:
        chosen = torch.tensor([float(best is not None)], device=trainer.device)
        distributed.broadcast(chosen, src=0)
        if chosen.item():
            for tensor in (*network.parameters(), *network.buffers()):
                distributed.broadcast(tensor.data, src=0)
    if trainer.local_rank != 0 or best is None:
        return
    final = Path(trainer.output_folder, FINAL_NAME)
    # The last epoch's number stays, so that --c knows that training is done.
    content = torch.load(final, map_location="cpu", weights_only=False)
    content["network_weights"] = network.state_dict()
    content[CHECKPOINT_KEY]["selected_epoch"] = best["epoch"]
    with atomic_path(final) as temporary:
        torch.save(content, temporary)
    trainer.write_selection("selected epoch")
    trainer.print_to_log_file(f"{FINAL_NAME} holds the weights of epoch {best['epoch']}.")


def _weights_of_epoch(path: Path, epoch: float) -> dict[str, torch.Tensor]:
    action = f"set selection.becomes_final to false and go on with --c; {FINAL_NAME} holds the last epoch"
    if not path.exists():
        raise FemurError(f"no {path.name}", expected=f"the weights of epoch {epoch}, which was chosen", action=action)
    content = torch.load(path, map_location="cpu", weights_only=False)
    # A checkpoint has the number of the epoch to go on with.
    found = int(content["current_epoch"]) - 1
    if found != epoch:
        raise FemurError(f"the weights of epoch {found}", expected=f"those of epoch {epoch}, which was chosen",
                         action=action, subject=path.name)
    weights: dict[str, torch.Tensor] = content["network_weights"]
    return weights
