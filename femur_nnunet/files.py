"""Writing files so that a reader never sees half of one, and holding a folder against a second run."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from femur_nnunet.errors import FemurError, TargetBusyError

LOCK_FILE_NAME = ".femur_lock"
# How the names of unfinished files begin; what a killed process leaves behind is known by it.
PARTIAL_PREFIX = ".partial-"


@contextmanager
def atomic_path(final_path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder that replaces ``final_path`` when the block ends well.

    The temporary name keeps the suffixes, since writers such as SimpleITK choose the format by them,
    and begins with a dot, so that no glob for cases picks it up. It is removed when the block raises.

    Parameters
    ----------
    final_path : Path
        Where the finished file shall be.

    Yields
    ------
    Path
        Where the block has to write.
    """
    suffixes = "".join(final_path.suffixes[-2:])
    temporary = final_path.with_name(f"{PARTIAL_PREFIX}{uuid.uuid4().hex[:12]}{suffixes}")
    try:
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(final_path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, private: bool = False) -> None:
    """Write UTF-8 text atomically; ``private``: into a file that nobody else could read at any moment (mode 600)."""
    with atomic_path(path) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            handle.write(text)


def write_json(path: Path, content: Any, *, sort_keys: bool = False) -> None:
    """Write JSON atomically, indented, with a final newline; NaN is refused since JSON has none."""
    write_text(path, json.dumps(content, indent=2, sort_keys=sort_keys, allow_nan=False) + "\n")


def read_json(path: Path, *, what: str, action: str) -> Any:
    """Read a JSON file and turn every failure into a :class:`FemurError`.

    Parameters
    ----------
    path : Path
        The file.
    what : str
        What the file should be, for the message ("a plans file").
    action : str
        What the user should do when it is missing or broken.

    Raises
    ------
    FemurError
        The file is missing, unreadable or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FemurError("no such file", expected=what, action=action, subject=str(path)) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FemurError(f"unreadable content ({error})", expected=what, action=action,
                         subject=str(path)) from error


def canonical_json(content: Any) -> str:
    """Return the one JSON text of ``content`` that hashes are taken over."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def sha256_of_text(text: str) -> str:
    """Return the SHA-256 of UTF-8 text as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def hold_folder(folder: Path) -> Iterator[int]:
    """Hold ``folder`` against other runs until the block ends; the kernel frees it if the process dies.

    Yields
    ------
    int
        The lock's file descriptor. A child process that inherits it holds the folder too, so that none can go on
        writing there unnoticed after its parent was killed.

    Raises
    ------
    TargetBusyError
        Another process holds the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK_FILE_NAME).open("w", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise TargetBusyError(
                "another run writing into this folder", expected="a folder that no other run holds",
                action="wait for the other run to end, or choose another --out", subject=str(folder),
            ) from None
        yield handle.fileno()
