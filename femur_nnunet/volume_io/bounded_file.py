"""A file from which no more than an agreed number of bytes is taken, whatever its content says of itself.

The libraries that read archives take names and tables into memory as long as the archive claims them to be: a packed
header of some kilobytes can claim gigabytes.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
from pathlib import Path
from typing import IO

_PACKED: tuple[tuple[bytes, type], ...] = ((b"\x1f\x8b", gzip.GzipFile), (b"BZh", bz2.BZ2File),
                                           (b"\xfd7zXZ\0", lzma.LZMAFile))


class BytesExceededError(Exception):
    """More bytes were asked for than were allowed."""


class BoundedFile:
    """Passes reads and seeks on to a file, and counts what is read.

    Attributes
    ----------
    allowed_bytes : int or None
        How many bytes may still be read; ``None``: any number.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.allowed_bytes: int | None = None

    def read(self, n_bytes: int = -1) -> bytes:
        """Read as many bytes, or all; raise :class:`BytesExceededError` if that would be more than is allowed."""
        if self.allowed_bytes is None:
            return self._file.read(n_bytes)
        # What is asked for may be a damaged number; what is there decides.
        most = self.allowed_bytes + 1
        content = self._file.read(most if n_bytes is None or n_bytes < 0 else min(n_bytes, most))
        self.allowed_bytes -= len(content)
        if self.allowed_bytes < 0:
            raise BytesExceededError
        return content

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move on to a place, which costs nothing."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the place."""
        return self._file.tell()

    def seekable(self) -> bool:
        """Say that any place can be gone to."""
        return True

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def open_unpacked(path: Path) -> IO[bytes]:
    """Open a file for reading, through gzip, bzip2 or xz if it begins like one of these."""
    with path.open("rb") as file:
        head = file.read(6)
    opener = next((opener for magic, opener in _PACKED if head.startswith(magic)), None)
    opened: IO[bytes] = path.open("rb") if opener is None else opener(path, "rb")
    return opened
