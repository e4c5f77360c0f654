from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from femur_nnunet.phantom.anatomy import Participant, draw_participant, with_findings
from femur_nnunet.phantom.findings import Findings, FindingShares, draw_findings
from femur_nnunet.phantom.tiers import load_tiers


def test_shares_come_out_as_asked() -> None:
    shares = FindingShares(osteoarthritis=0.3, osteoporosis=0.2, implant=0.1, calcified_vessels=0.4,
                           bladder_contrast=0.05)
    drawn = [draw_findings(60, shares, seed) for seed in range(4000)]
    # Four standard errors of a share p of 4000 are 4 sqrt(p (1 - p) / 4000), at most 0.03.
    assert np.mean([f.osteoporosis for f in drawn]) == pytest.approx(0.2, abs=0.03)
    assert np.mean([f.implant is not None for f in drawn]) == pytest.approx(0.1, abs=0.02)
    assert np.mean([f.calcified_vessels for f in drawn]) == pytest.approx(0.4, abs=0.03)
    assert np.mean([f.bladder_contrast for f in drawn]) == pytest.approx(0.05, abs=0.015)
    assert {f.implant_side for f in drawn} == {None, "left", "right"}


def test_a_default_cohort_of_twelve_usually_has_none_or_one_with_disease_or_metal() -> None:
    def count(cohort: int) -> int:
        drawn = [draw_findings(60, FindingShares(), 100 * cohort + n) for n in range(12)]
        return sum(bool(f.osteoarthritis or f.osteoporosis or f.implant) for f in drawn)

    # With 8 % each, none or one of twelve has a chance of .92^12 + 12 * .08 * .92^11 = .75.
    assert np.mean([count(cohort) <= 1 for cohort in range(400)]) == pytest.approx(0.75, abs=0.09)


def test_the_young_have_no_calcium_in_their_vessels() -> None:
    shares = FindingShares(calcified_vessels=0.5)
    assert not any(draw_findings(45, shares, seed).calcified_vessels for seed in range(300))


def test_findings_change_bone_and_joint_and_nothing_else(participant: Participant) -> None:
    ill = with_findings(participant, Findings(osteoarthritis="right", osteoporosis=True))
    assert ill.bone.neck_trabecular_mg_cc == pytest.approx(0.74 * participant.bone.neck_trabecular_mg_cc)
    # The gap is narrowed to 0.45 of itself, but not below the clearance of 1.8 mm that is drawn at least.
    assert ill.femora["right"].joint_gap_mm == max(0.45 * participant.femora["right"].joint_gap_mm, 1.8)
    assert ill.femora["left"] == participant.femora["left"]
    assert ill.body == participant.body
    assert ill.texture_seed == participant.texture_seed


def test_a_share_changes_nobody_s_anatomy() -> None:
    population = load_tiers().population
    plain, metal = (draw_participant("F", replace(population, implant_share=share, osteoporosis_share=0.0,
                                                  osteoarthritis_share=0.0), np.random.default_rng(3))
                    for share in (0.0, 1.0))
    assert metal.findings.implant is not None
    assert (plain.femora, plain.bone, plain.body) == (metal.femora, metal.bone, metal.body)
