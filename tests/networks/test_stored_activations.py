from __future__ import annotations

import pytest
import torch
from torch import nn

from femur_nnunet.networks.stored_activations import stored_activations


@pytest.mark.parametrize(("half", "width"), [(False, 4), (True, 2)])
def test_the_inputs_of_each_operation_are_counted_once(half, width):
    with torch.device("meta"):
        network = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.PReLU(4), nn.Conv3d(4, 2, 1))
    counted = stored_activations(network, (2, 1, 6, 6, 6), half=half)
    # A convolution keeps its input for its weights' gradient, PReLU its own; the output is handed on.
    assert counted.total == 2 * 6**3 * (1 + 4 + 4 + 2) * width
    assert counted.largest == 2 * 6**3 * 4 * width


def test_an_activation_in_place_keeps_one_map_less():
    with torch.device("meta"):
        apart, in_place = (nn.Sequential(nn.Conv3d(1, 4, 1), nn.ReLU(inplace=same), nn.Conv3d(4, 2, 1))
                           for same in (False, True))
    assert stored_activations(apart, (1, 1, 4, 4, 4)).total == stored_activations(in_place, (1, 1, 4, 4, 4)).total
    with torch.device("meta"):
        apart, in_place = (nn.Sequential(nn.Conv3d(1, 4, 1), nn.InstanceNorm3d(4), nn.LeakyReLU(inplace=same),
                                         nn.Conv3d(4, 2, 1)) for same in (False, True))
    difference = stored_activations(apart, (1, 1, 4, 4, 4)).total - stored_activations(in_place, (1, 1, 4, 4, 4)).total
    assert difference == 64 * 4 * 4
