"""The sliding window against nnU-Net's own predictor."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from tiny_bundle import DATASET, tiny_network, tiny_plans

from femur_nnunet.segmentation.patch_lattice import PatchLattice
from femur_nnunet.segmentation.plan_grid import Box
from femur_nnunet.segmentation.sliding_window import predict_logits


def of_nnunet(network, plans, image, step, mirror_axes):
    with contextlib.redirect_stdout(io.StringIO()):
        predictor = nnUNetPredictor(tile_step_size=step, use_mirroring=bool(mirror_axes),
                                    perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False)
        manager = PlansManager(plans)
        predictor.manual_initialization(network, manager, manager.get_configuration("3d_fullres"),
                                        [network.state_dict()], DATASET, "FemurTrainer", mirror_axes or None)
        return predictor.predict_sliding_window_return_logits(torch.from_numpy(image[None])).float().numpy()


def weights_of(shape, step):
    """Sum of the Gaussian weights at each voxel of an image, of a smaller one in the middle of its patch."""
    gaussian = compute_gaussian((16, 16, 16), value_scaling_factor=10, dtype=torch.float32, device=torch.device("cpu"))
    padded = [max(16, size) for size in shape]
    total = np.zeros(padded)
    for window in PatchLattice.of_image(padded, (16, 16, 16), step).windows():
        total[window] += gaussian.numpy()
    return total[tuple(slice((have - size) // 2, (have - size) // 2 + size)
                       for have, size in zip(padded, shape, strict=True))]


@pytest.mark.parametrize(("shape", "step", "mirror_axes"), [
    ((20, 25, 18), 0.5, ()), ((24, 16, 30), 0.75, (0, 1)), ((9, 30, 17), 0.5, ())])
def test_logits_are_those_of_nnunets_predictor_up_to_its_sixteen_bits(shape, step, mirror_axes):
    plans = tiny_plans("unet")
    network = tiny_network(plans, "unet", seed=5)
    image = np.random.default_rng(6).normal(size=shape).astype(np.float32)
    mine = predict_logits(network, image, (16, 16, 16), step=step, mirror_axes=mirror_axes)
    assert mine.shape == (2, *shape)
    expected = of_nnunet(network, plans, image, step, mirror_axes)
    # nnU-Net sums in halves: 11 significant bits over some eight patches; fewer where a corner's weight is below 6e-5,
    # the least normal half, and then a voxel of its own can be off by tens of per cent.
    weighed = weights_of(shape, step) > 1e-3
    assert weighed.mean() > 0.6
    np.testing.assert_allclose(mine[:, weighed], expected[:, weighed], atol=8 * 2.0**-11 * np.abs(expected).max())


def test_each_patch_is_reported():
    network, seen = torch.nn.Conv3d(1, 2, 1), []
    predict_logits(network, np.zeros((20, 40, 33), np.float32), (16, 16, 16), on_patch=lambda: seen.append(1))
    assert len(seen) == 2 * 4 * 4  # steps of at most 8 voxels over 4, 24 and 17


def test_a_window_seen_through_the_image_s_own_patches_gets_the_image_s_own_logits_where_no_other_reaches():
    plans = tiny_plans("unet")
    network = tiny_network(plans, "unet", seed=5)
    image = np.random.default_rng(6).normal(size=(20, 61, 44)).astype(np.float32)
    whole = PatchLattice.of_image(image.shape, (16, 16, 16), 0.5)
    window, within = whole.around(Box((0, 20, 13), (20, 48, 44)))
    part = predict_logits(network, image[window.slices], (16, 16, 16), lattice=within)
    expected = predict_logits(network, image, (16, 16, 16))[:, window.slices[0], window.slices[1], window.slices[2]]
    # Patches from outside reach 16 voxels in from a side that is not the image's own.
    assert window.start[1] > 0
    assert window.stop[1] < 61
    np.testing.assert_allclose(part[:, :, 16:-16, 16:], expected[:, :, 16:-16, 16:], atol=1e-5)
    assert np.abs(part - expected).max() > 1e-3
