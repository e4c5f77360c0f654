"""Reading the voxels of a NIfTI file without the silent repairs of the usual library.

ITK's NIfTI reader turns NaN into 0, that is air into water, and fills a truncated file with zeros; both stay
unnoticed. Geometry still comes from ITK.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

_HEADER_1_BYTES, _HEADER_2_BYTES = 348, 540
# Codes of nifti1.h for plain numbers; complex, RGB and 128-bit types are no CT.
_DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_GZIP_MAGIC = b"\x1f\x8b"
# What damaged content raises here.
NIFTI_ERRORS = (EOFError, ValueError, KeyError, struct.error, zlib.error, gzip.BadGzipFile)


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
        Of the stored type, or float64 after a rescale; may be read-only.

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
        with gzip.GzipFile(fileobj=raw) as unpacked:
            voxels = _read(unpacked, shape_kji)  # type: ignore[arg-type]
            # Reading on to the end compares the checksum.
            while unpacked.read(1 << 20):
                pass
            return voxels


def _read(file: BinaryIO, shape_kji: tuple[int, int, int]) -> NDArray[Any]:
    header = file.read(_HEADER_2_BYTES)
    layout = _layout(header)
    n_bytes = int(np.prod(shape_kji)) * layout.dtype.itemsize
    if layout.offset_bytes < len(header):
        content = header[layout.offset_bytes:] + file.read(n_bytes - (len(header) - layout.offset_bytes))
        content = content[:n_bytes]
    else:
        file.read(layout.offset_bytes - len(header))
        content = file.read(n_bytes)
    if len(content) != n_bytes:
        raise EOFError(f"{len(content)} of {n_bytes} bytes of voxels")
    voxels = np.frombuffer(content, dtype=layout.dtype).reshape(shape_kji)
    voxels = voxels.astype(layout.dtype.newbyteorder("="), copy=False)
    if (layout.slope, layout.intercept) == (1.0, 0.0):
        return voxels
    return voxels * np.float64(layout.slope) + layout.intercept


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
