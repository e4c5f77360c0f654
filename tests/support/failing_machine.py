"""Installed in a worker process, lets the machine fail at the first tries of rows, as a list beside the scans says.

The first line of ``faults.txt`` beside an image whose name it begins with is taken off the list and carried out: so a
row fails as often as it is listed, and is read by the next try.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import time
from pathlib import Path
from typing import Any

from femur_nnunet.dataset_conversion import case_conversion, row_workers
from femur_nnunet.volume_io.archives import on_disk

_read = case_conversion.read_volume
# What a worker is started with in place of the package's own line.
MAIN = row_workers._MAIN.replace("from femur_nnunet.dataset_conversion.row_workers", "import failing_machine; "
                                 "failing_machine.install(); from femur_nnunet.dataset_conversion.row_workers")


def plan_faults(folder: Path, *faults: str) -> None:
    """Write the list: each entry an image's name and what happens when it is read, as in ``p1 killed``."""
    (folder / "faults.txt").write_text("\n".join(faults), encoding="utf-8")


def _next_fault(image: Path) -> str | None:
    listed = image.with_name("faults.txt")
    if not listed.exists():
        return None
    with listed.open("r+", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        lines = handle.read().splitlines()
        fault = next((line for line in lines if image.name.startswith(line.split(" ")[0])), None)
        if fault is not None:
            lines.remove(fault)
            handle.seek(0)
            handle.truncate()
            handle.write("\n".join(lines))
    return None if fault is None else fault.split(" ")[1]


def _fail_or_read(path: Path, **options: Any) -> Any:
    fault = _next_fault(path)
    if fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "terminated":
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    elif fault == "segfault":
        ctypes.string_at(0)
    elif fault == "aborted":
        os.abort()
    elif fault == "memory":
        raise MemoryError
    elif fault == "disk":
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    elif fault == "hang":
        with on_disk(path):
            time.sleep(600)
    return _read(path, **options)


def install() -> None:
    """Let rows of this process fail as listed."""
    case_conversion.read_volume = _fail_or_read
