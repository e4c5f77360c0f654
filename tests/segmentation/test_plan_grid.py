"""The plan's grid against nnU-Net's own preprocessor and its own export."""

from __future__ import annotations

import numpy as np
import pytest
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from tiny_bundle import DATASET, tiny_plans

from femur_nnunet.errors import UsageError
from femur_nnunet.model_bundle.plan_schema import read_inference_facts
from femur_nnunet.segmentation.plan_grid import Box, IntensityLimits, PlanGrid, nonzero_box

# Spacing of the case, of the plan, order of the plan's axes: alike; finer; slices resampled one by one; axes turned.
CASES = [((3.0, 2.0, 2.0), (3.0, 3.0, 3.0), (0, 1, 2)), ((1.0, 0.8, 0.8), (1.3, 1.1, 1.0), (0, 1, 2)),
         ((5.0, 0.9, 0.9), (2.0, 1.2, 1.2), (0, 1, 2)), ((2.0, 1.0, 1.5), (2.5, 1.5, 1.5), (2, 0, 1))]


def planned(plan_spacing, order):
    plans = tiny_plans("unet")
    plans["configurations"]["3d_fullres"]["spacing"] = list(plan_spacing)
    plans["transpose_forward"] = list(order)
    plans["transpose_backward"] = [order.index(axis) for axis in range(3)]
    return plans, read_inference_facts(plans, DATASET, family="unet", mirror_axes=(), subject="")


def case_with_bone(shape=(24, 31, 36)):
    rng = np.random.default_rng(3)
    case = rng.normal(0, 60, shape).astype(np.int16)
    case[6:20, 8:22, 10:30] += 900
    case[:, :, -3:] = -1024
    return case


def of_nnunet(case, spacing, plans):
    manager = PlansManager(plans)
    properties = {"spacing": list(spacing)}
    image, _, properties = DefaultPreprocessor(verbose=False).run_case_npy(
        case[None].astype(np.float32), None, properties, manager, manager.get_configuration("3d_fullres"), DATASET)
    return image[0], properties


@pytest.mark.parametrize(("spacing", "plan_spacing", "order"), CASES)
def test_a_window_holds_the_very_numbers_of_nnunets_preprocessor(spacing, plan_spacing, order):
    plans, facts = planned(plan_spacing, order)
    case = case_with_bone()
    case[:2] = 0  # exact zeros at the border, which nnU-Net cuts off
    expected, _ = of_nnunet(case, spacing, plans)
    grid = PlanGrid(facts, spacing, nonzero_box(case))
    assert grid.shape == expected.shape
    limits = IntensityLimits.of_case(case, grid)
    whole = grid.image_window(grid.whole, lambda box: case[box.slices], limits)
    np.testing.assert_allclose(whole, expected, atol=2e-5)
    window = Box((2, 3, 4), tuple(size - 3 for size in grid.shape))
    part = grid.image_window(window, lambda box: case[box.slices], limits)
    np.testing.assert_allclose(part, expected[window.slices], atol=2e-5)


@pytest.mark.parametrize(("spacing", "plan_spacing", "order"), CASES)
def test_logits_come_back_as_nnunet_resamples_them(spacing, plan_spacing, order):
    plans, facts = planned(plan_spacing, order)
    case = case_with_bone()
    _, properties = of_nnunet(case, spacing, plans)
    grid = PlanGrid(facts, spacing, nonzero_box(case))
    logits = np.random.default_rng(4).normal(size=grid.shape).astype(np.float32)
    configuration = PlansManager(plans).get_configuration("3d_fullres")
    expected = configuration.resampling_fn_probabilities(
        logits[None], properties["shape_after_cropping_and_before_resampling"], facts.spacing_mm,
        [spacing[axis] for axis in order])[0].transpose(facts.transpose_backward)
    assert grid.case_box(grid.whole) == Box((0, 0, 0), case.shape)
    np.testing.assert_allclose(grid.on_case(logits, grid.whole), expected, atol=2e-6)
    window = Box((1, 2, 3), tuple(size - 2 for size in grid.shape))
    box = grid.case_box(window)
    np.testing.assert_allclose(grid.on_case(logits[window.slices], window), expected[box.slices], atol=2e-6)


def test_a_window_covers_its_box_and_is_no_smaller_than_a_patch_where_the_case_is():
    _, facts = planned((3.0, 3.0, 3.0), (0, 1, 2))
    grid = PlanGrid(facts, (3.0, 1.5, 1.5), Box((0, 0, 0), (40, 80, 20)))
    assert grid.shape == (40, 40, 10)  # 80 x 1.5 / 3, 20 x 1.5 / 3
    window = grid.window_around(Box((30, 20, 0), (38, 30, 6)), at_least=(16, 16, 16))
    assert window.shape == (16, 16, 10)
    assert window.start[0] <= 30
    assert window.stop[0] >= 38
    inside = grid.case_box(window)
    assert all(low <= wanted for low, wanted in zip(inside.start, (30, 20, 0), strict=True))
    assert all(high >= wanted for high, wanted in zip(inside.stop, (38, 30, 6), strict=True))


def test_another_resampler_is_refused():
    plans = tiny_plans("unet")
    configuration = plans["configurations"]["3d_fullres"]
    configuration["resampling_fn_data"] = "resample_torch_fornnunet"
    configuration["resampling_fn_data_kwargs"] = {"is_seg": False, "force_separate_z": None}
    facts = read_inference_facts(plans, DATASET, family="unet", mirror_axes=(), subject="")
    with pytest.raises(UsageError, match="resample_torch_fornnunet"):
        PlanGrid(facts, (1.0, 1.0, 1.0), Box((0, 0, 0), (8, 8, 8)))
