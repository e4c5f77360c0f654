"""Checkpoints that are whole or absent, and a resume that goes on exactly where training stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch._dynamo import OptimizedModule

from femur_nnunet.files import atomic_path
from femur_nnunet.trainers.planned import PlannedTrainer
from femur_nnunet.trainers.random_state import random_states, restore_random_states, seed_everything

CHECKPOINT_KEY = "femur_nnunet"
# Tells the ranks' seeds after a resume from those of the loaders' workers, 0 and 1.
_RESUMED = 2


class ResumableTrainer(PlannedTrainer):
    """Adds our own state to nnU-Net's checkpoints under one key.

    ``network_weights`` stays the segmentation network alone, so plain ``nnUNetv2_predict`` loads the
    file. With ``nnUNet_n_proc_DA=0`` on one GPU or none, the losses after ``--c`` equal those of an
    undisturbed run.
    """

    _states_to_restore: dict[str, Any] | None = None
    extra_log_keys: tuple[str, ...] = ()

    def bare_network(self) -> Any:
        """Return the segmentation network without the wrappers of DDP and torch.compile."""
        network = self.network.module if self.is_ddp else self.network
        return network._orig_mod if isinstance(network, OptimizedModule) else network

    def is_compiled(self) -> bool:
        """Say whether the network runs under torch.compile, as it does on GPUs by nnU-Net's default."""
        return isinstance(self.network.module if self.is_ddp else self.network, OptimizedModule)

    def extra_state(self) -> dict[str, Any]:
        """Return what a subclass keeps in the checkpoint besides nnU-Net's own state."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`extra_state` returned."""

    def save_checkpoint(self, filename: str) -> None:
        """Write nnU-Net's checkpoint and our key, by a rename at the end.

        The entries are nnU-Net's own (a test compares them with what its method writes): adding ours
        to a file that it wrote would read and write every large checkpoint once more.
        """
        if self.local_rank != 0 or self.disable_checkpointing:
            return
        checkpoint = {
            "network_weights": self.bare_network().state_dict(),
            "optimizer_state": self.optimizer.state_dict(),
            "grad_scaler_state": self.grad_scaler.state_dict() if self.grad_scaler is not None else None,
            "logging": self.logger.get_checkpoint(),
            "_best_ema": self._best_ema,
            "current_epoch": self.current_epoch + 1,
            "init_args": self.my_init_kwargs,
            "trainer_name": type(self).__name__,
            "inference_allowed_mirroring_axes": self.inference_allowed_mirroring_axes,
            CHECKPOINT_KEY: {"random_states": random_states(), **self.extra_state()},
        }
        with atomic_path(Path(filename)) as temporary:
            torch.save(checkpoint, temporary)

    def save_ended_epoch(self, filename: str) -> None:
        """Write the checkpoint of an epoch that nnU-Net has counted already: its number is the next one's."""
        self.current_epoch -= 1
        self.save_checkpoint(filename)
        self.current_epoch += 1

    def load_checkpoint(self, filename_or_checkpoint: Any) -> None:
        """Load a checkpoint file and, where it has them, our own states."""
        filename = str(filename_or_checkpoint)
        super().load_checkpoint(filename)
        self._register_log_keys()
        own = torch.load(filename, map_location="cpu", weights_only=False).get(CHECKPOINT_KEY)
        if own is not None:
            self.load_extra_state(own)
            # Not set now: what is made between here and the first step may draw numbers.
            self._states_to_restore = own["random_states"]

    def on_train_start(self) -> None:
        """Make loaders, then set the random states of the checkpoint that training goes on from."""
        super().on_train_start()
        self._register_log_keys()
        if self._states_to_restore is None:
            return
        if self.local_rank == 0:
            restore_random_states(self._states_to_restore)
        else:
            # The checkpoint holds rank 0's states; with the same ones all ranks would draw the same patches.
            seed_everything(self.settings.schedule.seed, self.local_rank, self.current_epoch, _RESUMED)
        self._states_to_restore = None

    def _register_log_keys(self) -> None:
        lists = self.logger.local_logger.my_fantastic_logging
        epochs_done = len(lists["train_losses"])
        for key in self.extra_log_keys:
            # A checkpoint of another trainer has no such curve; nnU-Net wants one value an epoch.
            lists.setdefault(key, [float("nan")] * epochs_done)
