"""As many processor threads as the user asked for, which nnU-Net's commands set aside."""

from __future__ import annotations

import os
import re

import torch


def keep_asked_threads(device: torch.device) -> None:
    """Give torch the threads of ``OMP_NUM_THREADS`` on a CPU.

    ``nnUNetv2_train -device cpu`` takes a thread for every processor whatever that variable says; beside other work
    each then waits for one that has no processor. (``OMP_THREAD_LIMIT`` is no way out: with fewer threads than torch
    was told of, oneDNN's convolutions wait for ever.)
    """
    asked = re.match(r"[1-9]\d*", os.environ.get("OMP_NUM_THREADS", ""))
    if device.type == "cpu" and asked:
        torch.set_num_threads(int(asked.group()))
