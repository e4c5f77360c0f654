from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from femur_nnunet.evaluation.density.cortex_profiles import blurred_cortex, fit_cortex

X_MM = np.arange(-3.0, 8.51, 0.5)
PSF_SD_MM = 0.6


def shells(thickness_mm: np.ndarray, *, noise_hu: float = 0.0, seed: int = 0) -> np.ndarray:
    """Profiles through shells of soft tissue 50, cortex 1100 and spongy bone 200 HU, blurred on a fine grid."""
    fine_mm = 0.01
    fine = np.arange(-12.0, 18.0, fine_mm)
    rng = np.random.default_rng(seed)
    profiles = []
    for thickness in thickness_mm:
        sharp = np.where(fine < 0, 50.0, np.where(fine < thickness, 1100.0, 200.0))
        blurred = ndimage.gaussian_filter1d(sharp, PSF_SD_MM / fine_mm, truncate=6)
        profiles.append(np.interp(X_MM, fine, blurred) + rng.normal(0, noise_hu, X_MM.size))
    return np.array(profiles)


def fit(profiles: np.ndarray, **options: bool):
    count = len(profiles)
    return fit_cortex(X_MM, profiles, np.ones_like(profiles), blur_mm=np.full(count, PSF_SD_MM),
                      cortex_hu=np.full(count, 1100.0), **options)


def test_the_model_is_the_shell_blurred_by_the_point_spread() -> None:
    sharp = shells(np.array([2.0]))
    model = blurred_cortex(X_MM, np.zeros(1), np.array([2.0]), np.array([PSF_SD_MM]), np.array([50.0]),
                           np.array([1100.0]), np.array([200.0]))
    # The fine grid's own edge lies half a step, 0.005 mm, beside the model's.
    np.testing.assert_allclose(model, sharp, atol=6.0)


@pytest.mark.parametrize("thickness", [0.3, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0])
def test_known_density_and_blur_give_the_thickness_far_below_the_blur_s_width(thickness: float) -> None:
    found = fit(shells(np.array([thickness])))
    assert found.thickness_mm[0] == pytest.approx(thickness, abs=0.02)
    assert found.surface_mm[0] == pytest.approx(0.0, abs=0.02)


def test_noise_of_twenty_hu_spreads_thin_shells_by_a_tenth_of_a_millimetre() -> None:
    for thickness in (0.5, 1.0, 2.0):
        found = fit(shells(np.full(200, thickness), noise_hu=20.0))
        assert found.thickness_mm.mean() == pytest.approx(thickness, abs=0.03)
        assert found.thickness_mm.std() < 0.1


def test_a_wrong_density_of_the_cortex_keeps_the_product_of_a_thin_shell() -> None:
    profiles = shells(np.array([0.6]))
    found = fit_cortex(X_MM, profiles, np.ones_like(profiles), blur_mm=np.array([PSF_SD_MM]),
                       cortex_hu=np.array([900.0]))
    # Excess over the mean of both sides, 125 HU: 0.6 mm x 975 HU.
    assert found.thickness_mm[0] * (900.0 - 125.0) == pytest.approx(0.6 * 975.0, rel=0.05)


def test_density_and_blur_can_be_told_from_a_thick_cortex() -> None:
    profiles = shells(np.full(100, 4.0), noise_hu=20.0)
    found = fit_cortex(X_MM, profiles, np.ones_like(profiles), blur_mm=np.full(100, 0.9), cortex_hu=np.full(100, 900.0),
                       free_cortex=True, free_blur=True)
    assert np.median(found.cortex_hu) == pytest.approx(1100.0, abs=10.0)
    assert np.median(found.blur_mm) == pytest.approx(PSF_SD_MM, abs=0.03)
