"""Queues of past features, one a site, for the MMD of batches that hold few patches."""

from __future__ import annotations

from typing import Any

import torch


class SiteQueue:
    """The latest rows of each site, float32, without gradient; the oldest leave first.

    Parameters
    ----------
    n_sites : int
        Number of sites.
    size : int
        Rows kept of each site; 0 keeps none.
    """

    def __init__(self, n_sites: int, size: int) -> None:
        self.size = size
        self._rows: list[torch.Tensor | None] = [None] * n_sites

    def push(self, rows: torch.Tensor, sites: torch.Tensor) -> None:
        """Add rows (n, d) of the sites (n,), in their order."""
        if self.size == 0:
            return
        rows = rows.detach().float()
        for site, kept in enumerate(self._rows):
            new = rows[sites == site]
            self._rows[site] = (new if kept is None else torch.cat([kept, new]))[-self.size:].clone()

    def own_and_rest(self, site: int, *, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the rows (n, d) of a site and the pooled rows of all others, in the type of ``like`` (n, d)."""
        nothing = like[:0].detach()
        own = self._rows[site]
        others = [rows for number, rows in enumerate(self._rows) if number != site and rows is not None]
        return (nothing if own is None else own.to(nothing),
                torch.cat([nothing, *(rows.to(nothing) for rows in others)]))

    def state(self) -> list[torch.Tensor | None]:
        """Return what a checkpoint keeps: the rows (n, d) of each site, None where there are none."""
        return [None if rows is None else rows.cpu() for rows in self._rows]

    def load_state(self, state: list[torch.Tensor | None], device: torch.device) -> None:
        """Take back what :meth:`state` returned; a plan with a smaller size keeps the latest rows."""
        self._rows = [None if rows is None or self.size == 0 else rows[-self.size:].to(device) for rows in state]


class FeatureQueues:
    """The queues of pooled features and of sampled tokens for each attached layer.

    Parameters
    ----------
    layers : tuple of str
        Names of the attached layers.
    n_sites : int
        Number of sites.
    patches, tokens : int
        Rows kept of each site, see ``mmd_queue_patches`` and ``mmd_queue_tokens`` of the plan.
    """

    def __init__(self, layers: tuple[str, ...], n_sites: int, *, patches: int, tokens: int) -> None:
        self.pooled = {layer: SiteQueue(n_sites, patches) for layer in layers}
        self.tokens = {layer: SiteQueue(n_sites, tokens) for layer in layers}

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {kind: {layer: queue.state() for layer, queue in queues.items()}
                for kind, queues in (("pooled", self.pooled), ("tokens", self.tokens))}

    def load_state(self, state: dict[str, Any], device: torch.device) -> None:
        """Take back what :meth:`state` returned; a layer that the checkpoint lacks starts empty."""
        for kind, queues in (("pooled", self.pooled), ("tokens", self.tokens)):
            for layer, queue in queues.items():
                if layer in state[kind]:
                    queue.load_state(state[kind][layer], device)
