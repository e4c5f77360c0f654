from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_cohort import tiny_options, write_tiny_site

from femur_nnunet.dataset_conversion.convert import convert
from femur_nnunet.dataset_conversion.participant_ids import participant_digits, read_given_ids
from femur_nnunet.errors import UsageError


def write_ids(path: Path, *rows: str, header: str = "site,participant_id,id") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_short_ids_are_filled_up_and_letters_are_made_small(tmp_path: Path) -> None:
    path = write_ids(tmp_path / "ids.csv", "oslo,P0,1042", "oslo,P1,sub-00AB12cd", "bergen,P0,1043")

    assert read_given_ids(path) == {("oslo", "P0"): "00001042", ("oslo", "P1"): "00ab12cd",
                                    ("bergen", "P0"): "00001043"}


@pytest.mark.parametrize(("rows", "told"), [
    (["oslo,P0,Jane"], "row 2 .*an id of another form"), (["oslo,P0,123456789"], "another form"),
    (["oslo,P0,"], "an empty cell"), (["oslo,P0,1", "oslo,P1,01"], "row 3 .*stands in an earlier row"),
    (["oslo,P0,1", "oslo,P0,2"], "row 3 .*stands in an earlier row"),
])
def test_a_bad_table_of_ids_is_refused_by_its_row_alone(tmp_path: Path, rows: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        read_given_ids(write_ids(tmp_path / "ids.csv", *rows))
    assert "Jane" not in str(caught.value)


def test_a_table_that_is_absent_or_lacks_a_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_given_ids(tmp_path / "absent.csv")
    with pytest.raises(UsageError, match="without these columns"):
        read_given_ids(write_ids(tmp_path / "ids.csv", "a,b", header="site,id"))


def test_own_ids_stand_in_every_table_and_a_person_without_one_is_refused(tmp_path: Path) -> None:
    table = write_tiny_site(tmp_path / "site")
    ids = write_ids(tmp_path / "ids.csv", "oslo,P0,1042", "oslo,P1,7", "oslo,P2,abc")
    options = replace(tiny_options(table, tmp_path / "raw"), own_ids=ids)

    summary = convert(options)

    assert {record.participant_id for record in summary.records} == {"sub-00001042", "sub-00000007", "sub-00000abc"}
    assert summary.errors == ["manifest row 5: found a participant whom the table of ids lacks; expected every "
                              "participant in it; add the participant to the table behind --own-ids."]
    assert (options.dataset_folder / "imagesTr" / "oslo_00001042_v01_l_0000.nii.gz").exists()


def test_own_ids_and_keyed_hashes_do_not_mix_in_one_dataset(tmp_path: Path) -> None:
    table = write_tiny_site(tmp_path / "site")
    options = tiny_options(table, tmp_path / "raw")
    convert(options)

    with pytest.raises(UsageError, match="your own ids and keyed hashes"):
        convert(replace(options, own_ids=write_ids(tmp_path / "ids.csv", "oslo,P0,1")))


def test_without_a_table_the_digits_are_the_keyed_hash() -> None:
    assert participant_digits(b"k" * 32, None, "oslo", "P0") != participant_digits(b"k" * 32, None, "oslo", "P1")
    assert participant_digits(b"k" * 32, {}, "oslo", "P0") is None


def test_one_id_for_people_of_two_sites_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "ids.csv"
    table.write_text("site,participant_id,id\ntulane,Ann,1\nrochester,Bob,1\n")
    with pytest.raises(UsageError, match="row 3"):
        read_given_ids(table)
