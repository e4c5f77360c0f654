from __future__ import annotations

import re

import box_model

from femur_nnunet.case_ids import SITE_PATTERN
from femur_nnunet.randomised.ranges import load_ranges


def test_every_level_is_a_site_of_its_own_and_fixes_only_what_is_drawn() -> None:
    levels, ranges = list(box_model.levels()), load_ranges()
    sites = [site for _, _, site, _ in levels]
    assert len(set(sites)) == len(sites)
    assert all(re.fullmatch(SITE_PATTERN, site) for site in sites)
    assert {factor for factor, *_ in levels} >= {"slice", "density", "kernel", "dose", "truncation", "metal"}
    for *_, fixed in levels:
        assert all(ranges[name].holds(value) for name, value in fixed.items())


def test_a_row_gives_mean_median_and_worst_of_its_level_and_counts_the_missed() -> None:
    cases = [{"site": "f0l0", "participant_id": person, "status": status, "dice": dice, "hd95_mm": distance,
              "assd_mm": distance, "swapped": swapped, "bundle_sha256": "70ee"}
             for person, status, dice, distance, swapped in (
        ("a", "ok", 0.98, 1.0, False), ("b", "ok", 0.96, 3.0, True), ("b", "missed", 0.0, float("nan"), False))]
    row = box_model.table(cases)[0]
    assert (row["hips"], row["subjects"], row["missed"], row["swapped"]) == (3, 2, 1, 1)
    assert (row["dice_median"], row["dice_worst"]) == (0.96, 0.0)
    # A missed femur has no distance: the mean is over those found, and the count stands beside it.
    assert (row["hd95_mm_mean"], row["hd95_mm_worst"]) == (2.0, 3.0)
