from __future__ import annotations

import numpy as np
import pytest

from femur_nnunet.phantom.pose import SHAFT_OBLIQUITY_DEG, LegPose, Pose, draw_pose
from femur_nnunet.phantom.tiers import load_tiers

KNEEWARDS = np.array([0.0, 0.0, -1.0])


def test_turning_a_leg_inwards_lessens_the_anteversion_seen() -> None:
    neck = np.array([np.cos(np.radians(15)), np.sin(np.radians(15)), 0.0])
    turned = LegPose(rotation_deg=10, abduction_deg=SHAFT_OBLIQUITY_DEG, flexion_deg=0).rotation_matrix @ neck
    assert np.degrees(np.arctan2(turned[1], turned[0])) == pytest.approx(5)


def test_abduction_moves_the_knee_outwards_and_flexion_forwards() -> None:
    neutral = LegPose(0, 0, 0).rotation_matrix @ KNEEWARDS
    assert np.degrees(np.arctan2(-neutral[0], -neutral[2])) == pytest.approx(SHAFT_OBLIQUITY_DEG)
    abducted = LegPose(0, SHAFT_OBLIQUITY_DEG + 10, 0).rotation_matrix @ KNEEWARDS
    assert np.degrees(np.arctan2(abducted[0], -abducted[2])) == pytest.approx(10)
    flexed = LegPose(0, SHAFT_OBLIQUITY_DEG, 20).rotation_matrix @ KNEEWARDS
    assert np.degrees(np.arctan2(-flexed[1], -flexed[2])) == pytest.approx(20)


def test_right_and_left_leg_are_mirror_images(straight_pose: Pose) -> None:
    still = Pose(0.0, 0.0, (0.0, 0.0, 0.0), straight_pose.legs, 50.0)
    left, right = still.femur_rotation("left"), still.femur_rotation("right")
    assert np.linalg.det(left) == pytest.approx(1)
    assert np.linalg.det(right) == pytest.approx(-1)
    assert np.diag([-1.0, 1.0, 1.0]) @ left == pytest.approx(right)


def test_the_left_head_lies_to_the_left_in_lps(straight_pose: Pose) -> None:
    left = straight_pose.head_centre_mm("left", 180.0)
    right = straight_pose.head_centre_mm("right", 180.0)
    assert left[0] > right[0]
    assert np.linalg.norm(left - right) == pytest.approx(180)


def test_a_moderate_site_lies_differently() -> None:
    def mean_rotation(tier: str) -> float:
        positioning = load_tiers(positioning=tier).positioning
        poses = [draw_pose(positioning, np.random.default_rng([100, n])) for n in range(200)]
        return float(np.mean([pose.legs["left"].rotation_deg for pose in poses]))

    assert mean_rotation("none") == pytest.approx(10, abs=1)
    assert mean_rotation("moderate") == pytest.approx(-12, abs=2)
