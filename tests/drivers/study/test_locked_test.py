from __future__ import annotations

from dataclasses import replace

import pytest

from femur_nnunet.drivers.study.locked_test import Choice, claim_test_set, read_uses
from femur_nnunet.errors import UsageError

CHOICE = Choice("VNetDiceL2Trainer", "P1", "w=1", "plan", "splits")


def test_the_same_choice_may_come_back(tmp_path):
    path = tmp_path / "results" / "uses.json"
    assert [claim_test_set(path, CHOICE, again=False) for _ in range(2)] == [1, 1]
    assert len(read_uses(path)) == 1


@pytest.mark.parametrize("changed", [{"plans": "P2"}, {"plan_sha256": "other"}, {"splits_sha256": "other"}])
def test_another_choice_is_refused_unless_asked_for_and_is_counted_for_good(tmp_path, changed):
    path = tmp_path / "uses.json"
    claim_test_set(path, CHOICE, again=False)
    other = replace(CHOICE, **changed)
    with pytest.raises(UsageError, match=r"has seen with P1 \(w=1, "):
        claim_test_set(path, other, again=False)
    assert len(read_uses(path)) == 1
    assert claim_test_set(path, other, again=True) == 2
    assert claim_test_set(path, CHOICE, again=False) == 2


def test_another_trainer_has_its_own_use(tmp_path):
    path = tmp_path / "uses.json"
    claim_test_set(path, CHOICE, again=False)
    assert claim_test_set(path, replace(CHOICE, trainer="TransUNetTrainer"), again=False) == 1
