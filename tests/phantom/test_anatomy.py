from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from femur_nnunet.phantom.anatomy import Participant, draw_participant
from femur_nnunet.phantom.tiers import load_tiers


def test_women_s_heads_are_smaller_and_old_people_s_bone_is_less_dense() -> None:
    population = load_tiers().population
    rng = np.random.default_rng(150)
    women = [draw_participant("F", population, rng) for _ in range(150)]
    men = [draw_participant("M", population, rng) for _ in range(150)]
    radii = [np.mean([p.femora["left"].head_radius_mm for p in group]) for group in (women, men)]
    # 23.25 mm over both, men to women as 1.094 to 1: 22.21 and 24.29; the mean of 150 has an SD of 0.17.
    assert radii[0] == pytest.approx(22.2, abs=0.5)
    assert radii[1] == pytest.approx(24.3, abs=0.5)
    ages = np.array([p.age_years for p in women])
    density = np.array([p.bone.head_trabecular_mg_cc for p in women])
    assert np.corrcoef(ages, density)[0, 1] < -0.2


# Mean and SD measured on the label maps of 22 subjects (8 for what needs a shaft), as in docs/hip_anatomy.md;
# anteversion from the literature.
MEASURED = {"head_radius_mm": (23.25, 2.37), "joint_gap_mm": (3.23, 0.50), "neck_half_minor_mm": (14.66, 1.71),
            "neck_half_major_mm": (17.68, 2.26), "neck_shaft_angle_deg": (126.5, 4.75), "offset_mm": (40.3, 4.9),
            "shaft_radius_mm": (13.91, 1.31), "trochanter_height_mm": (9.9, 4.0), "trochanter_width_mm": (26.7, 4.5),
            "anteversion_deg": (14.2, 9.6)}


@pytest.fixture(scope="module")
def four_hundred() -> list[Participant]:
    population, rng = load_tiers().population, np.random.default_rng(151)
    return [draw_participant(sex, population, rng) for _ in range(200) for sex in ("F", "M")]


@pytest.mark.parametrize("name", sorted(MEASURED))
def test_four_hundred_drawn_people_have_the_measured_mean_and_spread(name: str,
                                                                     four_hundred: list[Participant]) -> None:
    values = np.array([np.mean([getattr(femur, name) for femur in person.femora.values()])
                       for person in four_hundred])
    mean, sd = MEASURED[name]
    # Three standard errors of a mean of 400; limits cut the tails by a few per cent of the SD.
    assert values.mean() == pytest.approx(mean, abs=3 * sd / 20)
    assert values.std() == pytest.approx(sd, rel=0.13)


def test_size_drives_lengths_and_varus_widens_the_offset(four_hundred: list[Participant]) -> None:
    def values(name: str) -> np.ndarray:
        return np.array([getattr(person.femora["left"], name) for person in four_hundred])

    radius = values("head_radius_mm")
    # Measured on the maps: 0.90, 0.59, 0.81; -0.64 with the neck-shaft angle. Sides blur them a little.
    assert np.corrcoef(radius, values("neck_half_minor_mm"))[0, 1] == pytest.approx(0.88, abs=0.06)
    assert np.corrcoef(radius, values("offset_mm"))[0, 1] == pytest.approx(0.58, abs=0.10)
    assert np.corrcoef(radius, values("shaft_radius_mm"))[0, 1] == pytest.approx(0.80, abs=0.08)
    assert np.corrcoef(values("neck_shaft_angle_deg"), values("offset_mm"))[0, 1] == pytest.approx(-0.6, abs=0.12)
    distance = [person.head_distance_mm for person in four_hundred]
    assert np.mean(distance) == pytest.approx(174.5, abs=1.6)
    assert np.corrcoef(radius, distance)[0, 1] == pytest.approx(0.44, abs=0.13)


def test_a_smaller_population_has_shorter_bones_and_the_same_joint_gap() -> None:
    population = load_tiers().population
    usual, small = (draw_participant("F", replace(population, bone_size_factor=factor), np.random.default_rng(154))
                    for factor in (1.0, 0.9))
    assert small.femora["left"].offset_mm == pytest.approx(0.9 * usual.femora["left"].offset_mm)
    assert small.head_distance_mm == pytest.approx(0.9 * usual.head_distance_mm)
    assert small.femora["left"].joint_gap_mm == usual.femora["left"].joint_gap_mm


def test_left_and_right_differ_slightly() -> None:
    population, rng = load_tiers().population, np.random.default_rng(152)
    pairs = [draw_participant("F", population, rng).femora for _ in range(60)]
    difference = np.array([pair["left"].head_radius_mm - pair["right"].head_radius_mm for pair in pairs])
    # Measured: SD 0.36 mm.
    assert difference.std() == pytest.approx(0.36, rel=0.35)


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
