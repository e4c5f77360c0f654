from __future__ import annotations

import math

import pytest

from femur_nnunet.evaluation.case_status import STATUS_RULES, CaseStatus, Outcome
from femur_nnunet.evaluation.metric_catalogue import METRICS, score


def test_every_status_has_a_rule_with_a_meaning():
    assert set(STATUS_RULES) == set(CaseStatus)
    assert all(rule.meaning for rule in STATUS_RULES.values())


@pytest.mark.parametrize("status", list(CaseStatus))
def test_no_status_but_ok_can_carry_a_flattering_value(status):
    perfect = {metric.name: 1.0 if metric.better == "higher" else 0.0 for metric in METRICS}
    outcome = STATUS_RULES[status].outcome
    values = score(outcome, perfect, diagonal_mm=500.0)
    for metric in METRICS:
        value = values[metric.name]
        if outcome is Outcome.MEASURED:
            assert value == perfect[metric.name]
        elif metric.better == "higher":
            assert value == 0 or math.isnan(value)
        elif metric.better == "lower":
            assert value == 500.0 or math.isnan(value)


def test_whatever_lacks_a_usable_prediction_counts_as_missed_and_fails():
    for rule in STATUS_RULES.values():
        assert rule.counts_as_missed == (rule.outcome is Outcome.MISSED)
        assert rule.is_failure or not rule.counts_as_missed
