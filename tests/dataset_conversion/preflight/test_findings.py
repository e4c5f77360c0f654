from __future__ import annotations

from pathlib import Path

import pytest

from femur_nnunet.dataset_conversion.preflight.findings import CHECKS, Finding, Verdict, go, look, stop, worst

DOCUMENTATION = Path(__file__).resolve().parents[3] / "docs" / "preflight.md"


def test_the_worst_verdict_wins_and_nothing_is_go():
    assert worst([go("metal"), stop("metal", "a", "b"), look("metal", "a", "b")]) == Verdict.STOP
    assert worst([]) == Verdict.GO


def test_an_unknown_check_is_a_mistake_of_the_programmer():
    with pytest.raises(ValueError, match="colour"):
        Finding("colour", Verdict.GO)


@pytest.mark.parametrize("check", CHECKS)
def test_every_check_is_described(check):
    assert f"| {check} |" in DOCUMENTATION.read_text(encoding="utf-8")
