"""What a worker is told to do by the tests of worker processes: end well, die, or hang."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path


def act(task: str) -> str:
    """Carry out a task such as ``ok a``, ``sleep 0.3``, ``segfault``, ``exit 7``, ``kill``, ``hang``."""
    verb, _, rest = task.partition(" ")
    if verb == "touch":
        Path(rest.removesuffix(" then hang")).write_text(str(os.getpid()), encoding="ascii")
        verb = "hang"
    if verb == "segfault":
        ctypes.string_at(0)
    elif verb == "exit":
        os._exit(int(rest))
    elif verb == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif verb == "print":
        print("a library that prints" * 1000)
        os.write(1, b"and compiled code as well\n" * 1000)
        sys.stdout.flush()
        return "printed"
    while verb == "hang":
        time.sleep(1)
    if verb == "sleep":
        time.sleep(float(rest))
    return rest
