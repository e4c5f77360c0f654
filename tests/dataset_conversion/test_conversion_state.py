from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from femur_nnunet.cohort import ScanRecord
from femur_nnunet.dataset_conversion.conversion_state import (
    RowKey,
    RowState,
    case_files,
    read_state,
    read_states,
    row_fingerprint,
    state_path,
)
from femur_nnunet.volume_io.image_files import read_raw_image

RECORD = ScanRecord("tulane_0000000a_v01_l", "sub-0000000a", "tulane", 1, "left", False, True, "train", sex="F")
KEY = "tulane_0000000a_v01_both"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    for name in [*case_files(RECORD), state_path(tmp_path, "x").relative_to(tmp_path)]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    for name in case_files(RECORD):
        (tmp_path / name).write_bytes(b"12345")
    return tmp_path


def state() -> RowState:
    return RowState(KEY, "f" * 64, [RECORD], dict.fromkeys(case_files(RECORD), 5), {"right": "not drawn"}, ["note"])


def test_a_state_comes_back_from_its_file(dataset: Path) -> None:
    state().write(state_path(dataset, KEY))
    assert read_state(state_path(dataset, KEY)) == state()
    assert read_states(dataset, [RECORD]) == {KEY: state()}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 99}', '{"schema": 2, "records": [{"case_id": "x"}]}'])
def test_a_torn_state_is_no_state(tmp_path: Path, text: str) -> None:
    (tmp_path / "row.json").write_text(text, encoding="utf-8")
    assert read_state(tmp_path / "row.json") is None
    assert read_state(tmp_path / "missing.json") is None


def test_a_state_is_complete_only_while_all_files_have_their_size(dataset: Path) -> None:
    assert state().is_complete_in(dataset)
    (dataset / case_files(RECORD)[0]).write_bytes(b"1234")
    assert not state().is_complete_in(dataset)
    (dataset / case_files(RECORD)[0]).unlink()
    assert not state().is_complete_in(dataset)


def test_a_listed_case_without_a_state_is_still_known(dataset: Path) -> None:
    known = read_states(dataset, [RECORD])
    assert known["tulane_0000000a_v01_left"].records == [RECORD]
    assert set(known["tulane_0000000a_v01_left"].outputs) == set(case_files(RECORD))


def test_images_are_the_last_files_of_a_case() -> None:
    assert case_files(RECORD) == ["labelsTr/tulane_0000000a_v01_l.nii.gz", "geometry/tulane_0000000a_v01_l.json",
                                  "imagesTr/tulane_0000000a_v01_l_0000.nii.gz"]


def test_a_row_of_both_sides_becomes_two_cases_or_one() -> None:
    key = RowKey("tulane", "0000000a", 3, "both")
    assert str(key) == "tulane_0000000a_v03_both"
    assert [key.case_id(side) for side in key.case_sides(keep_bilateral=False)] == [
        "tulane_0000000a_v03_l", "tulane_0000000a_v03_r"]
    assert [key.case_id(side) for side in key.case_sides(keep_bilateral=True)] == ["tulane_0000000a_v03_b"]


def test_contents_count_for_the_fingerprint_and_names_do_not(tmp_path: Path) -> None:
    series = tmp_path / "series"
    (series / "nested").mkdir(parents=True)
    (series / "nested" / "1").write_bytes(b"one")
    (series / "2").write_bytes(b"two")
    first = row_fingerprint(b"key", {"role": "train"}, [series])
    shutil.move(series, tmp_path / "moved")
    assert row_fingerprint(b"key", {"role": "train"}, [tmp_path / "moved"]) == first
    assert row_fingerprint(b"key", {"role": "test"}, [tmp_path / "moved"]) != first
    assert row_fingerprint(b"other", {"role": "train"}, [tmp_path / "moved"]) != first
    (tmp_path / "moved" / "2").write_bytes(b"tvo")
    assert row_fingerprint(b"key", {"role": "train"}, [tmp_path / "moved"]) != first


META = "ObjectType = Image\nNDims = 3\nDimSize = 3 2 4\nElementType = MET_UCHAR\nElementDataFile = "
NRRD = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 3 2 4\nspacings: 1 1 1\nencoding: raw\ndata file: "
LISTED = "".join(f"s{number:02d}.raw\n" for number in range(4))


@pytest.mark.parametrize(("name", "text"), [
    ("a.mhd", f"{META}whole scan.raw\n"), ("a.mhd", f"{META}s%02d.raw 0 3 1\n"), ("a.mhd", f"{META}LIST\n{LISTED}"),
    ("a.nrrd", f"{NRRD}whole scan.raw\n\n"), ("a.nhdr", f"{NRRD}whole scan.raw\n"),
    ("a.nhdr", f"{NRRD}s%02d.raw 0 3 1\n"), ("a.nhdr", f"{NRRD}LIST\n{LISTED}"),
    ("a.nhdr", f"{NRRD.replace('data file', 'DataFile')}./s%02d.raw 3 0 -1 2\n")])
def test_every_data_file_of_a_detached_header_counts(tmp_path: Path, name: str, text: str) -> None:
    header, slices = tmp_path / name, [tmp_path / f"s{number:02d}.raw" for number in range(4)]
    header.write_text(text, encoding="utf-8")
    whole = tmp_path / "whole scan.raw"
    whole.write_bytes(bytes(range(24)))
    for number, path in enumerate(slices):
        path.write_bytes(bytes(range(6 * number, 6 * number + 6)))
    # The reader finds its voxels in them.
    array, _, _ = read_raw_image(header)
    assert array.ravel().tolist() in (list(range(24)), [*range(18, 24), *range(12, 18), *range(6, 12), *range(6)])
    first = row_fingerprint(b"key", {}, [header])
    for data in [whole] if "whole" in text else slices:
        before = data.read_bytes()
        data.write_bytes(bytes([255]) + before[1:])
        assert row_fingerprint(b"key", {}, [header]) != first
        data.write_bytes(before)
    assert row_fingerprint(b"key", {}, [header]) == first
