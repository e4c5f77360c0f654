"""Reading the voxels of a NIfTI file without the silent repairs of the usual library.

ITK's NIfTI reader turns NaN into 0, that is air into water, and fills a truncated file with zeros; both stay
unnoticed. Geometry still comes from ITK.
"""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from zlib_ng import gzip_ng, zlib_ng

_HEADER_1_BYTES, _HEADER_2_BYTES = 348, 540
# Codes of nifti1.h for plain numbers; complex, RGB and 128-bit types are no CT.
_DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_GZIP_MAGIC = b"\x1f\x8b"
# The library's type information has an instance here, where it is a class.
_ZLIB_NG_ERROR: type[Exception] = zlib_ng.error  # type: ignore[assignment]
# What damaged content raises here.
NIFTI_ERRORS = (EOFError, ValueError, KeyError, struct.error, zlib.error, _ZLIB_NG_ERROR, gzip.BadGzipFile)
# Unpacking piece by piece stays within the processor's cache: on masks three times faster than in one piece.
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class _Layout:
    """Where and how the voxels are stored."""

    dtype: np.dtype
    offset_bytes: int
    slope: float
    intercept: float


def read_nifti_voxels(path: Path, shape_kji: tuple[int, int, int]) -> NDArray[Any]:
    """Return the voxels in the order they are stored, rescaled if the header says so.

    Parameters
    ----------
    path : Path
        A single-file NIfTI-1 or NIfTI-2, gzipped or not.
    shape_kji : tuple of int
        Shape of the volume.

    Returns
    -------
    ndarray
        Of the stored type, or float64 after a rescale.

    Raises
    ------
    One of ``NIFTI_ERRORS``
        The file is damaged or truncated, or its voxels are no plain numbers.
    OSError
        The system cannot read the file.
    """
    with path.open("rb") as raw:
        packed = raw.read(2) == _GZIP_MAGIC
        raw.seek(0)
        if not packed:
            return _read(raw, shape_kji)
        with gzip_ng.GzipNGFile(fileobj=raw) as unpacked:
            voxels = _read(unpacked, shape_kji)
            # Reading on to the end compares the checksum.
            while unpacked.read(_PIECE_BYTES):
                pass
            return voxels


def _read(file: io.BufferedIOBase, shape_kji: tuple[int, int, int]) -> NDArray[Any]:
    header = file.read(_HEADER_1_BYTES)
    if _is_second_version(header):
        header += file.read(_HEADER_2_BYTES - _HEADER_1_BYTES)
    layout = _layout(header)
    n_before = layout.offset_bytes - len(header)
    if len(file.read(n_before)) != n_before:
        raise EOFError("no voxels behind the header")
    voxels = _filled(file, int(np.prod(shape_kji)) * layout.dtype.itemsize).view(layout.dtype).reshape(shape_kji)
    voxels = voxels.astype(layout.dtype.newbyteorder("="), copy=False)
    if (layout.slope, layout.intercept) == (1.0, 0.0):
        return voxels
    return voxels * np.float64(layout.slope) + layout.intercept


def _filled(file: io.BufferedIOBase, n_bytes: int) -> NDArray[np.uint8]:
    """Return the next bytes of a file, all of which must be there."""
    content = np.empty(n_bytes, dtype=np.uint8)
    space = content.data
    n_read = 0
    while n_read < n_bytes:
        n_new = file.readinto(space[n_read:n_read + _PIECE_BYTES])
        if not n_new:
            raise EOFError(f"{n_read} of {n_bytes} bytes of voxels")
        n_read += n_new
    return content


def _is_second_version(header: bytes) -> bool:
    return any(struct.unpack_from(f"{order}i", header) == (_HEADER_2_BYTES,) for order in "<>")


def _layout(header: bytes) -> _Layout:
    for order in "<>":
        (size,) = struct.unpack_from(f"{order}i", header)
        if size == _HEADER_1_BYTES:
            (code,) = struct.unpack_from(f"{order}h", header, 70)
            offset, slope, intercept = struct.unpack_from(f"{order}3f", header, 108)
        elif size == _HEADER_2_BYTES:
            (code,) = struct.unpack_from(f"{order}h", header, 12)
            offset, slope, intercept = struct.unpack_from(f"{order}q2d", header, 168)
        else:
            continue
        if not size <= offset < 1 << 24:
            raise ValueError("the voxels do not begin behind the header")
        if slope == 0 or not np.isfinite(slope) or not np.isfinite(intercept):
            slope, intercept = 1.0, 0.0  # the standard's way of saying: no rescale
        return _Layout(np.dtype(order + _DTYPES[code]), int(offset), float(slope), float(intercept))
    raise ValueError("no NIfTI header")
