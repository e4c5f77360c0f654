"""Whatever stops a conversion, and wherever: only complete cases are listed; a rerun gives the undisturbed bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from qct_sites import dataset_bytes
from tiny_cohort import assert_only_complete_cases, tiny_options, tiny_scan, write_tiny_image, write_tiny_site
from write_faults import FAULTS, Step, kill_after, run_with_fault, steps_of

from femur_nnunet.case_ids import read_or_create_key
from femur_nnunet.dataset_conversion.conversion_options import ConversionOptions
from femur_nnunet.dataset_conversion.convert import convert

MAIN = "import sys; from femur_nnunet.dataset_conversion.convert_command import main; sys.exit(main())"
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="faults go into forked processes")


class Conversion:
    """A conversion to be disturbed: from a table into a target that may hold an earlier state of the dataset."""

    def __init__(self, options: ConversionOptions, earlier: Path | None = None) -> None:
        self.options, self.earlier = options, earlier
        self.reset()
        convert(self.options)
        self.undisturbed = dataset_bytes(self.options.dataset_folder)
        self.reset()
        self.steps = steps_of(self.run, self.options.out)
        assert dataset_bytes(self.options.dataset_folder) == self.undisturbed

    def reset(self) -> None:
        shutil.rmtree(self.options.out, ignore_errors=True)
        if self.earlier is not None:
            shutil.copytree(self.earlier, self.options.out)

    def run(self) -> None:
        convert(self.options)

    def survives(self, step: Step, fault: str) -> None:
        self.reset()
        run_with_fault(self.run, self.options.out, step, fault)
        assert_only_complete_cases(self.options.dataset_folder)
        summary = convert(self.options)
        assert summary.exit_code == 0
        assert dataset_bytes(self.options.dataset_folder) == self.undisturbed
        assert not self.options.staging_folder.exists()

    def distinct_steps(self) -> list[Step]:
        """The first occurrence of each kind of step."""
        first: dict[str, Step] = {}
        for step in self.steps:
            first.setdefault(step.name, step)
        return list(first.values())


@pytest.fixture(scope="module")
def fast_folder() -> Iterator[Path]:
    """A folder in memory where there is one: hundreds of runs that wait for the disk at every file would take long."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def first_conversion(fast_folder: Path) -> Conversion:
    root = fast_folder / "first"
    return Conversion(tiny_options(write_tiny_site(root / "site"), root / "raw"))


@pytest.fixture(scope="module")
def changed_conversion(fast_folder: Path) -> Conversion:
    """A second conversion, after one image was corrected and the row of another one was removed."""
    root = fast_folder / "changed"
    table = write_tiny_site(root / "site", (1, 2, 3, 4, 5))
    convert(tiny_options(table, root / "earlier"))
    write_tiny_image(root / "site" / "p0.nii.gz", tiny_scan(99)[0])
    lines = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join(line for line in lines if ",P1," not in line) + "\n", encoding="utf-8")
    return Conversion(replace(tiny_options(table, root / "raw"), prune=True), root / "earlier")


def test_the_steps_that_are_disturbed_are_all_that_the_run_writes(first_conversion: Conversion) -> None:
    written = {Path(name).name for name in first_conversion.undisturbed}
    renames = [step for step in first_conversion.steps if step.name.startswith("os.rename")]

    # Every file of the dataset comes into being by a rename, but for the lock, which holds nothing.
    assert len(renames) >= len(written) - 1
    opened = [step.name for step in first_conversion.steps if step.name.startswith("open")]
    assert [name for name in opened if "atomic" not in name and "write" not in name] == [
        "open convert.convert > files.hold_folder"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_any_kind_of_write_step_of_a_first_conversion_is_mended_by_a_rerun(
        fault: str, first_conversion: Conversion) -> None:
    for step in first_conversion.distinct_steps():
        first_conversion.survives(step, fault)


def test_a_kill_at_any_kind_of_step_that_replaces_or_removes_cases_is_mended_by_a_rerun(
        first_conversion: Conversion, changed_conversion: Conversion) -> None:
    known = {step.name for step in first_conversion.steps}
    new = [step for step in changed_conversion.distinct_steps() if step.name not in known]

    # The removal of a row is disturbed at each of its steps: what is left of it must vanish with the next run.
    removals = [step for step in changed_conversion.steps if "raw_dataset.withdraw" in step.name]
    assert len(removals) == 7
    for step in {step.number: step for step in (*new, *removals)}.values():
        changed_conversion.survives(step, "kill")


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_every_single_write_step_is_mended_by_a_rerun(fault: str, first_conversion: Conversion,
                                                                 changed_conversion: Conversion) -> None:
    for conversion in (first_conversion, changed_conversion):
        for step in conversion.steps:
            conversion.survives(step, fault)


def kill_often(conversion: Conversion, kills: int, seed: int) -> int:
    """Kill runs at random moments, each going on from what the last one left; return how many were killed."""
    conversion.reset()
    started = time.monotonic()
    convert(conversion.options)
    whole_s = time.monotonic() - started
    generator = np.random.default_rng(seed)
    killed = attempts = 0
    while killed < kills:
        attempts += 1
        assert attempts < 4 * kills
        if attempts % 5 == 1:
            conversion.reset()
        ended = kill_after(conversion.run, float(generator.uniform(0, whole_s)))
        killed += not ended
        assert_only_complete_cases(conversion.options.dataset_folder)
        if attempts % 5 == 0:
            assert convert(conversion.options).exit_code == 0
            assert dataset_bytes(conversion.options.dataset_folder) == conversion.undisturbed
    assert convert(conversion.options).exit_code == 0
    assert dataset_bytes(conversion.options.dataset_folder) == conversion.undisturbed
    return killed


def test_ten_kills_at_random_moments_leave_what_an_undisturbed_run_leaves(first_conversion: Conversion) -> None:
    assert kill_often(first_conversion, 10, seed=1) == 10


def test_nnunet_takes_the_dataset_for_sound_after_a_kill_and_a_rerun(first_conversion: Conversion) -> None:
    verify = pytest.importorskip("nnunetv2.experiment_planning.verify_dataset_integrity").verify_dataset_integrity
    publishing = next(step for step in first_conversion.steps
                      if step.name.startswith("os.rename") and "publish" in step.name)
    first_conversion.survives(publishing, "kill")

    verify(str(first_conversion.options.dataset_folder), num_processes=1)


def command(options: ConversionOptions, jobs: int) -> list[str]:
    return [sys.executable, "-c", MAIN, "--manifest", str(options.manifest), "--out", str(options.out), "--key-seed",
            "3", "--jobs", str(jobs), "--quiet"]


def rerun(arguments: list[str]) -> None:
    """Run the command; workers of a killed run may hold the target for a moment."""
    deadline = time.monotonic() + 60
    while True:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 3 or time.monotonic() > deadline:
            assert done.returncode == 0, done.stderr
            return
        time.sleep(0.1)


@pytest.mark.long
def test_two_hundred_kills_at_random_moments_leave_what_an_undisturbed_run_leaves(
        first_conversion: Conversion, changed_conversion: Conversion) -> None:
    verify = pytest.importorskip("nnunetv2.experiment_planning.verify_dataset_integrity").verify_dataset_integrity
    killed = kill_often(first_conversion, 85, seed=2) + kill_often(changed_conversion, 85, seed=3)
    # The command itself with its worker processes, 30 times.
    first_conversion.reset()
    arguments = command(first_conversion.options, jobs=2)
    started = time.monotonic()
    rerun(arguments)
    whole_s = time.monotonic() - started
    generator = np.random.default_rng(4)
    by_command = attempts = 0
    while by_command < 30:
        attempts += 1
        assert attempts < 120
        if attempts % 3 == 1:
            first_conversion.reset()
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(float(generator.uniform(0.3 * whole_s, whole_s)))
        by_command += process.poll() is None
        process.kill()  # does nothing to a process that has ended
        process.wait()
        assert_only_complete_cases(first_conversion.options.dataset_folder)
        rerun(arguments)
        assert dataset_bytes(first_conversion.options.dataset_folder) == first_conversion.undisturbed
    verify(str(first_conversion.options.dataset_folder), num_processes=1)
    assert killed + by_command == 200


def test_a_key_that_was_not_finished_is_made_anew(tmp_path: Path) -> None:
    table = write_tiny_site(tmp_path / "site")
    options = replace(tiny_options(table, tmp_path / "raw"), key_seed=None)

    def make_key() -> None:
        options.out.mkdir(exist_ok=True)
        read_or_create_key(options.key_path)

    steps = steps_of(make_key, options.out)
    assert [step.name for step in steps if step.name.startswith("open")]
    for step in steps:
        for fault in FAULTS:
            shutil.rmtree(options.out, ignore_errors=True)
            run_with_fault(make_key, options.out, step, fault)
            make_key()
            key = read_or_create_key(options.key_path)
            assert len(key) == 32
            assert options.key_path.stat().st_mode & 0o077 == 0
