"""What a bundle gives back is what was packed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_bundle import INTENSITIES, tiny_network, tiny_plans, write_tiny_bundle

from femur_nnunet.model_bundle import load_bundle


@pytest.mark.parametrize("family", ["transunet", "vnet", "unet"])
def test_networks_of_a_bundle_compute_what_the_packed_ones_did(tmp_path, family):
    bundle = load_bundle(write_tiny_bundle(tmp_path / "model.zip", family=family))
    image = torch.randn(1, 1, 16, 16, 16)
    for seed, network in enumerate(bundle.build_networks()):
        assert torch.equal(network(image), tiny_network(tiny_plans(family), family, seed)(image))
        assert not network.training


def test_the_facts_are_those_of_the_plan(tmp_path):
    facts = load_bundle(write_tiny_bundle(tmp_path / "model.zip")).facts
    assert facts.spacing_mm == (3.0, 3.0, 3.0)
    assert facts.patch_size == (16, 16, 16)
    assert facts.strides == (4, 4, 4)
    assert facts.labels == {"background": 0, "proximal_femur": 1}
    assert facts.resampling_image.arguments["order"] == 3
    # By hand: -500 is clipped to -100, (-100 - 300) / 250; 300 is the mean; 2000 is clipped to 1200.
    assert facts.normalisation(np.array([-500, 300, 2000])) == pytest.approx([-1.6, 0.0, 3.6])
    assert facts.normalisation.mean_hu == INTENSITIES["mean"]


def test_a_localiser_is_a_network_of_its_own(tmp_path):
    bundle = load_bundle(write_tiny_bundle(tmp_path / "model.zip", family="vnet", localiser=True))
    assert bundle.localiser is not None
    assert bundle.localiser.facts.spacing_mm == (6.0, 6.0, 6.0)
    image = torch.randn(1, 1, 16, 16, 16)
    expected = tiny_network(tiny_plans("unet", spacing_mm=6.0), "unet", 0)(image)
    assert torch.equal(bundle.localiser.build_network(0)(image), expected)


def test_two_writings_give_the_same_bytes(tmp_path):
    first, second = (write_tiny_bundle(tmp_path / name).read_bytes() for name in ("a.zip", "b.zip"))
    assert first == second


def test_a_residual_encoder_of_stock_nnunet_comes_back_with_its_weights(tmp_path):
    plans = tiny_plans("unet")
    architecture = plans["configurations"]["3d_fullres"]["architecture"]
    architecture["network_class_name"] = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
    sizes = architecture["arch_kwargs"]
    sizes["n_blocks_per_stage"] = sizes.pop("n_conv_per_stage")
    bundle = load_bundle(write_tiny_bundle(tmp_path / "model.zip", family="unet", plans=plans, folds=("0",)))
    network = bundle.build_networks()[0]
    assert type(network).__name__ == "ResidualEncoderUNet"
    image = torch.randn(1, 1, 16, 16, 16)
    assert torch.equal(network(image), tiny_network(plans, "unet", 0)(image))
