from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from femur_nnunet.calibration.scan_calibration import ScanCalibration
from femur_nnunet.calibration.tissue import TissuePeaks
from femur_nnunet.calibration.units import DensityCalibration
from femur_nnunet.dataset_conversion.preflight import image_checks as checks
from femur_nnunet.dataset_conversion.preflight.findings import Verdict
from femur_nnunet.volume_io.hip_search import HipInView, HipsInView
from femur_nnunet.volume_io.volume import Grid, Volume

GO, LOOK, STOP = Verdict.GO, Verdict.LOOK, Verdict.STOP
LEFT = HipInView(120.0, 270.0, 100.0, 320.0, 110.0, 60.0, False)
RIGHT = replace(LEFT, joint_x_mm=120.0, shaft_x_mm=70.0)
NONE = HipInView(None, None, None, None, None, 0.0, False)
BOTH = HipsInView(LEFT, RIGHT, 180.0)


@pytest.mark.parametrize(("spacing", "verdict"), [((0.8, 0.8, 2.5), GO), ((0.8, 0.8, 3.0), GO), ((0.8, 0.8, 4.0), LOOK),
                                                  ((2.0, 2.0, 2.0), LOOK)])
def test_voxels_too_coarse_for_the_cortex_are_to_be_looked_at(spacing, verdict):
    assert checks.check_voxel_spacing(Grid((4, 4, 4), spacing, (0, 0, 0))).verdict == verdict


@pytest.mark.parametrize(("turn_deg", "verdict"), [(0, GO), (5, GO), (15, LOOK)])
def test_an_oblique_grid_is_to_be_looked_at(turn_deg, verdict):
    c, s = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    grid = Grid((4, 4, 4), (1, 1, 1), (0, 0, 0), (1, 0, 0, 0, c, -s, 0, s, c))
    assert checks.check_grid_orientation(grid).verdict == verdict


@pytest.mark.parametrize(("peaks", "verdict"), [
    ((-1000, -105, 50), GO), ((None, -105, 50), GO), ((-1000, -105, 100), LOOK), ((-990, None, 50), LOOK),
    ((-1000, None, None), STOP), ((-850, -105, 50), STOP), ((-1050, -105, 50), LOOK)])
def test_peaks_away_from_those_of_ct_are_told(peaks, verdict):
    assert checks.check_hounsfield(TissuePeaks(*peaks)).verdict == verdict


@pytest.mark.parametrize(("hips", "verdict"), [
    (BOTH, GO), (HipsInView(LEFT, NONE, 180), GO), (HipsInView(NONE, NONE, 180), STOP),
    (HipsInView(NONE, None, 180), STOP), (HipsInView(LEFT, None, 180), GO)])
def test_a_scan_without_any_hip_is_stopped(hips, verdict):
    assert checks.check_hip_in_view(hips).verdict == verdict


@pytest.mark.parametrize(("hips", "side", "words"), [
    (BOTH, "both", None), (BOTH, "left", None),
    (HipsInView(LEFT, NONE, 180), "both", "no right femur"),
    (HipsInView(LEFT, NONE, 180), "left", None),
    (HipsInView(LEFT, None, 180), "both", "one hip in view"),
    (HipsInView(replace(LEFT, joint_level_mm=50.0), RIGHT, 180), "both", "left femur: shaft cut"),
    (HipsInView(LEFT, RIGHT, 125.0), "right", "right femur: head cut"),
    (HipsInView(LEFT, replace(RIGHT, joint_level_mm=None), 180), "both", "right femur: head not in view"),
    (HipsInView(replace(LEFT, touches_side=True), RIGHT, 180), "both", "left or right border")])
def test_a_femur_that_the_image_cuts_is_to_be_looked_at(hips, side, words):
    finding = checks.check_field_of_view(hips, side)
    assert finding.verdict == (GO if words is None else LOOK)
    assert words is None or words in finding.reason


@pytest.mark.parametrize(("hip", "side", "verdict"), [
    (LEFT, "left", GO), (LEFT, "right", STOP), (RIGHT, "right", GO), (RIGHT, "left", STOP), (NONE, "left", LOOK),
    (replace(LEFT, shaft_x_mm=275.0), "left", LOOK)])
def test_a_single_hip_of_the_other_side_than_the_tables_is_stopped(hip, side, verdict):
    assert checks.check_laterality(HipsInView(hip, None, 180), side).verdict == verdict


def test_two_hips_in_view_are_told_apart_by_position():
    assert checks.check_laterality(BOTH, "left").verdict == GO


def block_of(hu, columns):
    array = np.full((10, 20, 40), 50, np.int16)
    array[3:8, 5:10, columns] = hu
    return Volume(array, Grid((40, 20, 10), (2.0, 2.0, 2.0), (0, 0, 0)))


@pytest.mark.parametrize(("volume", "words"), [
    (block_of(2000, slice(30, 35)), None),  # dense cortex
    (block_of(3071, slice(30, 35)), "1.0 ml above 2500 HU on the left"),  # 125 voxels of 8 mm3
    (block_of(3071, slice(5, 10)), "on the right"), (block_of(3071, slice(15, 25)), "on the left and right")])
def test_metal_is_told_with_its_volume_and_side(volume, words):
    finding = checks.check_metal(volume, 20.0)
    assert finding.verdict == (GO if words is None else LOOK)
    assert words is None or words in finding.reason


def test_single_bright_voxels_are_no_metal():
    volume = block_of(50, slice(0, 1))
    volume.array[::2, ::2, ::2] = 3000  # 500 voxels of 8 mm3, none beside another
    assert checks.check_metal(volume, 20.0).verdict == GO


def test_a_density_scale_is_told_and_its_warnings_are_to_be_looked_at():
    line = DensityCalibration("HA", 0.9, -2.0)
    sound = checks.check_calibration(ScanCalibration(line, "rods", 0.9999, 0.4, "B-MAS200"))
    assert sound.verdict == GO
    assert "0.9000 mg/cc per HU, -2.0 mg/cc HA, from the rods" in sound.reason
    assert "standard error 0.40 mg/cc" in sound.reason
    assert checks.check_calibration(ScanCalibration(line, "table", warnings=("differ",))).verdict == LOOK
    assert checks.check_calibration(ScanCalibration()).verdict == GO
