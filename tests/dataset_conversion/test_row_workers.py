"""A worker that dies or hangs costs its own task; its parent's death ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from worker_tasks import act

from femur_nnunet.dataset_conversion.row_workers import WorkerLoss, run_in_workers
from femur_nnunet.errors import FemurError, TargetBusyError
from femur_nnunet.files import hold_folder


def test_results_come_in_the_order_of_the_tasks_and_losses_stand_in_their_place() -> None:
    tasks = ["sleep 0.3", "ok a", "segfault", "ok b", "exit 7", "print", "kill", "hang", "ok c"]

    results = list(run_in_workers(act, tasks, 2, time_limit_s=3))

    assert [result for result in results if not isinstance(result, WorkerLoss)] == ["0.3", "a", "b", "printed", "c"]
    losses = {task: result for task, result in zip(tasks, results, strict=True) if isinstance(result, WorkerLoss)}
    assert losses == {"segfault": WorkerLoss("died by SIGSEGV"), "exit 7": WorkerLoss("ended with exit status 7"),
                      "kill": WorkerLoss("died by SIGKILL", by_machine=True),
                      "hang": WorkerLoss("no end after 3 s", timed_out=True)}


def test_a_stop_after_the_first_result_ends_all_workers(tmp_path: Path) -> None:
    results = run_in_workers(act, ["ok a", f"touch {tmp_path / 'pid'} then hang", "hang"], 2, time_limit_s=60)
    assert next(results) == "a"
    started = time.monotonic()

    results.close()  # type: ignore[attr-defined]

    assert time.monotonic() - started < 10
    if (tmp_path / "pid").exists():
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / "pid").read_text()), 0)


def test_no_task_starts_no_worker() -> None:
    assert list(run_in_workers(act, [], 2, time_limit_s=1)) == []


def test_workers_of_a_killed_parent_hold_its_lock_until_they_end_which_is_soon(tmp_path: Path) -> None:
    script = ("import sys, pathlib\nfrom worker_tasks import act\nfrom femur_nnunet.files import hold_folder\n"
              "from femur_nnunet.dataset_conversion.row_workers import run_in_workers\n"
              "with hold_folder(pathlib.Path(sys.argv[1])) as lock:\n"
              "    tasks = [f'touch {sys.argv[1]}/pid then hang']\n"
              "    list(run_in_workers(act, tasks, 1, time_limit_s=60, held=(lock,)))\n")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "support")}
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], env=environment)
    pid_file = tmp_path / "pid"
    deadline = time.monotonic() + 60
    while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < deadline:
        time.sleep(0.01)
    worker = int(pid_file.read_text())
    os.kill(worker, signal.SIGSTOP)  # it cannot notice its parent's death
    parent.kill()
    parent.wait()
    with pytest.raises(TargetBusyError), hold_folder(tmp_path):
        pytest.fail("a worker that could still write did not hold the folder")

    os.kill(worker, signal.SIGCONT)

    deadline = time.monotonic() + 20
    while True:
        try:
            with hold_folder(tmp_path):
                break
        except TargetBusyError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_workers_that_cannot_be_started_are_told_and_nothing_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object, **__: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(subprocess, "Popen", no_memory)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    with pytest.raises(FemurError, match="could not be started"):
        list(run_in_workers(act, ["ok a"], 1, time_limit_s=5))
