from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from real_data import real_data

from femur_nnunet.calibration.phantoms import find_phantom, load_phantoms
from femur_nnunet.calibration.rod_search import FoundRods, ScanSection
from femur_nnunet.calibration.rod_search import find_rods as find_rods_in
from femur_nnunet.phantom.calibration import PHANTOM_NAMES
from femur_nnunet.volume_io import orient_to_lps, read_volume
from femur_nnunet.volume_io.volume import AcquisitionTags, Grid, Volume

PHANTOMS = load_phantoms()
MINDWAYS = find_phantom(PHANTOMS, "mindways")
BOTH = [(tier, unit) for tier in ("none", "mild", "moderate", "severe") for unit in ("K2HPO4", "HA")]


def find_rods(volume, phantom) -> FoundRods | None:
    return find_rods_in(ScanSection.of(volume), phantom)


def scan_of(scan):
    return Volume(scan.hu, scan.grid)


@pytest.mark.parametrize(("tier", "unit"), BOTH)
def test_the_kits_rods_are_found_and_read_their_known_density_within_the_stated_error(rendered, tier, unit):
    scan = rendered(tier, unit)
    found = find_rods(scan_of(scan), find_phantom(PHANTOMS, PHANTOM_NAMES[unit]))
    assert found is not None
    assert found.fault is None
    columns = [x * scan.grid.spacing_mm_ijk[0] + scan.grid.origin_mm_lps[0] for x, _ in found.centres_index_xy]
    assert columns == pytest.approx([x for x, _ in scan.rods.centres_mm_xy], abs=3.0)
    # The kit measures where it knows the rods to lie; the fit here knows neither place nor line.
    for known, measured in zip(scan.rods.densities_mg_cc, scan.rod_hu, strict=True):
        error = abs(found.fit.calibration.density_mg_cc(measured) - known)
        assert error <= found.fit.error_95_mg_cc(known)
        assert error <= 6.0


def mindways_image(*, turned=False, reversed_row=False, noise=10.0, seed=105):
    """Return an ellipse of muscle on a row of Mindways rods (sigma_ref 1.5674, beta_ref -996.6), 1 mm pixels."""
    y, x = np.mgrid[:280, :360].astype(float)
    hu = np.full(y.shape, -1000.0)
    hu[((x - 180) / 160) ** 2 + ((y - 110) / 95) ** 2 <= 1] = 50.0
    hu[(np.abs(x - 180) < 120) & (np.abs(y - 225) < 18)] = 5.0
    rods = MINDWAYS.rods[::-1] if reversed_row else MINDWAYS.rods
    for number, rod in enumerate(rods):
        centre_x, centre_y = 180 + 40 * (number - 2), 225 + (2 * (number - 2) if turned else 0)
        hu[(x - centre_x) ** 2 + (y - centre_y) ** 2 <= 81] = rod.water_mg_cc + 1.5674 * rod.density_mg_cc - 996.6
    stack = hu + np.random.default_rng(seed).normal(0, noise, (30, *hu.shape))
    return Volume(stack.astype(np.int16), Grid((360, 280, 30), (1.0, 1.0, 2.0), (0.0, 0.0, 0.0)))


@pytest.mark.parametrize("layout", [{}, {"turned": True}, {"reversed_row": True}])
def test_mindways_rods_of_unknown_spacing_are_found_straight_turned_and_reversed(layout):
    found = find_rods(mindways_image(**layout), MINDWAYS)
    assert found is not None
    assert found.fault is None
    assert 1 / found.fit.calibration.slope == pytest.approx(1.35, rel=0.01)
    assert found.fit.calibration.intercept == pytest.approx(-3.0 / 1.35, abs=1.0)


def test_rods_outside_the_field_of_view_are_not_found(rendered):
    scan = rendered("none", "K2HPO4")
    row = int((scan.rods.pad_top_mm - scan.grid.origin_mm_lps[1]) / scan.grid.spacing_mm_ijk[1])
    cut = Volume(scan.hu[:, :row], replace(scan.grid, size_ijk=(*scan.grid.size_ijk[:1], row, scan.grid.size_ijk[2])))
    found = [find_rods(cut, phantom) for phantom in PHANTOMS]
    assert all(rods is None or rods.fault is not None for rods in found)


def test_metal_in_the_scan_leaves_the_rods_readable(rendered):
    """A few slices full of streaks do not move the median over the slices."""
    scan = rendered("none", "K2HPO4")
    hu = scan.hu.copy()
    hu[4:8, :, 40:60] = 3071
    hu[4:8] = np.clip(hu[4:8].astype(int) + np.random.default_rng(106).normal(0, 200, hu[4:8].shape), -1024, 3071)
    found = find_rods(Volume(hu, scan.grid), find_phantom(PHANTOMS, PHANTOM_NAMES["K2HPO4"]))
    assert found is not None
    assert found.fit.calibration.slope == pytest.approx(scan.density_slope, rel=0.02)


def test_rods_that_change_along_the_scan_are_refused(rendered):
    scan = rendered("none", "K2HPO4")
    drift = np.linspace(-40, 40, scan.hu.shape[0])[:, None, None]
    found = find_rods(Volume(scan.hu + drift, scan.grid), find_phantom(PHANTOMS, PHANTOM_NAMES["K2HPO4"]))
    assert found is not None
    assert "drift" in found.fault


def test_the_tube_voltage_of_the_header_bears_on_the_fit(rendered):
    scan = rendered("none", "K2HPO4")
    volume = Volume(scan.hu, scan.grid, tags=AcquisitionTags(kvp=80))
    found = find_rods(volume, find_phantom(PHANTOMS, PHANTOM_NAMES["K2HPO4"]))
    assert found is None or "HU per mg/cc" in found.fault


@pytest.mark.parametrize("parts", [("ct", "pelvis_3mm_left_nail.nii.gz"), ("dicom", "abdomen_2mm_jpeg2000")])
def test_no_rods_are_seen_in_real_scans_without_a_phantom(parts):
    volume, _ = orient_to_lps(read_volume(real_data(*parts)))
    found = [find_rods(volume, phantom) for phantom in PHANTOMS]
    assert all(rods is None or rods.fault is not None for rods in found)
