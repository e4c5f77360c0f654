from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from qct_sites import SiteFolder, dataset_bytes, two_sites

from femur_nnunet.dataset_conversion import case_conversion, convert_command, raw_dataset
from femur_nnunet.dataset_conversion import convert as convert_module
from femur_nnunet.dataset_conversion.conversion_options import ConversionOptions
from femur_nnunet.dataset_conversion.convert import convert
from femur_nnunet.errors import MachineError
from femur_nnunet.files import hold_folder

MAIN = "import sys; from femur_nnunet.dataset_conversion.convert_command import main; sys.exit(main())"


class Fault(BaseException):
    """Stands for a kill: nothing catches it."""


def options_of(root: Path, out: str = "raw") -> ConversionOptions:
    return ConversionOptions(root / out, tulane=root / "tulane", rochester=root / "rochester",
                             unlabelled_sites=("rochester",), key_seed=3, jobs=1, quiet=True)


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sites")
    two_sites(root)
    return root


@pytest.fixture(scope="module")
def undisturbed(sites: Path) -> dict[str, bytes]:
    return dataset_bytes(convert(options_of(sites, "undisturbed")).dataset_folder)


def failing_at(original: Any, call: int, error: BaseException) -> Any:
    count = 0

    def step(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == call:
            raise error
        return original(*arguments, **options)
    return step


STEPS = [(case_conversion, "write_nifti", 5), (case_conversion, "write_json", 3), (convert_module, "publish", 1),
         (convert_module, "publish", 3), (convert_module, "clear_leftovers", 1), (convert_module, "write_report", 1),
         (raw_dataset, "write_participants_table", 1), (raw_dataset, "write_scans_table", 1),
         (convert_module, "update_splits", 1), (raw_dataset, "write_json", 1)]


@pytest.mark.parametrize(("module", "name", "call"), STEPS, ids=[f"{name}-{call}" for _, name, call in STEPS])
def test_a_run_stopped_at_a_write_step_is_taken_up_with_the_same_bytes(
        module: Any, name: str, call: int, sites: Path, undisturbed: dict[str, bytes], tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    options = ConversionOptions(tmp_path / "raw", tulane=sites / "tulane", rochester=sites / "rochester",
                                unlabelled_sites=("rochester",), key_seed=3, jobs=1, quiet=True)
    monkeypatch.setattr(module, name, failing_at(getattr(module, name), call, Fault()))
    with pytest.raises(Fault):
        convert(options)
    assert not (options.dataset_folder / "dataset.json").exists()
    monkeypatch.undo()
    summary = convert(options)
    assert summary.exit_code == 0
    assert dataset_bytes(summary.dataset_folder) == undisturbed


@pytest.mark.parametrize("call", [2, 3, 5, 28])
def test_a_run_stopped_while_files_move_into_the_dataset_is_taken_up_with_the_same_bytes(
        call: int, sites: Path, undisturbed: dict[str, bytes], tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    options = ConversionOptions(tmp_path / "raw", tulane=sites / "tulane", rochester=sites / "rochester",
                                unlabelled_sites=("rochester",), key_seed=3, jobs=1, quiet=True)
    original, moves = Path.replace, 0

    def move(path: Path, target: Path) -> Path:
        nonlocal moves
        moves += options.dataset_folder in target.parents and options.staging_folder in path.parents
        if moves == call:
            raise Fault
        return original(path, target)

    monkeypatch.setattr(Path, "replace", move)
    with pytest.raises(Fault):
        convert(options)  # moves 28 files: ten images, ten geometry records, eight labels
    monkeypatch.undo()
    assert dataset_bytes(convert(options).dataset_folder) == undisturbed


def test_what_a_stopped_run_left_behind_is_cleared(tmp_path: Path) -> None:
    site = SiteFolder(tmp_path / "s", "oslo")
    site.add("P1", role="train")
    options = ConversionOptions(tmp_path / "raw", manifest=site.save(), key_seed=3, jobs=1, quiet=True)
    summary = convert(options)
    content = dataset_bytes(summary.dataset_folder)
    (summary.dataset_folder / "imagesTr" / "oslo_01234567_v01_l_0000.nii.gz").touch()
    (summary.dataset_folder / "labelsTr" / ".partial-0123456789ab.nii.gz").touch()
    assert convert(options).warnings == summary.warnings
    assert dataset_bytes(summary.dataset_folder) == content


def test_rows_that_were_staged_before_the_stop_are_not_converted_again(
        sites: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ConversionOptions(tmp_path / "raw", tulane=sites / "tulane", rochester=sites / "rochester", key_seed=3,
                                jobs=1, quiet=True)
    read = case_conversion.read_volume
    monkeypatch.setattr(case_conversion, "read_volume", failing_at(read, 4, Fault()))
    with pytest.raises(Fault):
        convert(options)
    calls: list[Path] = []

    def counted(path: Path, **options: Any) -> Any:
        calls.append(path)
        return read(path, **options)

    monkeypatch.setattr(case_conversion, "read_volume", counted)
    convert(options)
    assert len(calls) == 2  # of five scans, three had been staged


def test_a_full_disk_leaves_the_dataset_as_it_was_and_the_next_run_completes_it(
        sites: Path, undisturbed: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = options_of(sites, "raw")
    options = replace(options, out=tmp_path / "raw")
    full = OSError(28, "No space left on device")
    monkeypatch.setattr(case_conversion, "write_nifti", failing_at(case_conversion.write_nifti, 2, full))
    with pytest.raises(MachineError, match=r"1 row\(s\) that the machine.*No space left on device"):
        convert(options)
    assert not list(options.dataset_folder.rglob("*.nii.gz"))
    assert not (options.dataset_folder / "splits.json").exists()
    monkeypatch.undo()
    again = convert(options)
    assert again.counts == {"converted": 10}
    assert dataset_bytes(again.dataset_folder) == undisturbed


def test_a_killed_process_is_taken_up_with_the_same_bytes(sites: Path, undisturbed: dict[str, bytes],
                                                          tmp_path: Path) -> None:
    command = [sys.executable, "-c", MAIN, "--tulane", str(sites / "tulane"), "--rochester", str(sites / "rochester"),
               "--unlabelled-site", "rochester", "--out", str(tmp_path / "raw"), "--key-seed", "3", "--jobs", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    staging = tmp_path / "raw" / ".femur_staging_501"
    deadline = time.monotonic() + 60
    while process.poll() is None and not list(staging.glob("*/row.json")) and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert dataset_bytes(tmp_path / "raw" / "Dataset501_ProximalFemur") == undisturbed
    assert not staging.exists()


def test_a_second_run_on_the_same_target_exits_with_3(sites: Path, tmp_path: Path,
                                                      capsys: pytest.CaptureFixture[str]) -> None:
    with hold_folder(tmp_path / "raw" / "Dataset501_ProximalFemur"):
        code = convert_command.main(["--tulane", str(sites / "tulane"), "--out", str(tmp_path / "raw"), "--key-seed",
                                     "3", "--quiet"])
    assert code == 3
    assert "another run writing into this folder" in capsys.readouterr().err
