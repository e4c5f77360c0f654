"""nnU-Net's checkpoints read without executing anything that they hold."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from femur_nnunet.errors import FemurError

NAME_FOLDER = "name a folder TRAINER__PLANS__CONFIGURATION that nnUNetv2_train wrote"
# What checkpoints hold besides tensors and plain values: numbers and arrays of numpy, under the names of numpy 1 and 2.
_REBUILD_ARRAY, _REBUILD_NUMBER = np.zeros(1).__reduce__()[0], np.float64(0).__reduce__()[0]
_SAFE: list[Any] = [
    np.dtype, np.ndarray, *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "u4", "u8", "bool")),
    *((function, f"numpy.{core}.multiarray.{name}") for core in ("core", "_core")
      for function, name in ((_REBUILD_ARRAY, "_reconstruct"), (_REBUILD_NUMBER, "scalar")))]


def load_checkpoint_safely(path: Path, *, mapped: bool = False) -> dict[str, Any]:
    """Read a checkpoint of nnU-Net without executing anything that it holds.

    A checkpoint is a pickle, which may run commands as it is read; here only tensors, plain values and numpy's numbers
    are taken. ``mapped`` leaves the tensors on the disk until they are used.

    Raises
    ------
    FemurError
        No such file, no checkpoint of nnU-Net, or one that holds anything else.
    """
    if not path.is_file():
        present = sorted(item.name for item in path.parent.glob("*.pth")) if path.parent.is_dir() else []
        raise FemurError("no such checkpoint" + (f" (there are {', '.join(present)})" if present else ""),
                         expected="the checkpoint of a fold", action="train first, or give --fold and -chk",
                         subject=str(path))
    try:
        with torch.serialization.safe_globals(_SAFE):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise FemurError(f"unsafe or broken content ({str(error).splitlines()[0][:200]})",
                         expected="a checkpoint of tensors and numbers, as nnU-Net writes it",
                         action="take a checkpoint that your own training wrote", subject=str(path)) from None
    if not isinstance(checkpoint, dict) or not {"network_weights", "trainer_name", "init_args"} <= set(checkpoint):
        raise FemurError("a file of another kind", expected="a checkpoint of nnU-Net", action=NAME_FOLDER,
                         subject=str(path))
    return checkpoint
