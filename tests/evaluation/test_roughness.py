from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from shapes import ball, block

from femur_nnunet.evaluation import roughness
from femur_nnunet.evaluation.roughness import surface_departures


def roughness_mm(mask, spacing):
    return surface_departures(mask, spacing).roughness_mm()


def test_a_plane_across_the_whole_image_has_no_roughness():
    half_space = block((30, 20, 20), (0, 0, 0), (14, 20, 20))
    assert roughness_mm(half_space, (1.5, 0.8, 0.8)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("radius_mm", [12.0, 20.0, 28.0])
@pytest.mark.parametrize("spacing", [(0.8, 0.8, 0.8), (1.0, 0.7, 0.7)])
def test_a_digitised_sphere_has_less_roughness_than_a_tenth_of_a_voxel(radius_mm, spacing):
    assert roughness_mm(ball(radius_mm, spacing), spacing) < 0.1 * max(spacing)


@pytest.mark.parametrize("wavelength_mm", [6.0, 8.0, 10.0, 12.0])
def test_a_ripple_passes_with_the_stated_factor(wavelength_mm):
    # Ten and more ripples of 0.6 mm on a plane, in voxels small enough that their own steps hardly count.
    spacing, amplitude = 0.2, 0.6
    wave_number = 2 * np.pi / wavelength_mm
    z, x = np.meshgrid(np.arange(150) * spacing, np.arange(600) * spacing, indexing="ij")
    profile = z < 15.13 + amplitude * np.cos(wave_number * x)
    surface = surface_departures(np.repeat(profile[:, :, None], 6, axis=2), (spacing,) * 3)
    fine_filter = np.exp(-(spacing * wave_number) ** 2 / 2)
    expected = amplitude / np.sqrt(2) * fine_filter * (1 - np.exp(-(3.0 * wave_number) ** 2 / 2)) ** 2
    assert surface.roughness_mm() == pytest.approx(expected, rel=0.08)


def test_more_noise_gives_more_roughness():
    spacing = (0.8, 0.8, 0.8)
    femoral_head = ball(22.0, spacing, margin_mm=8)
    noise = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=femoral_head.shape), 2.0)
    soft = ndimage.gaussian_filter(femoral_head.astype(float), 3.0)
    measured = [roughness_mm(soft + amount * noise / noise.std() > 0.5, spacing) for amount in (0.0, 0.03, 0.06, 0.12)]
    assert measured == sorted(measured)
    assert measured[-1] > 4 * measured[0]


def test_where_the_image_cuts_the_shaft_there_is_no_surface():
    spacing = (1.0, 0.8, 0.8)
    y, x = np.meshgrid(*(np.arange(-30, 31) * 0.8,) * 2, indexing="ij")
    shaft = np.repeat((y**2 + x**2 <= 15.0**2)[None], 40, axis=0)
    assert roughness_mm(shaft, spacing) < 0.1
    ends_inside = np.pad(shaft, ((20, 0), (0, 0), (0, 0)))
    assert roughness_mm(ends_inside, spacing) > 2 * roughness_mm(shaft, spacing)
    surface = surface_departures(ends_inside, spacing)
    # Without the cut and what is felt of it, the shaft is as smooth as the one that the image cuts.
    assert surface.roughness_mm(lowest_slice=20) == pytest.approx(roughness_mm(shaft, spacing), rel=0.1)


def test_an_empty_mask_has_no_roughness():
    assert np.isnan(roughness_mm(np.zeros((5, 5, 5), dtype=bool), (1.0, 1.0, 1.0)))
    short = surface_departures(block((20, 9, 9), (2, 2, 2), (4, 7, 7)), (1.0, 1.0, 1.0))
    assert np.isnan(short.roughness_mm(lowest_slice=10))


def test_a_translation_by_whole_voxels_changes_nothing():
    spacing = (1.2, 0.8, 0.8)
    mask = ball(10.0, spacing, margin_mm=20)
    assert roughness_mm(np.roll(mask, (2, -3, 1), (0, 1, 2)), spacing) == pytest.approx(roughness_mm(mask, spacing))


def test_slabs_meet_without_a_seam(monkeypatch):
    spacing = (1.0, 0.8, 0.8)
    rng = np.random.default_rng(1)
    mask = ndimage.gaussian_filter(rng.normal(size=(40, 30, 30)), 2.5) > 0
    whole = surface_departures(mask, spacing)
    monkeypatch.setattr(roughness, "_SLAB_SLICES", 7)
    parts = surface_departures(mask, spacing)
    assert parts.departures_mm.size == whole.departures_mm.size
    np.testing.assert_allclose(np.sort(parts.departures_mm), np.sort(whole.departures_mm), atol=1e-4)
    assert np.bincount(parts.slices).tolist() == np.bincount(whole.slices).tolist()


@pytest.mark.parametrize("place", [(90, 5, 5), (10, 80, 10), (12, 10, 75)], ids="zyx")
def test_an_island_out_of_reach_adds_its_own_points_and_changes_no_others(place):
    spacing = (1.0, 0.8, 0.8)
    femur = block((110, 100, 100), (5, 8, 8), (30, 30, 30))
    island = block((110, 100, 100), place, tuple(start + 8 for start in place))
    alone = [surface_departures(mask, spacing).departures_mm for mask in (femur, island)]
    together = surface_departures(femur | island, spacing).departures_mm
    assert min(part.size for part in alone) > 100
    np.testing.assert_allclose(np.sort(together), np.sort(np.concatenate(alone)), atol=1e-4)


def test_roughness_agrees_with_filtering_the_whole_image_by_scipy():
    spacing = np.array([1.0, 0.8, 0.8])
    mask = ball(12.0, tuple(spacing), margin_mm=36)
    fine = ndimage.gaussian_filter(mask.astype(float), 1.0, truncate=3.5)
    once = ndimage.gaussian_filter(fine, 3.0 / spacing, truncate=3.5)
    twice = ndimage.gaussian_filter(once, 3.0 / spacing, truncate=3.5)
    inside = fine >= 0.5
    # Crossings along x alone, one by one as the definition says.
    departures = []
    for z, y, x in np.argwhere(inside[:, :, :-1] != inside[:, :, 1:]):
        share = (0.5 - fine[z, y, x]) / (fine[z, y, x + 1] - fine[z, y, x])
        gradient = np.array([once[z + 1, y, x] - once[z - 1, y, x], once[z, y + 1, x] - once[z, y - 1, x],
                             once[z, y, x + 1] - once[z, y, x - 1]]) / (2 * spacing)
        normal = gradient / np.linalg.norm(gradient)
        height = [((1 - share) * field[z, y, x] + share * field[z, y, x + 1] - 0.5)
                  * np.sqrt(2 * np.pi * (factor * 9.0 + ((normal * spacing) ** 2).sum()))
                  for factor, field in ((1, once), (2, twice))]
        departures.append(height[1] - 2 * height[0])
    found = surface_departures(mask, tuple(spacing)).departures_mm
    # The crossings along x are the last of the three axes.
    np.testing.assert_allclose(np.sort(found[-len(departures):]), np.sort(departures), atol=1e-4)
