from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from real_data import real_data

from femur_nnunet.calibration.phantoms import load_phantoms
from femur_nnunet.calibration.scan_calibration import calibrate_scan
from femur_nnunet.calibration.units import DensityCalibration
from femur_nnunet.phantom.calibration import PHANTOM_NAMES
from femur_nnunet.volume_io import orient_to_lps, read_volume
from femur_nnunet.volume_io.volume import AcquisitionTags, Volume

PHANTOMS = load_phantoms()


def volume_of(scan, kvp=None):
    return Volume(scan.hu, scan.grid, tags=AcquisitionTags(kvp=kvp))


@pytest.mark.parametrize(("tier", "unit"), [("none", "K2HPO4"), ("moderate", "HA"), ("severe", "HA")])
def test_a_phantom_without_a_name_is_recognised_by_its_densities(rendered, tier, unit):
    scan = rendered(tier, unit)
    scale = calibrate_scan(volume_of(scan), phantoms=PHANTOMS)
    assert (scale.source, scale.phantom) == ("rods", PHANTOM_NAMES[unit])
    assert scale.calibration.unit == unit
    assert scale.calibration.slope == pytest.approx(scan.density_slope, rel=0.02)
    assert 0 < scale.se_mg_cc < 2.5
    assert scale.r2 > 0.995


def test_the_tables_values_have_priority_and_agree_with_sound_rods(rendered):
    scan = rendered("none", "K2HPO4")
    table = DensityCalibration("K2HPO4", scan.density_slope, scan.density_intercept)
    scale = calibrate_scan(volume_of(scan), table=table, phantoms=PHANTOMS)
    assert (scale.calibration, scale.source, scale.warnings) == (table, "table", ())
    assert (scale.r2, scale.se_mg_cc) == (None, None)


def test_a_table_that_the_rods_contradict_is_kept_with_a_warning(rendered):
    scan = rendered("none", "K2HPO4")
    table = DensityCalibration("K2HPO4", scan.density_slope * 1.1, scan.density_intercept)
    scale = calibrate_scan(volume_of(scan), table=table, phantoms=PHANTOMS)
    assert scale.calibration == table
    # A tenth of 0.74 mg/cc per HU over 300 HU is 22 mg/cc, give or take the noise of the rods.
    told = re.search(r"differ from the rods' fit by up to ([0-9.]+) mg/cc", scale.warnings[0])
    assert float(told.group(1)) == pytest.approx(22.2, abs=2)


def test_a_table_in_the_other_unit_is_told_and_not_converted(rendered):
    scan = rendered("none", "K2HPO4")
    table = DensityCalibration("HA", 0.9, 0.0)
    scale = calibrate_scan(volume_of(scan), table=table, phantoms=PHANTOMS)
    assert scale.calibration == table
    assert scale.warnings == ("the table gives density in HA, the rods in the image are K2HPO4",)


def test_the_mode_table_does_not_look_at_the_image():
    empty = Volume(np.zeros((0, 0, 0), np.int16), grid=None)
    assert calibrate_scan(empty, mode="table").source is None
    assert calibrate_scan(empty, mode="table", table=DensityCalibration("HA", 1, 0)).source == "table"


def test_the_mode_rods_sets_the_table_aside(rendered):
    scan = rendered("none", "HA")
    scale = calibrate_scan(volume_of(scan), mode="rods", table=DensityCalibration("HA", 2.0, 0.0), phantoms=PHANTOMS)
    assert scale.source == "rods"


@pytest.mark.parametrize(("name", "told"), [("water bottle", "not in the phantom table"),
                                            ("synthetic 4-rod HA", "refused|no rods")])
def test_a_named_phantom_that_is_not_there_is_told(rendered, name, told):
    scale = calibrate_scan(volume_of(rendered("none", "K2HPO4")), phantom_name=name, phantoms=PHANTOMS)
    assert scale.source is None
    assert any(word in scale.warnings[0] for word in told.split("|"))


def test_a_cut_row_of_rods_is_never_taken_for_a_shorter_phantom(rendered):
    """Four of five K2HPO4 rods resemble the four HA rods; taken for them, the unit would be wrong."""
    scan = rendered("none", "K2HPO4")
    last = int((scan.rods.centres_mm_xy[-1][0] - 18 - scan.grid.origin_mm_lps[0]) / scan.grid.spacing_mm_ijk[0])
    hu = scan.hu.copy()
    hu[:, :, last:] = -1024
    assert calibrate_scan(Volume(hu, scan.grid), phantoms=PHANTOMS).source is None


def test_two_phantoms_that_fit_alike_are_not_chosen_between(rendered):
    scan = rendered("none", "HA")
    phantom = next(item for item in PHANTOMS if item.name == PHANTOM_NAMES["HA"])
    twin = replace(phantom, name="twin", rods=tuple(replace(rod, density_mg_cc=1.2 * rod.density_mg_cc)
                                                    for rod in phantom.rods))
    scale = calibrate_scan(volume_of(scan), phantoms=(phantom, twin))
    assert scale.source is None
    assert "name the phantom" in scale.warnings[0]
    named = calibrate_scan(volume_of(scan), phantom_name="twin", phantoms=(phantom, twin))
    assert named.calibration.slope == pytest.approx(1.2 * scan.density_slope, rel=0.02)


def test_tissue_comes_last_and_only_when_asked(rendered):
    scan = rendered("none", "K2HPO4")
    bare = scan.hu.copy()
    row = int((scan.rods.pad_top_mm - scan.grid.origin_mm_lps[1]) / scan.grid.spacing_mm_ijk[1])
    bare[:, row:] = -1000
    volume = Volume(bare, scan.grid, tags=AcquisitionTags(kvp=120))
    assert calibrate_scan(volume, phantoms=PHANTOMS).source is None
    scale = calibrate_scan(volume, mode="tissue", phantoms=PHANTOMS)
    assert (scale.source, scale.calibration.unit) == ("tissue", "K2HPO4")
    assert "own tissue" in scale.warnings[0]
    # What this stand-in is worth: some per cent of slope at 120 kVp.
    assert scale.calibration.slope == pytest.approx(scan.density_slope, rel=0.12)
    assert calibrate_scan(volume_of(scan, 120), mode="tissue", phantoms=PHANTOMS).source == "rods"


@pytest.mark.parametrize("parts", [("ct", "pelvis_3mm_left_nail.nii.gz"), ("dicom", "abdomen_2mm_jpeg2000")])
def test_a_real_scan_without_a_phantom_stays_without_calibration(parts):
    volume, _ = orient_to_lps(read_volume(real_data(*parts)))
    scale = calibrate_scan(volume, phantoms=PHANTOMS)
    assert (scale.source, scale.warnings) == (None, ())
