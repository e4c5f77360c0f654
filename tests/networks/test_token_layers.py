from __future__ import annotations

import pytest
import torch

from femur_nnunet.errors import UsageError
from femur_nnunet.networks.token_layers import cells_of_map, layer_names, parse_token_layer


def test_the_decoder_has_one_stage_less_than_the_encoder():
    assert layer_names(3) == ["bottleneck", "encoder_0", "encoder_1", "encoder_2", "decoder_0", "decoder_1"]


def test_a_name_is_taken_apart():
    assert parse_token_layer("bottleneck", stages=3) == ("bottleneck", 0)
    assert parse_token_layer("encoder_2", stages=3) == ("encoder", 2)


@pytest.mark.parametrize("name", ["encoder_3", "decoder_2", "decoder", "encoder_01", "head", ""])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(UsageError, match="expected one of bottleneck, encoder_0"):
        parse_token_layer(name, stages=3)


def test_cells_hold_the_mean_of_their_voxels_and_small_maps_stay():
    feature_map = torch.arange(2 * 8 * 8 * 2, dtype=torch.float32).view(1, 2, 8, 8, 2)
    cells = cells_of_map(feature_map)
    assert cells.shape == (1, 4 * 4 * 2, 2)
    assert cells[0, 0, 1] == feature_map[0, 1, :2, :2, 0].mean()
    assert torch.equal(cells.mean(1), feature_map.mean((2, 3, 4)))
