from __future__ import annotations

import pytest
import torch

from femur_nnunet.adaptation.target_score import TargetScore, combined_score, perturbed, target_score

PATCHES = torch.zeros(2, 1, 4, 4, 4)
PATCHES[:, :, :2] = 1.0
VIEWS = PATCHES + 0.1


def bright(patches):
    return patches[:, 0] > 0.5


def test_a_network_that_finds_the_expected_share_in_both_views_scores_one():
    found = target_score(bright, PATCHES, VIEWS, expected_share=0.5)
    assert found == TargetScore(agreement=1.0, plausibility=1.0)


@pytest.mark.parametrize(("predict", "expected_share", "plausibility"), [
    (bright, 0.25, 0.5), (bright, 1.0, 0.5), (lambda p: torch.ones_like(p[:, 0], dtype=torch.bool), 0.1, 0.1)])
def test_too_much_and_too_little_femur_are_equally_implausible(predict, expected_share, plausibility):
    assert target_score(predict, PATCHES, VIEWS, expected_share).plausibility == pytest.approx(plausibility)


def test_a_network_that_finds_nothing_agrees_with_itself_but_scores_zero():
    found = target_score(lambda p: torch.zeros_like(p[:, 0], dtype=torch.bool), PATCHES, VIEWS, 0.5)
    assert found.value == 0.0


def test_agreement_is_the_dice_between_both_views():
    # In the views only the first of the two bright slices lies above the threshold.
    views = PATCHES.clone()
    views[:, :, 1] = 0.0
    assert target_score(bright, PATCHES, views, 0.5).agreement == pytest.approx(2 * 16 / (32 + 16))


def test_perturbed_views_are_the_same_every_time_and_draw_no_global_number():
    torch.manual_seed(3)
    patches = torch.randn(4, 1, 6, 6, 6)
    state = torch.get_rng_state()
    assert torch.equal(perturbed(patches), perturbed(patches))
    assert torch.equal(torch.get_rng_state(), state)


def test_perturbation_changes_contrast_and_brightness_by_what_it_says():
    patches = torch.randn(2, 1, 24, 24, 24) * 5.0
    views = perturbed(patches)
    assert (views.mean(dim=(1, 2, 3, 4)) - patches.mean(dim=(1, 2, 3, 4))).tolist() == pytest.approx([0.1, -0.1],
                                                                                                     abs=0.01)
    assert (views.std(dim=(1, 2, 3, 4)) / patches.std(dim=(1, 2, 3, 4))).tolist() == pytest.approx([1.15, 0.85],
                                                                                                    abs=0.01)


def test_the_combined_score_weighs_the_last_three_dice_against_the_target():
    target = TargetScore(agreement=0.8, plausibility=0.5)
    assert combined_score([0.1, 0.6, 0.7, 0.8], target, 0.25) == pytest.approx(0.25 * 0.7 + 0.75 * 0.4)
