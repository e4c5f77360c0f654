from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from femur_nnunet.cohort import (
    COLUMN_DESCRIPTIONS,
    SCAN_COLUMNS,
    ScanRecord,
    read_scans_table,
    write_participants_table,
    write_scans_table,
)
from femur_nnunet.errors import FemurError

RECORD = ScanRecord("tulane_0000000a_v01_r", "sub-0000000a", "tulane", 1, "right", True, True, "train", sex="F",
                    age_years=71.5, kvp=120.0, kernel="B30f\tsoft", density_unit="K2HPO4", density_slope=0.78)


def test_the_table_comes_back_as_it_was_written(tmp_path):
    other = ScanRecord("rochester_0000000b_v02_b", "sub-0000000b", "rochester", 2, "both", False, False, "test")
    write_scans_table(tmp_path / "scans.tsv", [RECORD, other])
    assert read_scans_table(tmp_path / "scans.tsv") == [other, replace(RECORD, kernel="B30f soft")]


def test_every_column_has_a_description_in_the_sidecar(tmp_path):
    write_scans_table(tmp_path / "scans.tsv", [RECORD])
    sidecar = json.loads((tmp_path / "scans.json").read_text())
    assert tuple(sidecar) == SCAN_COLUMNS == tuple(COLUMN_DESCRIPTIONS)
    assert sidecar["kvp"]["Units"] == "kV"


def test_a_missing_value_is_written_as_na(tmp_path):
    write_scans_table(tmp_path / "scans.tsv", [replace(RECORD, kvp=None, age_years=float("nan"))])
    row = (tmp_path / "scans.tsv").read_text().splitlines()[1].split("\t")
    assert row[SCAN_COLUMNS.index("kvp")] == row[SCAN_COLUMNS.index("age_years")] == "n/a"


@pytest.mark.parametrize(("old", "new", "message"), [
    ("\ttrue\ttrue\t", "\tyes\ttrue\t", "'yes' in column laterality_flipped"),
    ("\ttrain\t", "\tvalidation\t", "'validation' in column role"),
    ("\t71.5\t", "\told\t", "'old' in column age_years"),
    ("\tsub-0000000a\t", "\tsub-0000000b\t", "participant_id 'sub-0000000b'"),
    ("\tsub-0000000a\t", "\tn/a\t", "nothing in column participant_id"),
])
def test_a_value_that_its_column_does_not_allow_is_refused(tmp_path, old, new, message):
    path = tmp_path / "scans.tsv"
    write_scans_table(path, [RECORD])
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(FemurError, match=message):
        read_scans_table(path)


def test_a_case_twice_is_refused_with_its_line(tmp_path):
    path = tmp_path / "scans.tsv"
    write_scans_table(path, [RECORD])
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    with pytest.raises(FemurError, match=r"scans\.tsv line 3: found case tulane_0000000a_v01_r twice"):
        read_scans_table(path)


def test_a_missing_table_says_what_to_do(tmp_path):
    with pytest.raises(FemurError, match="run convert_qct_sites"):
        read_scans_table(tmp_path / "scans.tsv")


@given(age=st.floats(0, 120))
def test_ages_of_89_and_over_are_not_told_apart(tmp_path_factory, age):
    path = tmp_path_factory.mktemp("p") / "participants.tsv"
    write_participants_table(path, [replace(RECORD, age_years=age)])
    written = path.read_text().splitlines()[1].split("\t")[3]
    assert written == "89+" if age >= 89 else float(written) == pytest.approx(age, rel=1e-4)
