"""Imported by a worker process, lets the reader crash on the image of one row and hang on that of the next."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path
from typing import Any

from femur_nnunet.dataset_conversion import case_conversion

_read = case_conversion.read_volume


def _crash_or_read(path: Path, **options: Any) -> Any:
    if path.name.startswith("p0"):
        ctypes.string_at(0)
    while path.name.startswith("p1"):
        time.sleep(1)
    return _read(path, **options)


case_conversion.read_volume = _crash_or_read
