from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hip_scans import hip_scan

from femur_nnunet.calibration.units import DensityCalibration
from femur_nnunet.errors import FemurError
from femur_nnunet.evaluation.density.density_row import DensityRow
from femur_nnunet.evaluation.density.density_status import DensityStatus
from femur_nnunet.evaluation.density.measurement import measure_density
from femur_nnunet.phantom.one_hip import HipScan
from femur_nnunet.regions import Region

Measured = tuple[HipScan, dict[Region, DensityRow]]


def by_region(scan: HipScan, **changes: object) -> dict[Region, DensityRow]:
    arguments = {"side": scan.side, "calibration": scan.calibration} | changes
    hu, mask = arguments.pop("hu", scan.hu), arguments.pop("mask", scan.mask)
    return {row.region: row for row in measure_density(hu, mask, scan.spacing_mm_zyx, **arguments)}


# The same hips as the regions' tests, rendered once.
@pytest.fixture(scope="module", params=[(102, "none", "left", 0.8, 1.0), (103, "moderate", "right", 1.0, 2.0)],
                ids=["none", "moderate"])
def measured(request: pytest.FixtureRequest) -> Measured:
    scan = hip_scan(*request.param)
    return scan, by_region(scan)


@pytest.fixture(scope="module")
def coarse() -> HipScan:
    return hip_scan(104, "mild", "left", 1.5, 3.0)


def test_every_region_is_measured_in_the_scan_s_unit(measured: Measured) -> None:
    scan, rows = measured
    assert list(rows) == list(Region)
    assert {row.status for row in rows.values()} == {DensityStatus.OK}
    assert {row.unit for row in rows.values()} == {scan.calibration.unit}


def test_volume_and_trabecular_density_are_those_of_the_truth(measured: Measured) -> None:
    scan, rows = measured
    # The sharp kernel of tier moderate draws a dark seam along thick cortex (docs/density.md).
    trabecular_mg_cc = 6.0 if scan.side == "left" else 30.0
    for region, row in rows.items():
        truth = scan.truth["regions"][region.value]
        assert row.volume_ml == pytest.approx(truth["volume_ml"], rel=0.03)
        assert row.vbmd_trabecular == pytest.approx(truth["vbmd_trabecular_mg_cc"], abs=trabecular_mg_cc)


def test_mineral_is_low_by_what_blur_and_saturation_take_out_of_the_mask(measured: Measured) -> None:
    scan, rows = measured
    for region, row in rows.items():
        truth = scan.truth["regions"][region.value]
        # docs/density.md gives the table; 14 % is what thin slices of the head lose at most.
        assert 0.86 < row.bmc_mg / truth["bmc_mg"] < 1.02
        assert row.vbmd_integral == pytest.approx(row.bmc_mg / row.volume_ml)


def test_the_parts_add_up_to_the_total(measured: Measured) -> None:
    _, rows = measured
    parts = [row for region, row in rows.items() if region is not Region.TOTAL]
    assert sum(row.volume_ml for row in parts) == pytest.approx(rows[Region.TOTAL].volume_ml)
    assert sum(row.bmc_mg for row in parts) == pytest.approx(rows[Region.TOTAL].bmc_mg)


def test_cortical_thickness_is_that_of_the_truth_to_four_tenths_of_a_millimetre(measured: Measured) -> None:
    scan, rows = measured
    for region, row in rows.items():
        true_mm = scan.truth["regions"][region.value]["cortical_thickness_mm"]
        assert row.cortical_thickness_mm == pytest.approx(true_mm, abs=0.4), region


def test_without_calibration_there_are_volumes_and_thickness_and_no_density(coarse: HipScan) -> None:
    rows = by_region(coarse, calibration=None)
    assert {row.status for row in rows.values()} == {DensityStatus.UNCALIBRATED}
    assert {row.unit for row in rows.values()} == {None}
    assert all(row.volume_ml > 0 and row.cortical_thickness_mm > 0 for row in rows.values())
    assert all(np.isnan(value) for row in rows.values()
               for value in (row.bmc_mg, row.vbmd_integral, row.vbmd_cortical, row.vbmd_trabecular))


@pytest.mark.parametrize(("slope", "intercept"), [(0.0074, 0.0), (2.0, 0.0), (0.74, 500.0)])
def test_a_calibration_of_no_scanner_is_not_used(coarse: HipScan, slope: float, intercept: float) -> None:
    rows = by_region(coarse, calibration=DensityCalibration("K2HPO4", slope, intercept))
    assert {row.status for row in rows.values()} == {DensityStatus.CALIBRATION_IMPLAUSIBLE}
    assert np.isnan(rows[Region.TOTAL].bmc_mg)
    assert rows[Region.TOTAL].volume_ml > 0


def test_density_is_linear_in_the_calibration(coarse: HipScan) -> None:
    plain = by_region(coarse)[Region.NECK]
    calibration = coarse.calibration
    shifted = by_region(coarse, calibration=dataclasses.replace(calibration, intercept=calibration.intercept + 10.0))
    # 10 mg/cc everywhere is 10 mg/cc on the mean.
    assert shifted[Region.NECK].vbmd_integral == pytest.approx(plain.vbmd_integral + 10.0)
    assert shifted[Region.NECK].cortical_thickness_mm == pytest.approx(plain.cortical_thickness_mm)


def test_metal_leaves_the_volume_alone(coarse: HipScan) -> None:
    hu = coarse.hu.copy()
    inside = np.argwhere(coarse.mask)
    z, y, x = inside[len(inside) // 2]
    hu[z - 2:z + 3, y - 2:y + 3, x - 2:x + 3] = 3000
    rows = by_region(coarse, hu=hu)
    assert {row.status for row in rows.values()} == {DensityStatus.METAL}
    assert all(row.volume_ml > 0 and np.isnan(row.vbmd_integral) for row in rows.values())


def test_a_mask_that_reaches_into_padding_leaves_the_volume_alone(coarse: HipScan) -> None:
    hu = coarse.hu.copy()
    columns = np.flatnonzero(coarse.mask.any(axis=(0, 1)))
    hu[:, :, columns[-1] - 8:] = -1024
    rows = by_region(coarse, hu=hu)
    assert {row.status for row in rows.values()} == {DensityStatus.OUTSIDE_FIELD_OF_VIEW}


def test_a_femur_without_a_head_in_view_has_a_total_alone(coarse: HipScan) -> None:
    bottom_mm = coarse.truth["head_centre_mm_lps"][2] - coarse.grid.origin_mm_lps[2] - 60.0
    mask = coarse.mask.copy()
    mask[round(bottom_mm / coarse.spacing_mm_zyx[0]):] = 0
    rows = by_region(coarse, mask=mask)
    assert rows[Region.TOTAL].status is DensityStatus.OK
    assert rows[Region.TOTAL].vbmd_integral > 0
    # Something round may be found and taken for a head; no region is then sound.
    assert not any(rows[region].rule.agreeing for region in Region if region is not Region.TOTAL)


def test_an_image_on_another_grid_is_refused(coarse: HipScan) -> None:
    with pytest.raises(FemurError, match="both on one grid"):
        measure_density(coarse.hu[1:], coarse.mask, coarse.spacing_mm_zyx, side="left", calibration=None)
