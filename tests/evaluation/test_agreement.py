from __future__ import annotations

import csv

import pytest
from evaluation_cohort import case_row

from femur_nnunet.evaluation.agreement import AGREEMENT_COLUMNS, measure_agreement, write_agreement
from femur_nnunet.evaluation.case_status import CaseStatus

VOLUMES = ((100.0, 101.0), (120.0, 121.0), (140.0, 141.0), (160.0, 161.0))


def rows():
    pairs = [case_row(f"tulane_{number:08x}_v01_l", sex="FM"[number % 2], volume_ref_ml=reference,
                      volume_pred_ml=measured) for number, (reference, measured) in enumerate(VOLUMES)]
    missed = case_row("tulane_000000ff_v01_l", status=CaseStatus.MISSED, volume_ref_ml=130.0, volume_pred_ml=0.0)
    return [*pairs, missed]


def find(table, quantity="volume_ml", site="tulane", sex="all"):
    (found,) = [row for row in table if (row.quantity, row.site, row.sex) == (quantity, site, sex)]
    return found


def test_the_columns_begin_and_end_as_the_design_says():
    assert AGREEMENT_COLUMNS[:10] == ("arm", "quantity", "region", "site", "sex", "n", "n_missed", "bias",
                                      "bias_ci95_low", "bias_ci95_high")
    # The design's last columns, and the unit, without which a bias of density says nothing.
    assert AGREEMENT_COLUMNS[-3:] == ("tost_margin", "tost_p", "unit")
    assert {"loa_low", "loa_high", "slope", "intercept", "r2", "pearson_r", "p_value", "ccc", "icc_2_1", "icc_3_1",
            "icc_3_1_ci95_high"} <= set(AGREEMENT_COLUMNS)


def test_a_missed_femur_is_counted_but_its_volume_of_zero_is_no_measurement():
    row = find(measure_agreement(rows(), resamples=50, seed=0, tost_margin_ml=2.0))
    assert (row.n, row.n_missed) == (4, 1)
    assert row.estimates["bias"].value == pytest.approx(1.0)
    assert row.estimates["slope"].value == pytest.approx(1.0)
    assert row.estimates["intercept"].value == pytest.approx(1.0)
    # SSE = 4, SST = 2000.
    assert row.estimates["r2"].value == pytest.approx(1 - 4 / 2000)
    assert row.tost_p == 0


def test_hips_of_a_participant_are_averaged_over_the_same_rows():
    both = [case_row("tulane_0000000a_v01_l", volume_ref_ml=100.0, volume_pred_ml=110.0),
            case_row("tulane_0000000a_v01_r", volume_ref_ml=200.0, volume_pred_ml=190.0),
            case_row("tulane_0000000b_v01_l", volume_ref_ml=150.0, volume_pred_ml=153.0)]
    row = find(measure_agreement(both, resamples=10, seed=0))
    assert row.n == 2
    assert row.estimates["bias"].value == pytest.approx(1.5)


def test_the_table_is_written_with_a_row_for_each_group_and_quantity(tmp_path):
    table = measure_agreement(rows(), resamples=10, seed=0)
    write_agreement(tmp_path / "agreement.csv", table)
    with (tmp_path / "agreement.csv").open(newline="") as handle:
        written = list(csv.DictReader(handle))
    assert len(written) == 2 * 2 * 3  # quantities, sites (tulane, all), sexes
    assert {row["region"] for row in written} == {"total"}
    assert find(table, sex="F").n == 2
    assert find(table, "volume_ml_fair").n == 0
