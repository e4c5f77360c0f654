from __future__ import annotations

import csv
import sys
from dataclasses import replace

import pytest
import site_gap_tables

from femur_nnunet.errors import FemurError
from femur_nnunet.phantom.cohort_plan import KIT_VERSION
from femur_nnunet.phantom.tiers import tier_hash

# Dice of each arm at Rochester; at Tulane all have 0.97.
DICE = {"source_only": 0.90, "nnunet_aug": 0.94, "grl_mmd": 0.95, "oracle": 0.98}
PEOPLE, SEEDS = 10, (1, 2)


@pytest.fixture
def cases(tmp_path):
    rows = []
    for arm, dice in DICE.items():
        for seed in SEEDS:
            for site in ("tulane", "rochester"):
                for number in range(PEOPLE):
                    # People differ, by the same in every arm.
                    value = (dice if site == "rochester" else 0.97) + 0.001 * (number - (PEOPLE - 1) / 2)
                    rows += [{"arm": arm, "tier": "moderate", "seed": seed, "masks": "raw",
                              "case_id": f"{site}_{number:08x}_v01_{side}",
                              "participant_id": f"sub-{site[0]}{number:07x}",
                              "site": site, "sex": "F", "status": "ok", "dice": value, "hd95_mm": 2.0,
                              "assd_mm": 10 * (1 - value), "contour_distance_mm": 1.0, "surface_roughness_mm": "n/a",
                              "anatomy": "analytic", "preset": "cpu", "settings_sha256": arm, "steps": 300,
                              "tiers_sha256": tier_hash()[:12], "kit_version": KIT_VERSION, "commit": "abc"}
                             for side in "lr"]
    path = tmp_path / "cases.csv"
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


MODERATE = site_gap_tables.Cohort("moderate", SEEDS)


def test_means_are_over_participants_of_all_seeds(cases):
    table = site_gap_tables.site_table(site_gap_tables.read_rows(cases, MODERATE))
    lines = {line[0]: dict(zip(table[0], line, strict=True)) for line in table[1:]}
    assert list(lines) == list(DICE)
    assert lines["grl_mmd"]["dice rochester"] == "0.9500"
    assert lines["grl_mmd"]["dice tulane"] == "0.9700"
    # Ten people a site and seed: the same id in two cohorts is two people.
    assert lines["grl_mmd"]["participants"] == str(2 * PEOPLE * len(SEEDS))


def test_the_gap_closed_is_given_against_both_bases(cases, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["site_gap_tables.py", "--cases", str(cases), "--seeds", "1", "2", "--out",
                                      str(tmp_path), "--picture", str(tmp_path / "x.png"), "--resamples", "200"])
    site_gap_tables.main()
    printed = capsys.readouterr().out
    with (tmp_path / "site_gap_compare.csv").open() as handle:
        rows = {(row["site"], row["metric"], row["arm_a"], row["arm_b"]): row for row in csv.DictReader(handle)}
    against = rows["rochester", "dice", "source_only", "grl_mmd"]
    assert float(against["gap_closed"]) == pytest.approx((0.95 - 0.90) / (0.98 - 0.90))
    assert int(against["n"]) == 20
    assert float(rows["rochester", "dice", "nnunet_aug", "grl_mmd"]["gap_closed"]) == pytest.approx(0.01 / 0.04)
    assert float(rows["tulane", "dice", "source_only", "grl_mmd"]["difference"]) == pytest.approx(0, abs=1e-12)
    assert "| source_only | grl_mmd | dice | +0.0500" in printed
    # HD95 is the same in every arm: there is no gap to close.
    assert "| source_only | grl_mmd | hd95_mm | +0.0000 (+0.0000 to +0.0000) | 1.000 | no gap |" in printed
    assert (tmp_path / "x.png").stat().st_size > 5000


def test_rows_of_other_cohorts_masks_and_kits_are_not_read(cases):
    for other in (replace(MODERATE, tier="severe"), replace(MODERATE, seeds=(3,)),
                  replace(MODERATE, masks="largest_component"), replace(MODERATE, anatomy="label_maps"),
                  replace(MODERATE, preset="gpu24")):
        assert site_gap_tables.read_rows(cases, other) == []
    assert site_gap_tables.measured_cohorts(cases, SEEDS, "cpu") == [("moderate", "analytic")]
    cases.write_text(cases.read_text().replace(tier_hash()[:12], "000000000000"))
    with pytest.raises(FemurError, match=r"run benchmarks/site_gap\.py"):
        site_gap_tables.measured_cohorts(cases, SEEDS, "cpu")


def test_arms_of_unequal_steps_or_two_settings_are_refused(cases):
    text = cases.read_text()
    cases.write_text(text.replace("oracle,300", "oracle,600"))
    with pytest.raises(FemurError, match="arms of 300, 600 steps"):
        site_gap_tables.read_rows(cases, MODERATE)
    cases.write_text(text.replace("oracle,300", "other,300", 1))
    with pytest.raises(FemurError, match="oracle with the settings oracle and other"):
        site_gap_tables.read_rows(cases, MODERATE)


def test_the_probes_accuracy_is_the_mean_over_cohorts(tmp_path):
    path = tmp_path / "site_gap_probe.csv"
    lines = ["arm,tier,seed,anatomy,preset,settings_sha256,kit_version,tiers_sha256,accuracy,chance,p_value"]
    lines += [f"grl,moderate,{seed},analytic,cpu,x,{KIT_VERSION},{tier_hash()[:12]},{accuracy},0.5,{p}"
              for seed, accuracy, p in ((1, 0.9, 0.01), (2, 0.7, 0.02), (3, 0.1, 0.5))]
    path.write_text("\n".join(lines) + "\n")
    assert site_gap_tables.probe_table(path, MODERATE)[1:] == [["grl", "0.800", "0.5", "0.0100, 0.0200"]]
    assert len(site_gap_tables.probe_table(tmp_path / "absent.csv", MODERATE)) == 1
