from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import erf

from femur_nnunet.phantom.scanner import (
    digitise,
    field_of_view,
    harden_beam,
    kernel_and_noise,
    saturate_bone,
    slice_profile,
)
from femur_nnunet.phantom.tiers import ScannerTier

PIXEL_MM = 0.7


def _imaged(hu: np.ndarray, scanner: ScannerTier, *, noise_hu: float = 0.0, seed: int = 0,
            pixel_mm: float = PIXEL_MM) -> np.ndarray:
    return kernel_and_noise(hu.astype(np.float32), scanner, pixel_mm=pixel_mm, noise_hu=noise_hu,
                            rng=np.random.default_rng(seed))


@pytest.mark.parametrize("fwhm_mm", [2.0, 3.0])
def test_an_edge_is_spread_as_the_asked_gaussian_spreads_it(plain_scanner: ScannerTier,
                                                            fwhm_mm: float) -> None:
    step = np.zeros((1, 64, 128))
    step[:, :, 64:] = 100.0
    profile = _imaged(step, replace(plain_scanner, psf_fwhm_mm=fwhm_mm, edge_enhancement=0.0))[0, 32]
    at = np.interp([10.0, 90.0], profile[48:80], np.arange(48, 80) * PIXEL_MM)
    # 10 % and 90 % of a Gaussian's integral lie 2.563 standard deviations apart.
    assert at[1] - at[0] == pytest.approx(2.563 * fwhm_mm / 2.3548, rel=0.03)


def test_edge_enhancement_overshoots_and_keeps_the_mean(plain_scanner: ScannerTier) -> None:
    step = np.zeros((1, 64, 128))
    step[:, :, 64:] = 100.0
    smooth = _imaged(step, replace(plain_scanner, edge_enhancement=0.0))
    sharp = _imaged(step, replace(plain_scanner, edge_enhancement=0.4))
    assert smooth.max() < 100.5
    assert sharp.max() > 103.0
    assert sharp[0, :, 110:].mean() == pytest.approx(100, abs=0.5)


@pytest.mark.parametrize(("noise_hu", "pixel_mm"), [(12.0, 0.7), (40.0, 2.0)])
def test_noise_has_the_asked_spread_and_no_bias(plain_scanner: ScannerTier, noise_hu: float,
                                                pixel_mm: float) -> None:
    image = _imaged(np.zeros((6, 150, 150)), plain_scanner, noise_hu=noise_hu, pixel_mm=pixel_mm)
    assert image.std() == pytest.approx(noise_hu, rel=0.02)
    assert abs(image.mean()) < 0.05 * noise_hu


def test_noise_is_correlated_within_slices_and_not_between_them(plain_scanner: ScannerTier) -> None:
    image = _imaged(np.zeros((6, 150, 150)), plain_scanner, noise_hu=20.0)

    def correlation(first: np.ndarray, second: np.ndarray) -> float:
        return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])

    assert correlation(image[:, :, 1:], image[:, :, :-1]) > 0.15
    assert abs(correlation(image[1:], image[:-1])) < 0.02


def test_a_slice_averages_the_fine_slices_that_its_thickness_covers() -> None:
    fine = np.arange(10, dtype=np.float32)[:, None, None] * np.ones((1, 2, 2), dtype=np.float32)
    thin = slice_profile(fine, substeps=2, margin=1, thickness_mm=2.0, fine_spacing_mm=1.0, slice_count=4)
    assert thin[:, 0, 0] == pytest.approx([1.5, 3.5, 5.5, 7.5])
    squares = fine ** 2
    thick = slice_profile(squares, substeps=2, margin=1, thickness_mm=4.0, fine_spacing_mm=1.0, slice_count=4)
    assert thick[:, 0, 0] == pytest.approx([np.mean(np.arange(n, n + 4) ** 2) for n in (0, 2, 4, 6)])


def test_dense_bone_reads_low_and_soft_tissue_is_left_alone() -> None:
    hu = np.array([[[50.0, 300.0, 1300.0]]], dtype=np.float32)
    saturate_bone(hu, 0.05)
    assert hu.ravel() == pytest.approx([50.0, 300.0, 1250.0])


def test_metal_loses_in_proportion_and_stays_above_the_highest_value() -> None:
    hu = np.array([[[8000.0]]], dtype=np.float32)
    saturate_bone(hu, 0.09)
    # 7700 HU above the knee, of which the share 0.09 * 1700 / 1000 is lost.
    assert hu.item() == pytest.approx(8000 - 7700 * 0.153)
    assert hu.item() > 3071


def test_beam_hardening_darkens_soft_tissue_between_two_bones_alone() -> None:
    plane = np.zeros((1, 60, 200), dtype=np.float32)
    plane[:, 20:40, 40:60] = plane[:, 20:40, 140:160] = 1200.0
    hardened = plane.copy()
    harden_beam(hardened, 20.0, pixel_mm=1.0)
    # Each bone holds 20 mm of 1000 HU above 200: 40 mm in all, that is 0.4 of the reference; the
    # Gaussian of 6 mm over a band of 20 mm leaves erf(10 / (6 sqrt 2)) of it in the middle.
    assert hardened[0, 30, 100] == pytest.approx(-8.0 * erf(10 / (6 * np.sqrt(2))), abs=0.15)
    assert hardened[0, 30, 10] == pytest.approx(0, abs=0.1)
    assert hardened[0, 55, 100] == pytest.approx(0, abs=0.5)


def test_digitising_scales_shifts_rounds_and_pads(plain_scanner: ScannerTier) -> None:
    scanner = replace(plain_scanner, hu_scale=1.1, hu_offset=-3.0, padding_hu=-3024)
    image = digitise(np.full((1, 40, 40), 10.06, dtype=np.float32), scanner)
    assert image.dtype == np.int16
    assert image[0, 20, 20] == 8
    assert image[0, 0, 0] == -3024
    assert (image[0] == -3024).sum() == 1600 - field_of_view((40, 40)).sum()


def test_offset_drifts_from_the_first_scanned_slice_to_the_last(plain_scanner: ScannerTier) -> None:
    scanner = replace(plain_scanner, hu_drift_per_100_mm=5.0, hu_offset=2.0)
    image = digitise(np.zeros((101, 8, 8), dtype=np.float32), scanner, slice_spacing_mm=2.0, scan_offset_hu=-1.0)
    # Slices run from feet to head and the topmost is scanned first: 200 mm below it the drift is 10 HU.
    assert image[-1, 4, 4] == 1
    assert image[0, 4, 4] == 11


def test_a_narrow_field_of_view_truncates_the_image(plain_scanner: ScannerTier) -> None:
    scanner = replace(plain_scanner, field_of_view_factor=0.5, padding_hu=-2000)
    image = digitise(np.zeros((1, 200, 200), dtype=np.float32), scanner)
    assert (image == 0).mean() == pytest.approx(np.pi / 16, rel=0.02)


def test_noise_power_falls_at_high_frequencies_as_the_kernel_says(plain_scanner: ScannerTier) -> None:
    scanner = replace(plain_scanner, psf_fwhm_mm=2.4, edge_enhancement=0.0)
    image = _imaged(np.zeros((12, 128, 128)), scanner, noise_hu=20.0)
    # The window keeps the cut at the image's edge from spilling power to high frequencies.
    window = np.hanning(128)[:, None] * np.hanning(128)[None, :]
    power = (np.abs(np.fft.fft2(image * window)) ** 2).mean(axis=0)
    axis = np.fft.fftfreq(128, PIXEL_MM)
    frequency = np.hypot(axis[:, None], axis[None, :])
    # Filtered back-projection: power ~ (f + f0) * MTF^2, a Gaussian MTF with sd = FWHM / 2.3548 mm.
    sd = 2.4 / 2.3548
    low, high = np.abs(frequency - 0.15) < 0.01, np.abs(frequency - 0.35) < 0.01
    expected = ((0.15 + 0.02 / PIXEL_MM) / (0.35 + 0.02 / PIXEL_MM)
                * np.exp(-4 * np.pi ** 2 * sd ** 2 * (0.15 ** 2 - 0.35 ** 2)))
    assert power[low].mean() / power[high].mean() == pytest.approx(expected, rel=0.1)


def test_a_wire_through_the_whole_chain_has_the_asked_width(plain_scanner: ScannerTier) -> None:
    wire = np.zeros((4, 96, 96), dtype=np.float32)
    wire[:, 48, 48] = 900.0
    scanner = replace(plain_scanner, psf_fwhm_mm=2.1, edge_enhancement=0.0)
    hu = slice_profile(wire, substeps=2, margin=0, thickness_mm=2.0, fine_spacing_mm=1.0, slice_count=2)
    image = digitise(_imaged(hu, scanner), scanner)[0, 34:63, 34:63].astype(float)
    offsets = (np.arange(29) - 14) * PIXEL_MM
    variance = (image.sum(axis=0) * offsets ** 2).sum() / image.sum()
    # Rounding hides the Gaussian's foot, so a few per cent are lost.
    assert 2.3548 * np.sqrt(variance) == pytest.approx(2.1, rel=0.06)


def test_the_field_of_view_is_a_disc_as_wide_as_the_image() -> None:
    inside = field_of_view((200, 200))
    assert inside.mean() == pytest.approx(np.pi / 4, rel=0.01)
    assert inside[100].all()
