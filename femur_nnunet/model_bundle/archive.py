"""A model bundle's zip, read by rules so narrow that nothing hides in it; nothing is ever unpacked to disk."""

from __future__ import annotations

import hashlib
import stat
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from femur_nnunet.model_bundle.bundle_error import BundleError

MOST_FILES = 64
LARGEST_JSON_BYTES = 4 << 20
LARGEST_BUNDLE_BYTES = 4 << 30
_LARGEST_DIRECTORY_BYTES = 64 << 10
_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
# Python's writer adds a record and a locator for archives above 2 GiB.
_END_64_BYTES = _END_64.size + 20
_LOCAL_HEADER_BYTES = 30
_ENCRYPTED = 0x1
_BLOCK = 1 << 20


class BundleArchive:
    """The files of a bundle by name; opened for each read, so that it can go to another process.

    Files are stored, not compressed: an archive cannot grow when it is read, and the same content has the same bytes
    with every zip library.

    Parameters
    ----------
    path : Path
        The zip.

    Raises
    ------
    BundleError
        No such file, no zip, or one with a file that is compressed, encrypted, a link, a folder, doubled or within
        another, or whose name is more than a plain file name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.subject = path.name
        with self._opened() as archive:
            entries = archive.infolist()
            self._check(entries, directory=archive.start_dir)
        self.sizes: dict[str, int] = {entry.filename: entry.file_size for entry in entries}

    def read(self, name: str, *, most_bytes: int | None = None) -> bytes:
        """Return a file's content.

        Raises
        ------
        BundleError
            No such file in the archive, one above ``most_bytes``, or a broken one.
        """
        size = self._size(name)
        if most_bytes is not None and size > most_bytes:
            raise BundleError(f"{size} bytes in {name}", expected=f"at most {most_bytes}", subject=self.subject)
        return b"".join(self._blocks(name))

    def sha256(self, name: str) -> str:
        """Return the SHA-256 of a file's content, read in pieces."""
        digest = hashlib.sha256()
        for block in self._blocks(name):
            digest.update(block)
        return digest.hexdigest()

    def _blocks(self, name: str) -> Iterator[bytes]:
        size = self._size(name)
        with self._opened() as archive, archive.open(name) as handle:
            while block := handle.read(_BLOCK):
                size -= len(block)
                yield block
        if size:
            raise BundleError(f"{name} of another length than before", expected="a file that does not change",
                              subject=self.subject)

    def _size(self, name: str) -> int:
        if name not in self.sizes:
            raise BundleError(f"no {name}", expected="it in the bundle", subject=self.subject)
        return self.sizes[name]

    @contextmanager
    def _opened(self) -> Iterator[zipfile.ZipFile]:
        if not self.path.is_file():  # a pipe would keep its reader waiting
            raise BundleError("no such file" if not self.path.exists() else "a folder or a device",
                              expected="a model bundle (.zip)", action="name a file that femur_model pack wrote",
                              subject=self.subject)
        try:
            with self.path.open("rb") as handle:
                _check_end(handle, self.subject)
                with zipfile.ZipFile(handle) as archive:
                    yield archive
        except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error,
                OverflowError, KeyError) as error:
            raise BundleError(f"a broken zip ({str(error)[:80]})", expected="a whole model bundle",
                              subject=self.subject) from None

    def _check(self, entries: list[zipfile.ZipInfo], *, directory: int) -> None:
        names = [entry.filename for entry in entries]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            self._refuse(f"{doubled[0]!a} twice", "each file once")
        for entry in entries:
            name = ascii(entry.filename[:80])
            if not is_plain_name(entry.filename) or entry.orig_filename != entry.filename:
                self._refuse(f"the name {name}", "plain file names, without folders")
            if entry.flag_bits & _ENCRYPTED:
                self._refuse(f"{name}, which is encrypted", "files that anybody can read")
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if kind not in (0, stat.S_IFREG):
                self._refuse(f"{name}, a link or a device", "plain files")
            if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
                self._refuse(f"{name}, which is compressed", "stored files, as femur_model pack writes them")
        position = 0
        for entry in sorted(entries, key=lambda item: item.header_offset):
            if entry.header_offset != position:
                self._refuse(f"something before or inside {entry.filename!a}", "files right behind one another")
            position += _LOCAL_HEADER_BYTES + len(entry.filename) + entry.file_size
        if position != directory:
            self._refuse("something behind the last file", "files and their directory alone")

    def _refuse(self, found: str, expected: str) -> None:
        raise BundleError(found, expected=expected, subject=self.subject)


def is_plain_name(name: str) -> bool:
    """Return whether a name is letters, digits, ``_``, ``-`` and ``.`` alone, not beginning with a dot."""
    return (0 < len(name) <= 64 and name.isascii() and not name.startswith(".")
            and all(letter.isalnum() or letter in "_-." for letter in name))


def _check_end(handle: BinaryIO, subject: str) -> None:
    """Refuse an archive whose directory could be large, doubled or beside other data, before it is parsed."""
    size = handle.seek(0, 2)
    if size > LARGEST_BUNDLE_BYTES:
        raise BundleError(f"{size} bytes", expected=f"at most {LARGEST_BUNDLE_BYTES}", subject=subject)
    handle.seek(max(0, size - _END.size))
    end = handle.read(_END.size)
    fields = _END.unpack(end) if len(end) == _END.size else (b"",)
    if fields[0] != b"PK\5\6":
        raise BundleError("no zip, or one cut short", expected="a model bundle (.zip)", subject=subject)
    _, disk, first_disk, here, count, directory, offset, comment = fields
    extra = size - _END.size - directory - offset
    if disk or first_disk or comment or here != count or count > MOST_FILES or directory > _LARGEST_DIRECTORY_BYTES or (
            extra not in (0, _END_64_BYTES)):
        raise BundleError("another form of zip", expected=f"one of at most {MOST_FILES} files with nothing before, "
                          "between or behind them", subject=subject)
    if extra:
        handle.seek(size - _END.size - _END_64_BYTES)
        record = _END_64.unpack(handle.read(_END_64.size))
        if record[0] != b"PK\6\6" or record[6:] != (count, count, directory, offset):
            raise BundleError("two directories", expected="one", subject=subject)
    handle.seek(0)
