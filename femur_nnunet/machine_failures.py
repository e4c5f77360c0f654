"""Telling what the machine failed at from what a file is to blame for.

A full disk, too little memory, a share that went away: a row that meets one of these is not to be judged by it. What
is concluded of a row must be the same on the next machine.
"""

from __future__ import annotations

import errno
import os

from femur_nnunet.errors import MachineError

# No room, no memory, no handles, and disks or shares that went away; a missing file or permission is for its owner
# to mend and stays with the row.
_ERROR_NUMBERS = frozenset(getattr(errno, name) for name in (
    "ENOSPC", "EDQUOT", "ENOMEM", "EMFILE", "ENFILE", "EIO", "EROFS", "ENODEV", "ENXIO", "ESTALE", "EREMOTEIO",
    "ETIMEDOUT", "ENETDOWN", "ENETUNREACH", "ENETRESET", "ECONNRESET", "ECONNABORTED", "EHOSTDOWN", "EHOSTUNREACH",
    "ENOTCONN", "ENOLCK") if hasattr(errno, name))
# What compiled readers write into their RuntimeError when memory is short.
_ALLOCATION_TEXTS = ("failed to allocate", "bad_alloc", "cannot allocate", "allocation failed")
TOO_LITTLE_MEMORY = "too little memory for this scan"


def machine_failure(error: BaseException) -> str | None:
    """Return in words what the machine failed at, or ``None`` if the error may be the file's fault."""
    if isinstance(error, MemoryError):
        return TOO_LITTLE_MEMORY
    if isinstance(error, OSError):
        if error.errno == errno.ENOMEM:
            return TOO_LITTLE_MEMORY
        # The error's own text would hold a path.
        number = error.errno or 0
        return f"a failure of the machine ({os.strerror(number)})" if number in _ERROR_NUMBERS else None
    if isinstance(error, RuntimeError) and any(text in str(error).lower() for text in _ALLOCATION_TEXTS):
        return TOO_LITTLE_MEMORY
    return None


def raise_machine_failure(error: BaseException, subject: str = "") -> None:
    """Raise what the machine failed at, if it did; return otherwise.

    Parameters
    ----------
    error : Exception
        What a library or the system raised.
    subject : str, optional
        What the work was about.

    Raises
    ------
    MachineError
        The machine is to blame.
    """
    failure = machine_failure(error)
    if failure is not None:
        raise MachineError(failure, expected="memory for three copies of a scan in every worker, room in the "
                           "temporary folder and on the disks", action="mend it and run the same command again, with "
                           "fewer --jobs if memory is short", subject=subject) from None
