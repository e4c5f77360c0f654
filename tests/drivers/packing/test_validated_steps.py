"""Postprocessing is chosen by what it does to the validation predictions."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from femur_nnunet.drivers.packing.validated_steps import validated_postprocessing
from femur_nnunet.errors import FemurError

CASES = ("tulane_00000001_v01_l", "tulane_00000001_v01_r", "tulane_00000002_v01_l")


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(array.astype(np.uint8)), str(path))


def cohort(tmp_path, change):
    """A cube of 10^3 voxels as label of three hips of two participants; predictions are that cube after ``change``."""
    for number, case in enumerate(CASES):
        label = np.zeros((20, 20, 20))
        label[5:15, 5:15, 5:15] = 1
        predicted = label.copy()
        change(predicted)
        write(tmp_path / "labels" / "gt_segmentations" / f"{case}.nii.gz", label)
        write(tmp_path / "results" / f"fold_{number % 2}" / "validation" / f"{case}.nii.gz", predicted)
    return validated_postprocessing(tmp_path / "results", ("0", "1"), tmp_path / "labels", [1], quiet=True)


def test_a_stray_part_makes_the_largest_component_help(tmp_path):
    """Of 1000 right voxels and 100 stray ones: Dice 2000 / 2100 without, 1 with the step."""
    def stray(mask):
        mask[17:19, 0:10, 0:5] = 1

    steps = cohort(tmp_path, stray)
    proof = steps.largest_component.evidence
    assert steps.largest_component.use
    assert (proof.n_cases, proof.n_participants, proof.n_better, proof.n_worse) == (3, 2, 2, 0)
    assert proof.dice_without == pytest.approx(2000 / 2100, abs=1e-6)
    assert proof.dice_with == 1.0
    assert proof.ci95_low == proof.ci95_high == pytest.approx(100 / 2100, abs=1e-6)
    assert not steps.fill_holes.use
    assert steps.fill_holes.validated


def test_a_hole_makes_filling_help(tmp_path):
    """A hole of 27 of 1000 voxels: Dice 2 x 973 / 1973 without, 1 with the step."""
    def hole(mask):
        mask[8:11, 8:11, 8:11] = 0

    steps = cohort(tmp_path, hole)
    assert steps.fill_holes.use
    assert steps.fill_holes.evidence.dice_without == pytest.approx(1946 / 1973, abs=1e-6)
    assert steps.fill_holes.evidence.difference == pytest.approx(27 / 1973, abs=1e-6)
    # The largest component changed nothing here, and stays the default.
    assert steps.largest_component.use
    assert steps.largest_component.evidence.difference == 0.0


def test_a_femur_in_two_parts_turns_the_largest_component_off(tmp_path):
    """A gap of two slices leaves parts of 500 and 300 voxels: Dice 1600 / 1800 without, 1000 / 1500 with the step."""
    def fracture(mask):
        mask[10:12] = 0

    steps = cohort(tmp_path, fracture)
    assert not steps.largest_component.use
    assert steps.largest_component.evidence.dice_without == pytest.approx(1600 / 1800, abs=1e-6)
    assert steps.largest_component.evidence.dice_with == pytest.approx(1000 / 1500, abs=1e-6)
    # Holes are judged with that choice in place.
    assert steps.fill_holes.evidence.dice_without == pytest.approx(1600 / 1800, abs=1e-6)


def test_without_predictions_or_labels_nothing_is_claimed(tmp_path):
    for labels in (None, tmp_path):
        steps = validated_postprocessing(tmp_path, ("0",), labels, [1], quiet=True)
        assert (steps.largest_component.use, steps.fill_holes.use) == (True, False)
        assert not steps.largest_component.validated


def test_a_prediction_on_another_grid_is_refused(tmp_path):
    write(tmp_path / "gt_segmentations" / "a.nii.gz", np.ones((4, 4, 4)))
    write(tmp_path / "fold_0" / "validation" / "a.nii.gz", np.ones((4, 4, 5)))
    with pytest.raises(FemurError, match="of different sizes"):
        validated_postprocessing(tmp_path, ("0",), tmp_path, [1], quiet=True)
