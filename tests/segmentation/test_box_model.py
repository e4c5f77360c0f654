"""The model that comes with the package, on a scan of the analytic kit: another anatomy than its renderings have."""

from __future__ import annotations

import numpy as np
import pytest

from femur_nnunet.model_bundle import load_bundle
from femur_nnunet.segmentation.model import box_model_path
from femur_nnunet.segmentation.segment import LABEL_OF_SIDE, segment_volume
from femur_nnunet.volume_io import Volume


def test_it_is_small_and_says_what_it_was_trained_on_and_for_what_it_is():
    path = box_model_path()
    bundle = load_bundle(path)
    assert path.stat().st_size <= 10_000_000
    assert "trained on synthetic images" in bundle.manifest.intended_use
    assert "research use only" in bundle.manifest.intended_use
    assert any("MIT licence" in text for text in bundle.manifest.attribution)
    assert "| seed | 1 |" in bundle.model_card


def test_both_femora_of_a_synthetic_pelvis_are_found_on_their_sides(hips_scan):
    result = segment_volume(Volume(hips_scan.hu, hips_scan.grid), fast=True)
    for label in LABEL_OF_SIDE.values():
        truth, found = hips_scan.mask == label, result.mask == label
        dice = 2 * np.count_nonzero(truth & found) / (np.count_nonzero(truth) + np.count_nonzero(found))
        assert dice == pytest.approx(1.0, abs=0.08)
        assert not (found & (hips_scan.mask == 3 - label)).any()
