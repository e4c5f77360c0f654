from __future__ import annotations

import numpy as np
import pytest

from femur_nnunet.phantom.anatomy import draw_participant
from femur_nnunet.phantom.tiers import load_tiers


def test_women_s_heads_are_smaller_and_old_people_s_bone_is_less_dense() -> None:
    population = load_tiers().population
    rng = np.random.default_rng(150)
    women = [draw_participant("F", population, rng) for _ in range(150)]
    men = [draw_participant("M", population, rng) for _ in range(150)]
    radii = [np.mean([p.femora["left"].head_radius_mm for p in group]) for group in (women, men)]
    assert radii[0] == pytest.approx(21.0, abs=0.4)
    assert radii[1] == pytest.approx(24.3, abs=0.4)
    ages = np.array([p.age_years for p in women])
    density = np.array([p.bone.head_trabecular_mg_cc for p in women])
    assert np.corrcoef(ages, density)[0, 1] < -0.2


def test_head_radii_of_both_sexes_together_spread_as_on_the_label_maps() -> None:
    population, rng = load_tiers().population, np.random.default_rng(151)
    radii = [draw_participant(sex, population, rng).femora["left"].head_radius_mm
             for _ in range(200) for sex in ("F", "M")]
    # 22.5 mm with a standard deviation of 2.3 mm on 44 real hips.
    assert np.mean(radii) == pytest.approx(22.5, abs=0.5)
    assert np.std(radii) == pytest.approx(2.3, abs=0.45)


def test_left_and_right_differ_slightly() -> None:
    population, rng = load_tiers().population, np.random.default_rng(152)
    pairs = [draw_participant("F", population, rng).femora for _ in range(60)]
    difference = np.array([pair["left"].head_radius_mm - pair["right"].head_radius_mm for pair in pairs])
    assert 0 < np.abs(difference).max() < 1.2


def test_an_older_sparser_population_has_less_bone() -> None:
    def mean_density(tier: str) -> float:
        population = load_tiers(population=tier).population
        return float(np.mean([draw_participant("F", population, np.random.default_rng([153, n])
                                               ).bone.neck_trabecular_mg_cc for n in range(80)]))

    assert mean_density("none") > mean_density("moderate") > mean_density("severe")


def test_the_same_generator_state_gives_the_same_person() -> None:
    population = load_tiers().population
    assert draw_participant("M", population, np.random.default_rng(154)) == draw_participant(
        "M", population, np.random.default_rng(154))
