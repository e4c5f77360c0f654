from __future__ import annotations

import pytest

from femur_nnunet.cohort import ScanRecord
from femur_nnunet.dataset_conversion.strata import Participant, age_band, participants_of


@pytest.mark.parametrize(("age_years", "band"), [
    (None, "n/a"), (float("nan"), "n/a"), (20, "<50"), (49.9, "<50"), (50, "50-59"), (69.9, "60-69"), (79, "70-79"),
    (80, "80+"), (89, "80+")])
def test_ages_fall_into_decades(age_years: float | None, band: str) -> None:
    assert age_band(age_years) == band


def test_a_participant_has_the_age_of_the_first_visit() -> None:
    records = [ScanRecord(f"tulane_0000000a_v{visit:02d}_{side[0]}", "sub-0000000a", "tulane", visit, side, False,
                          True, "train", sex="F", age_years=age)
               for visit, age in ((2, 60.5), (1, 59.5)) for side in ("left", "right")]
    assert participants_of(records) == [Participant("sub-0000000a", "tulane", "F", "50-59")]
