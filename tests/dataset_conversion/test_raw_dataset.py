from __future__ import annotations

from pathlib import Path

import pytest

from femur_nnunet.cohort import ScanRecord
from femur_nnunet.dataset_conversion.conversion_state import RowState, case_files, read_state, state_path
from femur_nnunet.dataset_conversion.raw_dataset import (
    clear_leftovers,
    dataset_json,
    make_data_folders,
    publish,
    withdraw,
)


def record(side: str = "left", *, labelled: bool = True, role: str = "train", site: str = "tulane") -> ScanRecord:
    return ScanRecord(f"{site}_0000000a_v01_{side[0]}", "sub-0000000a", site, 1, side, side == "right", labelled,
                      role)


def staged_row(folder: Path, records: list[ScanRecord], content: bytes, key: str = "tulane_0000000a_v01_both",
               ) -> RowState:
    for name in (name for item in records for name in case_files(item)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return RowState(key, content.hex(), records, {name: len(content) for item in records for name in case_files(item)})


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    make_data_folders(tmp_path / "raw")
    return tmp_path / "raw"


def data_files(dataset: Path) -> set[str]:
    return {str(path.relative_to(dataset)) for path in dataset.rglob("*.*") if path.is_file()
            and ".conversion" not in path.parts}


def test_a_published_row_replaces_what_it_was_before(dataset: Path, tmp_path: Path) -> None:
    first = staged_row(tmp_path / "s1", [record("left", labelled=False), record("right", labelled=False)], b"old")
    publish(dataset, tmp_path / "s1", first, [])
    second = staged_row(tmp_path / "s2", [record("left")], b"newer", key="tulane_0000000a_v01_left")
    publish(dataset, tmp_path / "s2", second, [first])
    assert data_files(dataset) == set(case_files(record("left")))
    assert read_state(state_path(dataset, first.key)) is None
    assert read_state(state_path(dataset, second.key)) == second


@pytest.mark.parametrize("stop_at", range(12))
def test_wherever_publishing_stops_each_image_has_its_own_label(dataset: Path, tmp_path: Path, stop_at: int,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    old = staged_row(tmp_path / "s1", [record("left"), record("right")], b"old")
    publish(dataset, tmp_path / "s1", old, [])
    new = staged_row(tmp_path / "s2", [record("left"), record("right")], b"newer")
    steps = 0

    def counted(original: object) -> object:
        def step(*arguments: object, **options: object) -> object:
            nonlocal steps
            steps += 1
            if steps > stop_at:
                raise KeyboardInterrupt
            return original(*arguments, **options)  # type: ignore[operator]
        return step

    monkeypatch.setattr(Path, "replace", counted(Path.replace))
    monkeypatch.setattr(Path, "unlink", counted(Path.unlink))
    try:
        publish(dataset, tmp_path / "s2", new, [old])
    except KeyboardInterrupt:
        pass
    finally:
        monkeypatch.undo()
    for image in (dataset / "imagesTr").glob("*.nii.gz"):
        label = dataset / "labelsTr" / image.name.replace("_0000.nii", ".nii")
        assert label.read_bytes() == image.read_bytes()
        assert (dataset / "geometry" / label.name.replace(".nii.gz", ".json")).read_bytes() == image.read_bytes()


def test_leftovers_of_ours_go_and_foreign_files_stay(dataset: Path, tmp_path: Path) -> None:
    row = staged_row(tmp_path / "s1", [record("left")], b"x")
    publish(dataset, tmp_path / "s1", row, [])
    (dataset / "imagesTr" / "tulane_0000000b_v01_l_0000.nii.gz").touch()
    (dataset / "imagesUn" / ".partial-0123.nii.gz").touch()
    (dataset / "imagesTr" / "notes.txt").touch()
    assert clear_leftovers(dataset, [row]) == ["imagesTr/notes.txt"]
    assert data_files(dataset) == {*case_files(record("left")), "imagesTr/notes.txt"}


def test_a_withdrawn_row_leaves_nothing(dataset: Path, tmp_path: Path) -> None:
    row = staged_row(tmp_path / "s1", [record("left"), record("right")], b"x")
    publish(dataset, tmp_path / "s1", row, [])
    withdraw(dataset, row)
    assert not data_files(dataset)
    assert not list((dataset / ".conversion").iterdir())


def test_dataset_json_counts_labelled_training_cases_and_names_no_case() -> None:
    content = dataset_json([record("left"), record("right", labelled=False), record(site="oslo", role="test"),
                            record(site="rochester", labelled=False)], name="Hips")
    assert content["numTraining"] == 1
    assert content["channel_names"] == {"0": "CT"}
    assert content["labels"] == {"background": 0, "proximal_femur": 1}
    assert content["femur_nnunet"]["sites"] == ["oslo", "rochester", "tulane"]
    assert content["femur_nnunet"]["labelled_sites"] == ["tulane"]
    assert content["femur_nnunet"]["intensity_unit"] == "HU"
    assert "0000000a" not in str(content)


def test_whole_scans_have_a_label_for_each_femur() -> None:
    assert dataset_json([], name="Hips", bilateral=True)["labels"] == {
        "background": 0, "left_proximal_femur": 1, "right_proximal_femur": 2}
