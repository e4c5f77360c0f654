from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, special

from femur_nnunet.augmentation.ct_effects import (
    noise,
    sharp_peak_on_grid,
    sharp_transfer,
    slice_weights,
    soft_transfer,
    with_bone_scale,
    with_slice_thickness,
    with_transfer,
)


def soft(hu, spacing_mm, fwhm_mm):
    return with_transfer(hu, spacing_mm, lambda frequency: soft_transfer(frequency, fwhm_mm))


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0), (1.0, 0.5)])
@pytest.mark.parametrize("fwhm_mm", [2.5, 4.0])
def test_a_point_becomes_a_gaussian_of_the_asked_width(spacing_mm, fwhm_mm):
    point = torch.zeros(1, 1, 48, 48)
    point[0, 0, 24, 24] = 1000.0
    spread = soft(point, spacing_mm, fwhm_mm)[0, 0]
    assert float(spread.sum()) == pytest.approx(1000.0, rel=1e-4)
    for axis, line in ((0, spread[:, 24]), (1, spread[24, :])):
        for step in (1, 2, 3):
            # A Gaussian falls to one half at half its full width.
            distance_mm = step * spacing_mm[axis]
            expected = 0.5 ** ((distance_mm / (fwhm_mm / 2)) ** 2)
            # The grid shows no frequency above 0.5 per voxel, where 0.4 % of the narrower one's transfer are left.
            assert float(line[24 + step] / line[24]) == pytest.approx(expected, rel=0.01, abs=0.001)


def test_slices_do_not_mix_in_the_plane_filter():
    patch = torch.zeros(1, 3, 16, 16)
    patch[0, 1] = torch.randn(16, 16) * 100
    spread = soft(patch, (1.0, 1.0), 3.0)
    assert spread[0, 0].abs().max() < 1e-3
    assert spread[0, 1].abs().max() > 1


@pytest.mark.parametrize("gain", [0.0, 0.3, 0.6])
def test_edge_enhancement_lifts_its_peak_frequency_by_the_gain(gain):
    # cos(pi m j / 47) goes on unchanged over mirrors at its first and last sample.
    m, spacing_mm = 24, 1.0
    frequency = m / (2 * 47 * spacing_mm)
    wave = torch.cos(math.pi * m * torch.arange(48) / 47).expand(1, 1, 48, 48)
    sharp = with_transfer(wave, (spacing_mm, spacing_mm), lambda f: sharp_transfer(f, gain, frequency))
    middle = slice(16, 32)
    measured = float((sharp[..., middle] * wave[..., middle]).sum() / wave[..., middle].square().sum())
    assert measured == pytest.approx(1 + gain, rel=0.01)


def test_edge_enhancement_keeps_even_regions_and_overshoots_at_an_edge():
    edge = torch.zeros(1, 1, 48, 48)
    edge[..., 24:] = 1000.0
    sharp = with_transfer(edge, (1.0, 1.0), lambda f: sharp_transfer(f, 0.5, 0.25))[0, 0, 24]
    assert abs(float(sharp[8])) < 2
    assert abs(float(sharp[40]) - 1000) < 2
    assert float(sharp.max()) > 1050
    assert float(sharp.min()) < -50


def test_the_peak_stays_on_a_coarse_grid():
    assert sharp_peak_on_grid(0.3, (0.5, 0.5)) == 0.3
    # Spacing 3 mm: the largest frequency is 1/6 per mm.
    assert sharp_peak_on_grid(0.3, (1.0, 3.0)) == pytest.approx(1 / 12)


@pytest.mark.parametrize(("thickness_mm", "spacing_mm", "expected"), [
    (3.0, 1.0, [1 / 3, 1 / 3, 1 / 3]), (2.5, 1.0, [0.3, 0.4, 0.3]), (6.0, 3.0, [0.25, 0.5, 0.25]),
    (4.0, 1.0, [0.125, 0.25, 0.25, 0.25, 0.125]), (3.0, 3.0, [1.0]), (0.0, 1.0, [1.0])])
def test_a_slice_is_the_mean_over_its_box(thickness_mm, spacing_mm, expected):
    assert slice_weights(thickness_mm, spacing_mm).tolist() == pytest.approx(expected)
    patch = torch.zeros(1, 11, 4, 4)
    patch[0, 5] = 700.0
    profile = with_slice_thickness(patch, thickness_mm, spacing_mm)[0, :, 2, 2]
    side = len(expected) // 2
    assert profile[5 - side:6 + side].tolist() == pytest.approx([700 * weight for weight in expected], rel=1e-5)
    assert float(profile.sum()) == pytest.approx(700.0, rel=1e-5)


def test_the_ends_of_a_patch_keep_an_even_value():
    assert torch.allclose(with_slice_thickness(torch.full((1, 5, 2, 2), 40.0), 4.0, 1.0), torch.tensor(40.0))


def test_water_and_soft_tissue_stay_and_bone_is_scaled():
    hu = torch.tensor([-100.0, 0.0, 50.0, 250.0, 1050.0])
    assert with_bone_scale(hu, 0.9, 0.0).tolist() == pytest.approx([-100, 0, 50, 230, 950])
    assert with_bone_scale(hu, 1.2, -15.0).tolist() == pytest.approx([-115, -15, 35, 275, 1235])


@pytest.mark.parametrize("size", [(48, 48), (33, 40)])
@pytest.mark.parametrize("peak_per_mm", [0.1, 0.3])
def test_noise_has_the_asked_sd_and_spectrum(size, peak_per_mm):
    torch.manual_seed(1)
    spacing_mm = (1.0, 1.0)
    field = noise((1, 300, *size), spacing_mm, sd_hu=25.0, peak_per_mm=peak_per_mm)
    assert float(field.std()) == pytest.approx(25.0, rel=0.02)
    assert field.mean(dim=(2, 3)).abs().max() < 1e-3
    power = torch.fft.fft2(field[0]).abs().square().mean(0)
    frequency = torch.hypot(torch.fft.fftfreq(size[0])[:, None], torch.fft.fftfreq(size[1])[None, :])

    def measured(f):
        return float(power[(frequency - f).abs() < 0.012].mean())

    for f in (0.05, 0.2, 0.4):
        # Power f exp(-f / peak), against its value at the peak.
        expected = f / peak_per_mm * math.exp(1 - f / peak_per_mm)
        assert measured(f) / measured(peak_per_mm) == pytest.approx(expected, rel=0.1)


def test_slices_of_noise_are_independent():
    torch.manual_seed(1)
    field = noise((1, 40, 48, 48), (1.0, 1.0), sd_hu=1.0, peak_per_mm=0.1)[0]
    neighbours = (field[1:] * field[:-1]).mean()
    assert abs(float(neighbours)) < 0.03
    # In the plane: the Hankel transform of the power at a distance of 1 mm, over the power.
    def at_distance(bessel):
        return integrate.quad(lambda f: f * f * np.exp(-f / 0.1) * bessel(2 * np.pi * f), 0, 2)[0]

    beside = (field[:, 1:] * field[:, :-1]).mean()
    assert float(beside) == pytest.approx(at_distance(special.j0) / at_distance(np.ones_like), abs=0.05)
