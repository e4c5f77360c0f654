from __future__ import annotations

from pathlib import Path

import pytest

from femur_nnunet.dataset_conversion.manifest import ManifestTable, read_manifest
from femur_nnunet.dataset_conversion.rochester import read_rochester
from femur_nnunet.dataset_conversion.tulane import read_tulane

HEADER = "site,participant_id,image,mask,visit,side,sex,age_years,role,density_unit,density_slope,density_intercept"
GOOD = "oslo,P1,scan.mha,mask.mha,2,left,F,71.5,test,HA,0.9,-4"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("scan.mha", "mask.mha", "other.mha"):
        (tmp_path / name).touch()
    return tmp_path


def table(folder: Path, *rows: str, header: str = HEADER, identifiable: bool = False) -> ManifestTable:
    (folder / "m.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return read_manifest(folder / "m.csv", identifiable=identifiable)


def problem(folder: Path, *rows: str, header: str = HEADER, identifiable: bool = False) -> str:
    found = table(folder, *rows, header=header, identifiable=identifiable).problems
    assert len(found) == 1
    return str(found[0].error)


def test_a_full_row_is_read_with_paths_relative_to_the_table(folder: Path) -> None:
    (row,) = table(folder, GOOD).rows
    assert (row.site, row.participant, row.visit, row.side, row.sex) == ("oslo", "P1", 2, "left", "F")
    assert (row.age_years, row.role, row.density_unit) == (71.5, "test", "HA")
    assert (row.density_slope, row.density_intercept) == (0.9, -4.0)
    assert row.image == folder / "scan.mha"
    assert row.mask == folder / "mask.mha"
    assert (row.label, row.number) == ("manifest row 2", 2)


def test_empty_cells_are_visit_1_both_sides_and_unlabelled(folder: Path) -> None:
    (row,) = table(folder, "oslo,P1,scan.mha,,n/a", header="site,participant_id,image,mask,visit").rows
    assert (row.visit, row.side, row.mask, row.role, row.sex) == (1, "both", None, None, None)


@pytest.mark.parametrize("separator", [",", "\t", ";"])
def test_commas_tabulators_and_semicolons_separate_columns(folder: Path, separator: str) -> None:
    (folder / "m.tsv").write_text("\ufeff" + (HEADER + "\n" + GOOD + "\n").replace(",", separator), encoding="utf-8")
    assert read_manifest(folder / "m.tsv").rows[0].participant == "P1"


def test_blank_lines_are_skipped_and_keep_the_spreadsheets_row_numbers(folder: Path) -> None:
    rows = table(folder, "", GOOD, ",,,", GOOD.replace("P1", "P2")).rows
    assert [row.number for row in rows] == [3, 5]
    (folder / "m.csv").write_text(f"\n,,,\n{HEADER}\n\n{GOOD}\n", encoding="utf-8")
    assert [row.number for row in read_manifest(folder / "m.csv").rows] == [5]


def test_empty_cells_behind_the_last_column_are_nothing(folder: Path) -> None:
    assert table(folder, GOOD + ",, ").rows[0].participant == "P1"


def test_a_quote_that_is_never_closed_swallows_no_row_unnoticed(folder: Path) -> None:
    rows = [GOOD + ',"5 mm slices', GOOD.replace("P1", "P2") + ",", GOOD.replace("P1", "P3") + ","]
    assert "found a table that cannot be read" in problem(folder, *rows, header=HEADER + ",note")


def test_a_path_with_backslashes_gets_its_own_advice(folder: Path) -> None:
    assert "write the path with / in place of \\" in problem(folder, GOOD.replace("scan.mha", ".\\scan.mha"))
    assert "write the path with / in place of \\" in problem(folder, GOOD.replace("mask.mha", ".\\mask.mha"))


@pytest.mark.parametrize(("old", "new", "found", "expected"), [
    ("oslo", "", "found no site", "short name"),
    ("oslo", "New Oslo", "found site of 8 characters", "lower-case letters and digits alone"),
    ("P1", "", "found no participant_id", "code"),
    ("scan.mha", "", "found a mask without its image", "path of the image"),
    ("scan.mha", "gone.mha", "found a mask without its image: no such image file", "an existing path"),
    ("mask.mha", "gone.mha", "found no such mask file", "an existing path"),
    (",2,left", ",0,left", "found visit '0'", "a whole number from 1 to 99"),
    (",2,left", ",1.5,left", "found visit '1.5'", "a whole number from 1 to 99"),
    ("left", "up", "found side of 2 characters", "one of left, right, both"),
    (",F,", ",X,", "found sex of 1 characters", "one of F, M"),
    ("71.5", "-3", "found age_years '-3'", "from 0 to 120"),
    ("71.5", "nan", "found age_years of 3 characters", "from 0 to 120"),
    ("test", "validation", "found role of 10 characters", "one of train, test"),
    ("HA", "calcium", "found density_unit of 7 characters", "one of K2HPO4, HA"),
    ("0.9", "-0.9", "found density_slope '-0.9'", "a number above 0"),
    ("0.9", "", "of which some are empty", "all three or none"),
    ("-4", "-4,surplus", "found 13 cells below 12 columns", "one cell a column"),
])
def test_a_bad_cell_is_one_line_with_its_row_and_leaves_other_rows_alone(
        folder: Path, old: str, new: str, found: str, expected: str) -> None:
    result = table(folder, GOOD.replace("P1", "P0"), GOOD.replace(old, new, 1))
    assert [row.participant for row in result.rows] == ["P0"]
    (bad,) = result.problems
    line = str(bad.error)
    assert line.startswith("manifest row 3: ")
    assert found in line
    assert expected in line
    assert "\n" not in line


def test_an_image_that_is_missing_without_a_mask_is_told(folder: Path) -> None:
    assert "found no such image file or folder" in problem(folder, GOOD.replace("scan", "gone").replace("mask.mha", ""))


def test_a_cell_of_300_characters_as_image_is_a_missing_file(folder: Path) -> None:
    assert "no such image file" in problem(folder, GOOD.replace("scan.mha", "x" * 300))


def test_text_of_a_cell_is_quoted_only_when_identifiable(folder: Path) -> None:
    bad = GOOD.replace("test", "Jane Doe")
    assert "Doe" not in problem(folder, bad)
    assert "'Jane Doe'" in problem(folder, bad, identifiable=True)


def test_a_phantom_name_of_free_text_is_refused(folder: Path) -> None:
    header = "site,participant_id,image,calibration_phantom"
    assert "product name" in problem(folder, "oslo,P1,scan.mha,Mindways; see mail of Dr. X", header=header)
    assert table(folder, "oslo,P1,scan.mha,Mindways Model 3", header=header).rows[0].calibration_phantom


def test_a_bad_row_still_tells_whose_it_is(folder: Path) -> None:
    (bad,) = table(folder, GOOD.replace("test", "no role")).problems
    assert bad.row is not None
    assert (bad.row.participant, bad.row.visit, bad.row.side) == ("P1", 2, "left")


@pytest.mark.parametrize(("content", "found"), [
    (b"site,participant_id\noslo,P1\n", "found no column image"),
    (b"site,site,participant_id,image\no,o,P1,scan.mha\n", "found column site twice"),
    (b"site,participant_id,image\n", "found a table without rows"),
    (b"", "found a table without rows"),
    (b"site,participant_id,image\noslo,\xe9,scan.mha\n", "found text that is not UTF-8"),
])
def test_a_table_that_cannot_be_read_is_one_problem_of_the_table(folder: Path, content: bytes, found: str) -> None:
    (folder / "m.csv").write_bytes(content)
    (bad,) = read_manifest(folder / "m.csv").problems
    assert bad.number == 0
    assert str(bad.error).startswith(f"manifest table: {found}")


def test_a_missing_table_and_a_missing_folder_are_told_apart(folder: Path) -> None:
    assert "found no such table" in str(read_tulane(folder).problems[0].error)
    missing = str(read_tulane(folder / "nowhere").problems[0].error)
    assert "found no such folder" in missing
    assert "--tulane" in missing


def test_a_site_folders_table_may_lack_the_site_but_not_contradict_it(folder: Path) -> None:
    metadata = folder / "metadata.csv"
    metadata.write_text("participant_id,image\nR1,scan.mha\n", encoding="utf-8")
    assert read_rochester(folder).rows[0].site == "rochester"
    metadata.write_text("site,participant_id,image\nrochester,R1,scan.mha\ntulane,R2,other.mha\n", encoding="utf-8")
    result = read_rochester(folder)
    assert [row.participant for row in result.rows] == ["R1"]
    assert "expected rochester, the site of this folder" in str(result.problems[0].error)


def test_further_columns_are_counted_and_not_quoted(folder: Path) -> None:
    result = table(folder, GOOD + ",x", header=HEADER + ",Jane Doe's notes")
    assert result.warnings == ["manifest table: 1 further column(s) are not used"]


def test_all_faults_of_a_row_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("site,participant_id,image,side,sex,role,age_years,visit\n"
                    "Mayo Clinic,,gone.nii,l,Q,val,eighty,0\n", encoding="utf-8")

    (problem,) = read_manifest(path).problems

    for part in ("no such image file or folder", "site of 11 characters", "no participant_id", "visit '0'",
                 "side of 1 characters", "role of 3 characters", "sex of 1 characters", "age_years of 6 characters"):
        assert part in problem.error.found
    assert problem.error.action == ("correct the cell or bring the file; use the site's short name; fill the cell; "
                                    "correct the cell")
    assert "Mayo" not in str(problem.error)
