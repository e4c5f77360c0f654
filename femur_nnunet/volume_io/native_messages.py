"""Keeping the messages of compiled readers off the terminal; they may hold file names or tag values."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LOCK = threading.Lock()


@contextmanager
def silent_native_messages() -> Iterator[None]:
    """Send what compiled code writes to file descriptor 2 nowhere until the block ends.

    ITK, GDCM and the codecs write warnings past Python's streams. What matters of them is raised as an
    exception or checked by the callers. One thread at a time is inside.
    """
    with _LOCK:
        if sys.stderr is not None:
            sys.stderr.flush()
        saved = os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            os.close(nowhere)
