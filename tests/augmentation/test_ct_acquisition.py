from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.pseudo2d import Convert2DTo3DTransform
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

import femur_nnunet
from femur_nnunet.augmentation.ct_acquisition import (
    CTAcquisitionTransform,
    CTNormalisation,
    CTStrengths,
    with_ct_acquisition,
)
from femur_nnunet.errors import UsageError
from femur_nnunet.plan_settings import AugmentationSettings

SCAN = CTNormalisation(mean_hu=300.0, sd_hu=250.0, lowest_hu=-200.0, highest_hu=1500.0)


def transform(**settings) -> CTAcquisitionTransform:
    return CTAcquisitionTransform(AugmentationSettings(**settings), SCAN, (3.0, 1.0, 1.0), 0)


def normalised(hu) -> torch.Tensor:
    return ((torch.as_tensor(hu, dtype=torch.float32)).clamp(SCAN.lowest_hu, SCAN.highest_hu) - 300.0) / 250.0


def hu_after(patch_hu, strengths: CTStrengths, **settings) -> torch.Tensor:
    changed = transform(**settings)._apply_to_image(normalised(patch_hu), strengths=strengths)
    return changed * 250.0 + 300.0


def test_water_and_bone_have_the_asked_hu():
    patch = torch.zeros(1, 4, 8, 8)
    patch[:, 2:] = 1050.0
    after = hu_after(patch, CTStrengths(bone_scale=0.8, offset_hu=20.0))
    # Water 0 + 20; bone 50 + 0.8 * 1000 + 20.
    assert torch.allclose(after[:, :2], torch.tensor(20.0), atol=1e-3)
    assert torch.allclose(after[:, 2:], torch.tensor(870.0), atol=1e-3)


def test_noise_has_the_asked_sd_in_hu_and_clipped_voxels_have_none():
    torch.manual_seed(1)
    patch = torch.zeros(1, 24, 48, 48)
    patch[..., 24:] = -1000.0
    after = hu_after(patch, CTStrengths(noise_hu=30.0, noise_peak_per_mm=0.3))
    assert float(after[..., :24].std()) == pytest.approx(30.0, rel=0.03)
    assert torch.allclose(after[..., 24:], torch.tensor(-200.0), atol=1e-3)


def test_slices_are_averaged_in_mm_of_the_patch():
    patch = torch.zeros(1, 7, 8, 8)
    patch[0, 3] = 800.0
    after = hu_after(patch, CTStrengths(slice_thickness_mm=6.0))
    # Slices of 3 mm, box of 6 mm: half of the middle slice and a quarter of each neighbour.
    assert after[0, :, 4, 4].tolist() == pytest.approx([0, 0, 200, 400, 200, 0, 0], abs=0.01)


def test_values_are_clipped_as_nnunet_clips_a_scan():
    patch = torch.full((1, 2, 4, 4), 1400.0)
    assert torch.allclose(hu_after(patch, CTStrengths(bone_scale=1.5, offset_hu=0.0)), torch.tensor(1500.0))


def test_the_axis_of_slices_may_be_any():
    torch.manual_seed(0)
    patch = torch.randn(1, 6, 16, 12)
    strengths = CTStrengths(soft_fwhm_mm=2.0, slice_thickness_mm=7.0)
    first = CTAcquisitionTransform(AugmentationSettings(), SCAN, (3.0, 1.0, 0.7), 0)
    moved = CTAcquisitionTransform(AugmentationSettings(), SCAN, (1.0, 0.7, 3.0), 2)
    expected = first._apply_to_image(patch, strengths=strengths)
    assert torch.allclose(moved._apply_to_image(patch.movedim(1, 3), strengths=strengths).movedim(3, 1), expected)


def test_strengths_come_from_the_ranges_and_kernels_are_softer_or_sharper():
    torch.manual_seed(0)
    drawn = [transform(ct_probability=0.5).get_parameters()["strengths"] for _ in range(400)]
    settings = AugmentationSettings()
    for name in ("soft_fwhm_mm", "sharp_gain", "slice_thickness_mm", "bone_scale", "offset_hu", "noise_hu",
                 "noise_peak_per_mm"):
        low, high = getattr(settings, f"ct_{name}")
        values = [getattr(item, name) for item in drawn if getattr(item, name) is not None]
        share = 0.25 if name in ("soft_fwhm_mm", "sharp_gain") else 0.5
        # 400 draws: four standard errors of a share of one half are 0.1.
        assert len(values) / 400 == pytest.approx(share, abs=0.1)
        assert low <= min(values) < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < max(values) <= high
    assert not any(item.soft_fwhm_mm is not None and item.sharp_gain is not None for item in drawn)


def test_the_same_seed_gives_the_same_patch_and_the_label_stays():
    patch = torch.randn(1, 12, 16, 16)
    label = torch.randint(0, 2, (1, 12, 16, 16))
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(transform(ct_probability=1.0)(image=patch.clone(), segmentation=label.clone()))
    assert torch.equal(results[0]["image"], results[1]["image"])
    assert not torch.equal(results[0]["image"], results[2]["image"])
    assert torch.equal(results[0]["segmentation"], label)
    assert results[0]["image"].shape == patch.shape
    assert results[0]["image"].dtype == patch.dtype


def test_probability_zero_changes_nothing():
    patch = torch.randn(1, 4, 8, 8)
    assert transform(ct_probability=0.0)(image=patch)["image"] is patch


@pytest.mark.parametrize("flat", [False, True])
def test_it_comes_straight_behind_the_spatial_transforms(flat):
    stock = nnUNetTrainer.get_training_transforms((16, 16, 16), (-0.1, 0.1), None, (), flat)
    added = transform()
    steps = with_ct_acquisition(stock, added).transforms
    position = steps.index(added)
    assert isinstance(steps[position - 1], Convert2DTo3DTransform if flat else SpatialTransform)
    assert [step for step in steps if step is not added] == list(stock.transforms)


def test_the_normalisation_is_the_plans():
    statistics = {"mean": 300.0, "std": 250.0, "percentile_00_5": -200.0, "percentile_99_5": 1500.0}
    plan = {"foreground_intensity_properties_per_channel": {"0": statistics}}
    assert CTNormalisation.of_plan(plan, {"normalization_schemes": ["CTNormalization"]}) == SCAN
    with pytest.raises(UsageError, match="with the normalisation ZScoreNormalization"):
        CTNormalisation.of_plan(plan, {"normalization_schemes": ["ZScoreNormalization"]})


def test_augmentation_and_the_synthetic_kit_share_no_code():
    package = Path(femur_nnunet.__file__).parent
    for own, other in (("augmentation", "phantom"), ("phantom", "augmentation")):
        for path in (package / own).glob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
            assert not any(module.startswith(f"femur_nnunet.{other}") for module in modules), path.name


def test_settings_are_ranges():
    assert all(np.diff(getattr(AugmentationSettings(), name))[0] > 0 for name in (
        "ct_soft_fwhm_mm", "ct_sharp_gain", "ct_slice_thickness_mm", "ct_bone_scale", "ct_offset_hu", "ct_noise_hu",
        "ct_noise_peak_per_mm"))
