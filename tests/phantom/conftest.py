from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from femur_nnunet.phantom.anatomy import FemurAnatomy, Participant, draw_participant
from femur_nnunet.phantom.pose import LegPose, Pose
from femur_nnunet.phantom.render import RenderedScan, render_scan
from femur_nnunet.phantom.scan_grid import SCAN_SIZES
from femur_nnunet.phantom.tiers import ScannerTier, load_tiers


@pytest.fixture(scope="session")
def femur_anatomy() -> FemurAnatomy:
    return FemurAnatomy(
        head_radius_mm=23.0, neck_shaft_angle_deg=125.0, anteversion_deg=12.0, offset_mm=45.0,
        neck_half_minor_mm=14.0, neck_half_major_mm=17.0, shaft_radius_mm=15.0, bow_radius_mm=1000.0,
        trochanter_height_mm=3.0, trochanter_width_mm=22.0, lesser_trochanter_mm=9.0, joint_gap_mm=3.5)


@pytest.fixture(scope="session")
def participant() -> Participant:
    return draw_participant("M", load_tiers().population, np.random.default_rng(100))


@pytest.fixture(scope="session")
def straight_pose() -> Pose:
    leg = LegPose(rotation_deg=10.0, abduction_deg=3.0, flexion_deg=6.0)
    return Pose(yaw_deg=1.0, roll_deg=-1.0, translation_mm_lps=(3.0, -4.0, 10.0),
                legs={"left": leg, "right": leg}, scan_top_mm=50.0)


@pytest.fixture(scope="session")
def plain_scanner() -> ScannerTier:
    """The source scanner without the effects that shift mean HU on purpose."""
    return replace(load_tiers().scanner, bone_saturation_per_1000_hu=0.0, beam_hardening_hu=0.0)


@pytest.fixture(scope="session")
def plain_scan(participant: Participant, straight_pose: Pose, plain_scanner: ScannerTier) -> RenderedScan:
    return render_scan(participant, straight_pose, plain_scanner, size=SCAN_SIZES["small"], noise_seed=7)
