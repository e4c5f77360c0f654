"""Faults at every write step of a run, found by Python's own audit events, so that no new step can be forgotten.

A run is carried out in a forked process. There every opening for writing, rename, removal and making of a folder
below a given root is a step, named by the event and the chain of this package's functions that led to it. At a chosen
step the process is killed, the disk is full, or the write fails half-way.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FAULTS = ("kill", "full disk", "failed write")
FAULT_EXIT, OTHER_EXIT = 41, 42
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.truncate",
           "os.utime"}
# So much of a file gets written before the write fails.
TORN_BYTES = 40


@dataclass(frozen=True)
class Step:
    """One write step: its number in the run and what it is."""

    number: int
    name: str


def steps_of(run: Callable[[], None], root: Path) -> list[Step]:
    """Carry out ``run`` in a forked process and return its write steps below ``root``."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        names: list[str] = []
        _install(root, names.append)
        code = _code_of(run)
        with os.fdopen(writing, "w") as pipe:
            json.dump([code, names], pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        code, names = json.load(pipe)
    os.waitpid(child, 0)
    assert code == 0, f"the undisturbed run ended with {code}"
    return [Step(number, name) for number, name in enumerate(names)]


def run_with_fault(run: Callable[[], None], root: Path, step: Step, fault: str) -> None:
    """Carry out ``run`` in a forked process with a fault at one step, and check that the fault took place.

    The process may end in any way that a user may meet: killed, with an error, or well if it could do without.
    """
    marker, met = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(marker)
        _install(root, _fault_at(step, fault, met))
        os._exit(_code_of(run))
    os.close(met)
    with os.fdopen(marker, "rb") as pipe:
        name = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    assert name == step.name, f"step {step.number} was {name!r}, not {step.name!r}"
    if fault == "kill":
        assert os.WIFSIGNALED(status)
        assert os.WTERMSIG(status) == signal.SIGKILL
    else:
        assert os.WIFEXITED(status)
        assert os.WEXITSTATUS(status) in (0, FAULT_EXIT), f"exit {os.WEXITSTATUS(status)}"


def kill_after(run: Callable[[], None], seconds: float) -> bool:
    """Carry out ``run`` in a forked process and kill it after a time; return whether it had ended before."""
    child = os.fork()
    if child == 0:
        os._exit(_code_of(run))
    # A real timer, not a wait for the child: the kill must come at any moment.
    import time
    time.sleep(seconds)
    ended, status = os.waitpid(child, os.WNOHANG)
    if ended:
        assert os.WIFEXITED(status)
        assert os.WEXITSTATUS(status) == 0
        return True
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _code_of(run: Callable[[], None]) -> int:
    from femur_nnunet.errors import FemurError
    try:
        run()
    except (OSError, FemurError):
        return FAULT_EXIT
    except BaseException:
        traceback.print_exc()
        return OTHER_EXIT
    return 0


def _fault_at(step: Step, fault: str, met: int) -> Callable[[str], None]:
    count = -1
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def take(name: str) -> None:
        nonlocal count
        count += 1
        if count == step.number + 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        if count != step.number:
            return
        os.write(met, name.encode())
        os.close(met)
        if fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "full disk":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if not name.startswith("open"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        # The file opens; the kernel cuts what is written to it.
        resource.setrlimit(resource.RLIMIT_FSIZE, (TORN_BYTES, limits[1]))
    return take


def _install(root: Path, on_step: Callable[[str], None]) -> None:
    text = str(root)

    def is_below(value: Any) -> bool:
        if isinstance(value, bytes):
            value = os.fsdecode(value)
        return isinstance(value, str | os.PathLike) and os.fspath(value).startswith(text)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if not (isinstance(flags, int) and flags & _WRITING and is_below(path)):
                return
        elif event in _EVENTS:
            # Removing a tree names its entries relative to an open folder.
            relative = event in ("os.remove", "os.rmdir") and arguments[-1] != -1
            if not relative and not any(is_below(value) for value in arguments):
                return
        else:
            return
        on_step(f"{event} {_chain()}")

    sys.addaudithook(hook)


def _chain() -> str:
    """Return the functions of this package that are at work, outermost first."""
    names = []
    frame = sys._getframe(2)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith("femur_nnunet.") and not frame.f_code.co_name.startswith("<"):
            names.append(f"{module.rpartition('.')[2]}.{frame.f_code.co_name}")
        frame = frame.f_back
    return " > ".join(reversed(names))
