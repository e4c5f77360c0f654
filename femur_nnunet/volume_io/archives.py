"""Reading scans and masks out of zip and tar archives, without leaving anything behind.

The readers of the medical formats want files on a disk, so an archive is unpacked into a folder of its own below the
system's temporary folder (TMPDIR names another one), readable by its owner alone, and that folder is removed as soon
as the scan is in memory, whatever happens. A process that is killed cannot remove anything: its folder is removed by
the process that started it (:func:`remove_folders_of`), or by the next archive that the same user reads. A folder in
use is held by a lock, which the kernel frees with the process, so no run ever removes the folder of another one.
"""

from __future__ import annotations

import fcntl
import gzip
import lzma
import os
import shutil
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from femur_nnunet.errors import FemurError, MachineError
from femur_nnunet.volume_io.bounded_file import BoundedFile, BytesExceededError, open_unpacked
from femur_nnunet.volume_io.dicom_headers import looks_like_dicom
from femur_nnunet.volume_io.image_files import IMAGE_SUFFIXES, data_file_entries, image_suffix

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
FOLDER_PREFIX = "femur_unpacked_"
# A folder younger than this may be one whose process has not locked it yet.
YOUNGEST_LEFTOVER_S = 60.0
_PIECE_BYTES = 1 << 20
_GIB = 1 << 30
# An entry of a zip's table: 46 bytes, a name and what systems add to it.
_ZIP_ENTRY_BYTES = 512
_ARCHIVE_ERRORS = (gzip.BadGzipFile, zipfile.BadZipFile, zipfile.LargeZipFile, tarfile.TarError, zlib.error, EOFError,
                   ValueError, NotImplementedError, RuntimeError, UnicodeError, IndexError, KeyError, OverflowError,
                   lzma.LZMAError, FileExistsError)


@dataclass(frozen=True)
class ArchiveLimits:
    """How much an archive may hold, counted while it is unpacked, not as it claims.

    Attributes
    ----------
    members : int
        Files and folders.
    total_bytes : int
        Unpacked bytes, whatever the size of the archive: twice the largest volume that is read.
    free_bytes : int
        Unpacked bytes that any archive may have; masks compress a thousandfold.
    ratio : float
        Unpacked bytes for each packed one above ``free_bytes``.
    header_bytes : int
        Names and attributes of one member; they count toward the unpacked bytes as well.
    """

    members: int = 100_000
    total_bytes: int = 8 * _GIB
    free_bytes: int = _GIB
    ratio: float = 100.0
    header_bytes: int = 1 << 18

    def bytes_of(self, packed_bytes: int) -> int:
        """Return how many bytes an archive of this size may unpack to."""
        return min(self.total_bytes, max(self.free_bytes, int(self.ratio * packed_bytes)))


def is_archive(path: Path) -> bool:
    """Say whether a file is an archive by its name."""
    return path.name.lower().endswith(ARCHIVE_SUFFIXES)


@contextmanager
def on_disk(path: Path, *, subject: str = "", limits: ArchiveLimits | None = None) -> Iterator[Path]:
    """Yield ``path`` itself, or for an archive the image file or DICOM folder in it, unpacked until the block ends.

    Parameters
    ----------
    path : Path
        Anything that a reader takes.
    subject : str, optional
        What errors are about. Errors hold no names.
    limits : ArchiveLimits, optional
        Bounds against archives that would fill the disk.

    Raises
    ------
    FemurError
        A damaged or encrypted archive, one that would write outside its folder, one beyond the limits, or one that
        holds neither one image file nor a DICOM series alone.
    MachineError
        There is no folder to unpack into.
    """
    if not (is_archive(path) and path.is_file()):
        yield path
        return
    try:
        _remove_leftovers(Path(tempfile.gettempdir()))
        folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}_"))
        held = os.open(folder, os.O_RDONLY)
    except OSError as error:
        # No archive is to blame for it.
        raise MachineError(f"no folder to unpack an archive into ({error.strerror or type(error).__name__})",
                           expected="a temporary folder (TMPDIR) with room", action="mend it, or name another one in "
                           "TMPDIR, and run the same command again", subject=subject) from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        _unpack(path, folder, limits or ArchiveLimits(), subject)
        yield _content(folder, subject)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def remove_folders_of(process_id: int) -> None:
    """Remove at once what a process of this user, which has been ended, had unpacked."""
    try:
        parent = Path(tempfile.gettempdir())
    except OSError:  # nothing can have been unpacked
        return
    _remove_leftovers(parent, f"{process_id}_", youngest_s=0.0)


def _remove_leftovers(parent: Path, owner: str = "", youngest_s: float = YOUNGEST_LEFTOVER_S) -> None:
    """Remove folders whose process is gone."""
    for folder in parent.glob(f"{FOLDER_PREFIX}{owner}*"):
        try:
            status = folder.lstat()
            if status.st_uid != os.getuid() or time.time() - status.st_mtime < youngest_s:
                continue
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # no folder, or just removed by another process
            continue
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # its process lives
            continue
        finally:
            os.close(held)


def _unpack(path: Path, folder: Path, limits: ArchiveLimits, subject: str) -> None:
    allowance = _Allowance(limits, limits.bytes_of(path.stat().st_size), subject)
    try:
        if path.name.lower().endswith(".zip"):
            _unpack_zip(path, folder, allowance)
        else:
            _unpack_tar(path, folder, allowance)
    except FemurError:
        raise
    except BytesExceededError:
        raise allowance.beyond("headers larger than the limit") from None
    # The libraries' own texts quote names of members.
    except _ARCHIVE_ERRORS as error:
        raise FemurError(f"an archive that cannot be unpacked ({type(error).__name__}: damaged, truncated, or of an "
                         "unknown kind)", expected="a sound zip or tar archive",
                         action="copy it again, or unpack it and give the folder", subject=subject) from None


def _unpack_zip(path: Path, folder: Path, allowance: _Allowance) -> None:
    with path.open("rb") as file:
        bounded = BoundedFile(file)
        # Opening takes the table of all members into memory.
        bounded.allowed_bytes = allowance.limits.header_bytes + allowance.limits.members * _ZIP_ENTRY_BYTES
        with zipfile.ZipFile(cast("IO[bytes]", bounded)) as archive:
            bounded.allowed_bytes = None
            for member in archive.infolist():
                allowance.count_member()
                if member.flag_bits & 0x1:
                    raise FemurError("an encrypted archive", expected="one without a password",
                                     action="unpack it and give the folder", subject=allowance.subject)
                # The upper half holds the Unix mode: symbolic links are written that way.
                if (member.external_attr >> 16) & 0o170000 == 0o120000:
                    raise _escape(allowance.subject)
                target = _target(folder, member.filename, allowance.subject)
                if target is not None and not member.is_dir():
                    with archive.open(member) as content:
                        _write(content, target, allowance)


def _unpack_tar(path: Path, folder: Path, allowance: _Allowance) -> None:
    with open_unpacked(path) as file:
        bounded = BoundedFile(file)
        # Opening reads what stands before the first member.
        bounded.allowed_bytes = allowance.limits.header_bytes
        with tarfile.open(fileobj=cast("IO[bytes]", bounded), mode="r:") as archive:
            while (member := _next_member(archive, bounded, allowance)) is not None:
                target = _target(folder, member.name, allowance.subject)
                if member.isdir():
                    continue
                content = archive.extractfile(member) if member.isreg() else None
                if content is None:
                    raise _escape(allowance.subject)
                if target is not None:
                    with content:
                        _write(content, target, allowance)


def _next_member(archive: tarfile.TarFile, bounded: BoundedFile, allowance: _Allowance) -> tarfile.TarInfo | None:
    """Read the next member's headers, which the library takes into memory however long they claim to be."""
    bounded.allowed_bytes = allowance.limits.header_bytes
    member = archive.next()
    allowance.take(allowance.limits.header_bytes - bounded.allowed_bytes)
    bounded.allowed_bytes = None
    # The library would keep all members.
    archive.members = []  # type: ignore[attr-defined]
    if member is not None:
        allowance.count_member()
    return member


@dataclass
class _Allowance:
    """What an archive may still unpack."""

    limits: ArchiveLimits
    n_bytes: int
    subject: str
    n_members: int = 0

    def count_member(self) -> None:
        self.n_members += 1
        if self.n_members > self.limits.members:
            raise self.beyond(f"more than {self.limits.members} files")

    def take(self, n_bytes: int) -> None:
        self.n_bytes -= n_bytes
        if self.n_bytes < 0:
            raise self.beyond("more bytes than its size allows (a decompression bomb?)")

    def beyond(self, what: str) -> FemurError:
        """Return the error of an archive that holds too much."""
        return FemurError(f"an archive that unpacks to {what}",
                          expected=f"one scan: at most {self.limits.members} files, {self.limits.total_bytes / _GIB:g} "
                          f"GiB, {self.limits.ratio:g} times the archive's size above "
                          f"{self.limits.free_bytes / _GIB:g} GiB, and {self.limits.header_bytes >> 10} KiB of names "
                          "and attributes a file",
                          action="check the archive; unpack it and give the folder if it is sound",
                          subject=self.subject)


def _escape(subject: str) -> FemurError:
    return FemurError("an archive with links, devices or paths that lead out of its own folder",
                      expected="plain files below one folder",
                      action="do not trust the archive; pack the scan's files anew", subject=subject)


def _target(folder: Path, name: str, subject: str) -> Path | None:
    """Return where a member goes; ``None`` for the folders that macOS adds."""
    # Windows writes backslashes, and a drive would be a root of its own.
    inner = PurePosixPath(name.replace("\\", "/"))
    if inner.is_absolute() or ".." in inner.parts or (inner.parts and inner.parts[0].endswith(":")) or "\0" in name:
        raise _escape(subject)
    return None if "__MACOSX" in inner.parts or not inner.parts else folder.joinpath(*inner.parts)


def _write(content: IO[bytes], target: Path, allowance: _Allowance) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Two members that become one file would lose the first without a word.
    with target.open("xb") as file:
        while piece := content.read(_PIECE_BYTES):
            allowance.take(len(piece))
            file.write(piece)


def _content(folder: Path, subject: str) -> Path:
    """Return the one image file in a folder, or the folder itself if it holds DICOM files."""
    files = [Path(parent) / name for parent, _, names in os.walk(folder) for name in names
             if not name.startswith("._")]
    images = [file for file in files if image_suffix(file) is not None]
    n_dicom = sum(looks_like_dicom(file) for file in files if image_suffix(file) is None)
    if len(images) == 1 and not n_dicom:
        _refuse_data_outside(images[0], folder, subject)
        return images[0]
    if not images:
        return folder
    raise FemurError(f"an archive of {len(images)} image file(s) and {n_dicom} DICOM file(s)",
                     expected=f"one image ({', '.join(IMAGE_SUFFIXES)}) or one DICOM series in it",
                     action="pack the scan alone, or unpack it and name the file", subject=subject)


def _refuse_data_outside(image: Path, folder: Path, subject: str) -> None:
    """Refuse an image header that takes its voxels from a file that was not in the archive."""
    # A list is not looked through: nobody packs one file a slice and calls it one image.
    if any(name.upper().startswith("LIST") or not (image.parent / name).resolve().is_relative_to(folder.resolve())
           for name in data_file_entries(image)):
        raise FemurError("an image header that names voxels outside of its archive", expected="all its files inside",
                         action="pack header and voxels together, or give the unpacked files", subject=subject)
