from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from qct_sites import dataset_bytes
from tiny_cohort import tiny_options, write_tiny_site

from femur_nnunet.dataset_conversion.convert import convert
from femur_nnunet.dataset_conversion.participant_ids import participant_digits, read_given_ids
from femur_nnunet.dataset_conversion.preflight.check import check_sites
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


def test_a_quote_that_is_never_closed_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a table of ids that cannot be read \(unexpected end of data\).*close every"):
        read_given_ids(write_ids(tmp_path / "ids.csv", 'oslo,"P0,1', "oslo,P1,2"))
    with pytest.raises(UsageError, match="a table of ids that cannot be read"):
        read_given_ids(write_ids(tmp_path / "ids.csv", "oslo,P0," + "1" * 200_000))


def test_capital_letters_of_a_site_do_not_matter_and_other_signs_are_refused(tmp_path: Path) -> None:
    assert read_given_ids(write_ids(tmp_path / "ids.csv", "Oslo,P0,1", "OSLO,p0,2")) == {
        ("oslo", "P0"): "00000001", ("oslo", "p0"): "00000002"}
    with pytest.raises(UsageError, match=r"row 2 .*expected letters and digits as site"):
        read_given_ids(write_ids(tmp_path / "ids.csv", "Oslo University,P0,1"))


@pytest.mark.parametrize("rows", [
    pytest.param(["oslo,P0,9", "oslo,P1,2", "oslo,P2,3", "oslo,P3,4"], id="another id"),
    pytest.param(["oslo,P0,2", "oslo,P1,1", "oslo,P2,3", "oslo,P3,4"], id="two people change ids"),
    pytest.param(["oslo,P7,1", "oslo,P1,2", "oslo,P2,3", "oslo,P3,4"], id="the id of somebody who left the table"),
    pytest.param(["oslo,P0,1", "oslo,P1,2", "oslo,P2,9", "oslo,P3,4"], id="a new id of a test participant")])
@pytest.mark.parametrize("prune", [False, True])
def test_an_edited_table_of_ids_never_moves_a_role(tmp_path: Path, rows: list[str], prune: bool) -> None:
    table = write_tiny_site(tmp_path / "site")
    sound = ["oslo,P0,1", "oslo,P1,2", "oslo,P2,3", "oslo,P3,4"]
    ids = write_ids(tmp_path / "ids.csv", *sound)
    options = replace(tiny_options(table, tmp_path / "raw"), own_ids=ids, prune=prune)
    convert(options)
    before = dataset_bytes(options.dataset_folder)

    write_ids(ids, *rows)
    for run in (convert, check_sites):
        with pytest.raises(UsageError, match=r"another id than before, or the id of somebody else, for [12] partic.*"
                           "its locked test set is a list of them"):
            run(options)

    assert dataset_bytes(options.dataset_folder) == before
    assert "P0" not in (options.dataset_folder / ".conversion" / "own_ids.json").read_text()
    write_ids(ids, *sound, "oslo,P4,5")  # somebody new is welcome
    assert convert(options).exit_code == 0
