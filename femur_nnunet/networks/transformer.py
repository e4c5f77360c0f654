"""A pre-norm transformer on a feature map, each voxel of the map one token."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from femur_nnunet.networks.checkpointing import run_segment


class TransformerLayer(nn.Module):
    """Self-attention and MLP, each behind a LayerNorm and beside a residual path.

    Parameters
    ----------
    width, heads : int
        Width of the tokens and number of heads; ``width`` is a multiple of ``heads``.
    mlp_ratio : float
        Width of the MLP's hidden layer over ``width``.
    drop_path : float
        Probability, while training, of leaving a sample's residual branches out (stochastic depth,
        Huang et al. 2016).
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.heads = heads
        self.drop_path = drop_path
        self.norm_attention = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        hidden = int(width * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return tokens of the same shape (n, t, width)."""
        tokens = tokens + self._maybe_drop(self._attention(self.norm_attention(tokens)))
        return tokens + self._maybe_drop(self.mlp(self.norm_mlp(tokens)))

    def _attention(self, tokens: torch.Tensor) -> torch.Tensor:
        n, count, width = tokens.shape
        query, key, value = self.query_key_value(tokens).view(
            n, count, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value)
        return self.projection(attended.transpose(1, 2).reshape(n, count, width))

    def _maybe_drop(self, branch: torch.Tensor) -> torch.Tensor:
        if not self.training or self.drop_path == 0.0:
            return branch
        keep = 1.0 - self.drop_path
        mask = torch.empty((len(branch), 1, 1), device=branch.device, dtype=branch.dtype).bernoulli_(keep)
        return branch * mask / keep


class BottleneckTransformer(nn.Module):
    """Transformer on the bottleneck map with learnt positions that follow any input size.

    Parameters
    ----------
    features : int
        Channels of the map.
    width, heads, layers : int
        Width of the tokens, heads and depth.
    mlp_ratio, stochastic_depth : float
        See :class:`TransformerLayer`; the drop probability grows linearly over the layers.
    grid : tuple of int
        Size of the map at the training patch size; positions are learnt on it and interpolated
        trilinearly to a map of another size.
    """

    def __init__(self, features: int, *, width: int, heads: int, layers: int, mlp_ratio: float,
                 stochastic_depth: float, grid: tuple[int, int, int]) -> None:
        super().__init__()
        self.embed = nn.Linear(features, width)
        self.positions = nn.Parameter(torch.zeros(1, width, *grid))
        rates = [stochastic_depth * layer / max(layers - 1, 1) for layer in range(layers)]
        self.layers = nn.ModuleList(TransformerLayer(width, heads, mlp_ratio, rate) for rate in rates)
        self.norm = nn.LayerNorm(width)
        self.unembed = nn.Linear(width, features)
        nn.init.trunc_normal_(self.positions, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, feature_map: torch.Tensor, *, checkpointing: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the map (n, features, d, h, w) with the transformer's result added, and the tokens.

        The tokens (n, d*h*w, width) are what the adaptation terms see. With ``checkpointing`` the
        inside of the layers is not stored for the way back.
        """
        size = feature_map.shape[2:]
        tokens = self.embed(feature_map.flatten(2).transpose(1, 2))
        positions: torch.Tensor = self.positions
        if positions.shape[2:] != size:
            positions = functional.interpolate(positions.float(), size=size, mode="trilinear", align_corners=False)
        tokens = tokens + positions.flatten(2).transpose(1, 2).to(tokens.dtype)
        for layer in self.layers:
            tokens = run_segment(layer, tokens, checkpointing=checkpointing)
        tokens = self.norm(tokens)
        restored = self.unembed(tokens).transpose(1, 2).reshape(len(feature_map), -1, *size)
        return feature_map + restored, tokens
