from __future__ import annotations

import numpy as np
import pytest

from femur_nnunet.phantom.scan_noise import (
    BodySection,
    bone_row_gain,
    direction_gain,
    noise_map,
    noise_sd_hu,
)
from femur_nnunet.phantom.scanner import kernel_and_noise
from femur_nnunet.phantom.tiers import ScannerTier


def test_noise_grows_with_the_body_as_attenuation_says(plain_scanner: ScannerTier) -> None:
    ratio = noise_sd_hu(plain_scanner, 380.0) / noise_sd_hu(plain_scanner, 340.0)
    assert ratio == pytest.approx(np.exp(0.5 * 0.0193 * 40))


def test_without_modulation_lateral_rays_are_noisier_by_their_longer_path() -> None:
    body = BodySection(180.0, 105.0)
    along_y, along_x = direction_gain(np.array([0.0, 1.0], dtype=np.float32), body, 0.0)
    # A frequency along y is measured by rays along x, 360 mm long, one along x by rays of 210 mm.
    assert along_y / along_x == pytest.approx(np.exp(0.0193 * 150), rel=1e-4)
    even = direction_gain(np.array([0.0, 1.0], dtype=np.float32), body, 1.0)
    assert even == pytest.approx([1.0, 1.0])


def test_noise_is_largest_in_the_middle_and_least_beside_the_body() -> None:
    places = noise_map((201, 301), 1.0, BodySection(100.0, 60.0))
    assert places.max() == pytest.approx(1.0, abs=0.01)
    assert places[100, 150] == pytest.approx(1.0, abs=0.01)
    # At the edge of a disc of radius R chords are 2 R cos(phi): the mean of exp(mu chord) over phi, by hand.
    radius = np.sqrt(100.0 * 60.0)
    phi = np.linspace(-np.pi / 2, np.pi / 2, 2001)
    expected = np.sqrt(np.exp(0.0193 * 2 * radius * np.cos(phi)).mean() / np.exp(0.0193 * 2 * radius))
    assert places[100, 250] == pytest.approx(expected, rel=0.03)
    assert places[100, 290] < places[100, 250]


def test_horizontal_streaks_come_out_of_the_chain_as_correlation_along_x(plain_scanner: ScannerTier) -> None:
    image = kernel_and_noise(np.zeros((8, 160, 160), dtype=np.float32), plain_scanner, pixel_mm=1.0, noise_hu=30.0,
                             rng=np.random.default_rng(1), body=BodySection(180.0, 105.0))
    along, across = (float(np.corrcoef(image[first].ravel(), image[second].ravel())[0, 1]) for first, second in (
        ((slice(None), slice(None), slice(2, None)), (slice(None), slice(None), slice(None, -2))),
        ((slice(None), slice(2, None)), (slice(None), slice(None, -2)))))
    assert along > across + 0.05
    assert image[:, 70:90, 70:90].std() == pytest.approx(30.0, rel=0.06)


def test_bone_in_a_row_raises_its_noise_as_its_line_integral_says() -> None:
    plane = np.zeros((3, 100), dtype=np.float32)
    plane[1, :50] = 950.0
    # 50 mm of 800 HU above 150 are 40 mm of water.
    expected = np.sqrt(0.75 + 0.25 * np.exp(0.0193 * 40))
    assert bone_row_gain(plane, 1.0) == pytest.approx([1.0, expected, 1.0], rel=1e-4)
