from __future__ import annotations

import numpy as np
import pytest
from real_data import real_data

from femur_nnunet.calibration.tissue import TissuePeaks, fit_tissue, peak, tissue_peaks
from femur_nnunet.volume_io import orient_to_lps, read_volume
from femur_nnunet.volume_io.volume import Grid, Volume


def layered_body(air=-1000, fat=-105, muscle=50, noise=15.0):
    """Return muscle in 20 mm of fat in air with padding at the corners, 2 mm pixels."""
    y, x = np.mgrid[:140, :200].astype(float)
    radius = np.hypot((x - 100) / 85, (y - 70) / 55)
    hu = np.where(radius <= 0.78, muscle, np.where(radius <= 1, fat, air)).astype(float)
    stack = hu + np.random.default_rng(107).normal(0, noise, (20, *hu.shape))
    stack[:, np.hypot(x - 100, y - 70) > 118] = -1024
    return Volume(stack.astype(np.int16), Grid((200, 140, 20), (2.0, 2.0, 3.0), (0.0, 0.0, 0.0)))


@pytest.mark.parametrize("shift", [0, 12, -20])
def test_peaks_are_those_of_the_layers_and_padding_does_not_count(shift):
    peaks = tissue_peaks(layered_body(-1000 + shift, -105 + shift, 50 + shift))
    assert peaks.air == pytest.approx(-1000 + shift, abs=2)
    assert peaks.fat == pytest.approx(-105 + shift, abs=3)
    assert peaks.muscle == pytest.approx(50 + shift, abs=3)


def test_peaks_of_the_rendered_patient_are_near_the_tissues_own_values(rendered):
    scan = rendered("none", "K2HPO4")
    peaks = tissue_peaks(Volume(scan.hu, scan.grid))
    body = scan.truth["anatomy"]["body"]
    assert peaks.air == pytest.approx(-1000, abs=5)
    assert peaks.fat == pytest.approx(body["fat_hu"], abs=8)
    assert peaks.muscle == pytest.approx(body["muscle_hu"], abs=15)  # marbled with fat


def test_tissues_on_the_published_line_give_it_back():
    fit = fit_tissue(TissuePeaks(*(1.25 * value - 5 for value in (-797, -95, 38))), 120)
    assert fit.calibration.unit == "K2HPO4"
    assert fit.calibration.slope == pytest.approx(0.8)
    assert fit.calibration.intercept == pytest.approx(4.0)
    assert fit.fault is None


@pytest.mark.parametrize("kvp", [80, 100, 140])
def test_tissue_is_refused_away_from_120_kvp(kvp):
    assert "kVp" in fit_tissue(TissuePeaks(-1000, -105, 50), kvp).fault


def test_tissue_off_the_line_is_refused():
    assert "standard error" in fit_tissue(TissuePeaks(-1000, -60, 20), None).fault


@pytest.mark.parametrize("peaks", [TissuePeaks(None, -100, 50), TissuePeaks(-1000, None, 50),
                                   TissuePeaks(-1000, -100, None)])
def test_a_tissue_that_is_not_in_view_gives_no_line(peaks):
    assert fit_tissue(peaks, 120) is None


def test_a_slope_without_a_top_is_no_peak():
    rising = np.repeat(np.arange(0.0, 130.0, 2.0), np.arange(65))
    assert peak(rising, (0.0, 130.0)) is None
    assert peak(np.full(10, 50.0), (0.0, 130.0)) is None


def test_a_real_pelvis_has_its_tissues_where_ct_has_them():
    peaks = tissue_peaks(orient_to_lps(read_volume(real_data("ct", "pelvis_3mm_left_nail.nii.gz")))[0])
    assert -1010 <= peaks.air <= -980
    assert -125 <= peaks.fat <= -80
    assert 20 <= peaks.muscle <= 70
