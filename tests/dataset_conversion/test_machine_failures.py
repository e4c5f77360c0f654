"""A row is judged by its own files: what the machine fails at ends the run or is made up for, and costs no row."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import failing_machine
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_factory import write_ct_series
from failing_machine import plan_faults
from pydicom.dataset import Dataset
from qct_sites import dataset_bytes
from tiny_cohort import tiny_options, write_tiny_site

from femur_nnunet.dataset_conversion import manifest, row_workers
from femur_nnunet.dataset_conversion.conversion_options import ConversionOptions
from femur_nnunet.dataset_conversion.convert import convert
from femur_nnunet.errors import MachineError
from femur_nnunet.machine_failures import machine_failure
from femur_nnunet.volume_io.archives import FOLDER_PREFIX
from femur_nnunet.volume_io.dicom_headers import read_dataset


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    write_tiny_site(folder)
    return folder


@pytest.fixture(scope="module")
def undisturbed(site: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return dataset_bytes(convert(tiny_options(site / "metadata.csv", tmp_path_factory.mktemp("raw"))).dataset_folder)


@pytest.fixture
def workers(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Worker processes that fail as the list beside the scans says."""
    monkeypatch.setattr(row_workers, "_MAIN", failing_machine.MAIN)
    yield
    (site / "faults.txt").unlink()


def isolated(site: Path, out: Path, jobs: int = 2) -> ConversionOptions:
    return replace(tiny_options(site / "metadata.csv", out), jobs=jobs, isolated=True, row_limit_s=120.0)


def test_what_fails_beside_other_workers_and_succeeds_alone_leaves_no_trace(
        site: Path, tmp_path: Path, undisturbed: dict[str, bytes], workers: None) -> None:
    # An abort may be an allocation that failed.
    plan_faults(site, "p0.nii killed", "p1.nii memory", "p2.nii aborted", "p3.nii terminated")

    summary = convert(isolated(site, tmp_path / "raw"))

    assert (summary.exit_code, summary.errors) == (0, [])
    assert dataset_bytes(summary.dataset_folder) == undisturbed


@pytest.mark.parametrize(("faults", "told"), [
    (["p1.nii killed"] * 2, "died by SIGKILL on this row, most likely for lack of memory"),
    (["p1.nii disk", "p1.nii memory"], "too little memory for this scan")], ids=["killed twice", "disk, then memory"])
def test_a_row_that_the_machine_fails_at_twice_ends_the_run_and_the_next_one_completes_it(
        site: Path, tmp_path: Path, undisturbed: dict[str, bytes], workers: None, faults: list[str], told: str,
        caplog: pytest.LogCaptureFixture) -> None:
    plan_faults(site, *faults)
    options = isolated(site, tmp_path / "raw")

    with pytest.raises(MachineError) as caught:
        convert(options)

    assert str(caught.value).startswith("found 1 row(s) that the machine, and not their files, kept from being conv")
    assert told in str(caught.value)
    assert caught.value.exit_code == 1
    assert [message for message in caplog.messages if message.startswith("manifest row 3 (oslo_") and told in message]
    # No test set and no folds are drawn from a cohort without the row.
    assert not [path for path in options.dataset_folder.rglob("*") if path.suffix in (".gz", ".tsv", ".csv")]
    assert not (options.dataset_folder / "splits.json").exists()
    again = convert(replace(options, jobs=1, isolated=False))
    assert again.exit_code == 0
    assert dataset_bytes(again.dataset_folder) == undisturbed


def test_a_row_that_crashes_or_hangs_its_worker_is_told_and_the_others_are_converted(
        site: Path, tmp_path: Path, workers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    (tmp_path / "own").mkdir()
    table = write_tiny_site(tmp_path / "own")
    packed = tmp_path / "own" / "p1.zip"
    subprocess.run([sys.executable, "-m", "zipfile", "-c", packed, tmp_path / "own" / "p1.nii.gz"], check=True)
    table.write_text(table.read_text().replace(",p1.nii.gz,", ",p1.zip,"), encoding="utf-8")
    plan_faults(tmp_path / "own", "p0.nii segfault", "p0.nii segfault", "p1.zip hang")
    plan_faults(site)
    options = replace(tiny_options(table, tmp_path / "raw"), jobs=2, isolated=True, row_limit_s=20.0)

    summary = convert(options)

    assert summary.exit_code == 1
    told = {line.manifest_row: (line.status, line.reason) for line in summary.lines}
    assert told["2"][1].startswith("found a worker process that died by SIGSEGV on this row")
    assert told["3"][1].startswith("found a row that came to no end (no end after 20 s)")
    assert told["4"][0] == told["5"][0] == "converted"
    assert sorted(error.split(" (")[0] for error in summary.errors) == ["manifest row 2", "manifest row 3"]
    # What the worker had unpacked when its time was over went with it.
    assert not list(temporary.glob(f"{FOLDER_PREFIX}*"))
    monkeypatch.undo()
    assert convert(replace(options, jobs=1, isolated=False)).exit_code == 0


def test_a_source_that_goes_away_during_the_run_is_no_bad_row(site: Path, tmp_path: Path,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    table = write_tiny_site(tmp_path / "own")
    gone = tmp_path / "own" / "p1_mask.nii.gz"
    options = tiny_options(table, tmp_path / "raw")
    monkeypatch.setattr(manifest, "_exists", lambda path: True)
    gone.unlink()

    with pytest.raises(MachineError, match="an image or a mask that was there when the table was read, and is gone"):
        convert(options)
    assert not (options.dataset_folder / "scans.tsv").exists()


def test_a_share_that_does_not_answer_while_the_table_is_read_ends_the_run(site: Path, tmp_path: Path,
                                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    exists = Path.exists

    def stale(path: Path) -> bool:
        if path.name == "p1.nii.gz":
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return exists(path)

    monkeypatch.setattr(Path, "exists", stale)
    with pytest.raises(MachineError, match="the tables: found a failure of the machine"):
        convert(tiny_options(site / "metadata.csv", tmp_path / "raw"))


@pytest.mark.parametrize(("error", "failed"), [
    (MemoryError(), True), (OSError(errno.ENOSPC, ""), True), (OSError(errno.ESTALE, ""), True),
    (RuntimeError("ITK: Failed to allocate memory for image."), True), (RuntimeError("std::bad_alloc"), True),
    (OSError(errno.ENOENT, ""), False), (OSError(errno.EACCES, ""), False), (OSError("no number"), False),
    (RuntimeError("bad header"), False), (ValueError("failed to allocate"), False)])
def test_failures_of_the_machine_are_told_from_those_of_a_file(error: Exception, failed: bool) -> None:
    assert (machine_failure(error) is not None) == failed


LITTLE_MEMORY = """
import pathlib, resource, sys
from femur_nnunet.errors import FemurError, MachineError
from femur_nnunet.volume_io import read_volume
in_use = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (in_use + (64 << 20),) * 2)
for path in map(pathlib.Path, sys.argv[1:]):
    try:
        read_volume(path)
    except FemurError as error:
        print(path.name, "machine" if isinstance(error, MachineError) else "file", error)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory in use is read from /proc")
def test_too_little_memory_is_told_from_headers_that_claim_too_much(tmp_path: Path) -> None:
    whole = [tmp_path / name for name in ("a.nii.gz", "a.nrrd", "a.mha")]
    for path in whole:
        # 128 MiB of voxels, packed a thousandfold, where 64 MiB are left.
        sitk.WriteImage(sitk.Image(512, 512, 256, sitk.sitkInt16), str(path), useCompression=True)
        assert path.stat().st_size < 1 << 20
    damaged = []
    for name, small, large in (
            ("b.nii", np.array([3, 8, 8, 8], "<i2").tobytes(), np.array([3, 1024, 512, 512], "<i2").tobytes()),
            ("b.mha", b"DimSize = 8 8 8", b"DimSize = 1024 512 512"),
            ("b.nrrd", b"sizes: 8 8 8", b"sizes: 1024 512 512"),
            ("c.mha", b"CompressedDataSize = ", b"CompressedDataSize = 9999999999")):
        damaged.append(tmp_path / name)
        sitk.WriteImage(sitk.GetImageFromArray(np.zeros((8, 8, 8), np.int16)), str(damaged[-1]), name == "c.mha")
        content = damaged[-1].read_bytes()
        assert content.count(small) == 1
        damaged[-1].write_bytes(content.replace(small, large))
    series = write_ct_series(tmp_path / "series", np.zeros((3, 8, 8), np.uint16), change=claim_many_pixels)[0].parent

    done = subprocess.run([sys.executable, "-c", LITTLE_MEMORY, *map(str, [*whole, *damaged, series])],
                          capture_output=True, text=True, timeout=300, check=False)

    told = done.stdout.splitlines()
    assert len(told) == 8, done.stdout + done.stderr
    for path, line in zip(whole, told[:3], strict=True):
        assert line.startswith(f"{path.name} machine found too little memory for this scan"), line
    for path, line in zip(damaged[:3], told[3:6], strict=True):
        assert line.startswith(f"{path.name} file found a header of 1024 x 512 x 512 voxels before"), line
    assert re.match(r"c\.mha file found a header of 9999999999\d+ packed bytes before", told[6]), told[6]
    assert told[7].startswith("series file found 3 file(s) whose pixels are truncated"), told[7]


def claim_many_pixels(dataset: Dataset, index: int) -> None:
    dataset.Rows = dataset.Columns = 20_000


def test_a_damaged_length_in_a_header_asks_for_no_more_memory_than_the_file_has(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_ct_series(tmp_path, np.zeros((1, 8, 8), np.uint16))[0]
    read = pydicom.dcmread

    def without_memory(source: Any, **options: Any) -> Dataset:
        if isinstance(source, Path):
            raise MemoryError
        return read(source, **options)

    monkeypatch.setattr(pydicom, "dcmread", without_memory)
    assert read_dataset(path).Rows == 8
