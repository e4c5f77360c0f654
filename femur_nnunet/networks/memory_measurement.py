"""Bytes of tensors that are alive, and bytes that autograd stores: exact measures on a CPU, or on fake devices."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveMemory(TorchDispatchMode):
    """Counts the bytes of storages that operations made since the mode began, and their peak.

    Parameters
    ----------
    present : iterable of Tensor
        What was there before, of any shape, such as parameters: views of it are not counted.

    Attributes
    ----------
    now, peak : int
        Bytes.
    """

    def __init__(self, present: Iterable[torch.Tensor] = ()) -> None:
        super().__init__()
        self.now = 0
        self.peak = 0
        self._known = {tensor.untyped_storage()._cdata: 0 for tensor in present}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._count(leaf.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        self._known[key] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        self.now -= self._known.pop(key, 0)


@contextmanager
def stored_bytes(leave_out: Callable[[torch.Tensor], bool] = lambda tensor: False) -> Iterator[dict[int, int]]:
    """Collect the bytes of every storage that autograd stores, each once; ``leave_out`` says which tensors not."""
    found: dict[int, int] = {}
    kept = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if not leave_out(tensor):
            storage = tensor.untyped_storage()
            # Held, so that no number of a storage comes twice while counting.
            kept.append(storage)
            found[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield found
