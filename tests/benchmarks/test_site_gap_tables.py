from __future__ import annotations

import csv
import sys

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
                              "tiers_sha256": tier_hash()[:12], "kit_version": KIT_VERSION, "commit": "abc"}
                             for side in "lr"]
    path = tmp_path / "cases.csv"
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_means_are_over_participants_of_all_seeds(cases):
    table = site_gap_tables.site_table(site_gap_tables.read_rows(cases, "moderate", SEEDS, "raw"))
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


def test_rows_of_other_tiers_masks_and_kits_are_not_read(cases):
    for tier, seeds, masks in (("severe", SEEDS, "raw"), ("moderate", (3,), "raw"),
                               ("moderate", SEEDS, "largest_component")):
        with pytest.raises(FemurError, match=r"run benchmarks/site_gap\.py"):
            site_gap_tables.read_rows(cases, tier, seeds, masks)
    cases.write_text(cases.read_text().replace(tier_hash()[:12], "000000000000"))
    with pytest.raises(FemurError):
        site_gap_tables.read_rows(cases, "moderate", SEEDS, "raw")
