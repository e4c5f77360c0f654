"""NIfTI tells positions twice, by qform and sform; both must tell the same."""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.errors import FemurError

# Quaternions of 32-bit floats and rounded spacings add up to some hundredths of a millimetre over a scan.
TOLERANCE_MM = 0.5
_HEADER_BYTES = 348


@dataclass(frozen=True)
class _Forms:
    """Codes of qform and sform and their 3 x 4 affines, from voxel indices to RAS mm."""

    qform_code: int
    sform_code: int
    qform: NDArray[np.float64]
    sform: NDArray[np.float64]


def refuse_contradicting_forms(path: Path, size_ijk: tuple[int, int, int], *, subject: str = "") -> None:
    """Refuse a file whose qform and sform place a corner voxel more than 0.5 mm apart.

    Programs differ in which of the two they follow: such a file may show a left hip in one and a right hip in
    another, and a mask drawn in one program lies elsewhere in the next.

    Parameters
    ----------
    path : Path
        A single-file NIfTI-1, gzipped or not.
    size_ijk : tuple of int
        Number of voxels along each axis.
    subject : str, optional
        What errors are about.

    Raises
    ------
    FemurError
        The two differ.
    struct.error, EOFError, zlib.error, ValueError
        The header is damaged.
    """
    forms = _read_forms(path)
    if forms.qform_code == 0 or forms.sform_code == 0:
        return
    last_i, last_j, last_k = (n - 1 for n in size_ijk)
    corners = np.array([(i, j, k, 1) for i in (0, last_i) for j in (0, last_j) for k in (0, last_k)], dtype=np.float64)
    apart_mm = float(np.linalg.norm(corners @ (forms.qform - forms.sform).T, axis=1).max())
    if not apart_mm <= TOLERANCE_MM:
        raise FemurError(f"a NIfTI file whose qform and sform contradict each other (corner voxels up to "
                         f"{apart_mm:.1f} mm apart)",
                         expected=f"both within {TOLERANCE_MM:g} mm, or one of them with code 0",
                         action="find out which one is right and write the file again with it alone", subject=subject)


def _read_forms(path: Path) -> _Forms:
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        header = gzip.GzipFile(fileobj=raw).read(_HEADER_BYTES) if packed else raw.read(_HEADER_BYTES)
    order = next((order for order in "<>" if struct.unpack_from(f"{order}i", header) == (_HEADER_BYTES,)), None)
    if order is None:
        raise ValueError("no NIfTI-1 header")
    # Positions of the fields as in nifti1.h: pixdim, both codes, quaternion with offset, three rows of the sform.
    pixdim = struct.unpack_from(f"{order}4f", header, 76)
    codes = struct.unpack_from(f"{order}2h", header, 252)
    values = struct.unpack_from(f"{order}18f", header, 256)
    return _Forms(codes[0], codes[1], _affine_of_quaternion(values[:3], values[3:6], pixdim),
                  np.array(values[6:]).reshape(3, 4))


def _affine_of_quaternion(bcd: tuple[float, ...], offset_mm: tuple[float, ...],
                          pixdim: tuple[float, ...]) -> NDArray[np.float64]:
    """Return the affine of method 2 in nifti1.h; a negative ``pixdim[0]`` reverses the third axis."""
    b, c, d = bcd
    a = np.sqrt(max(0.0, 1 - b * b - c * c - d * d))
    rotation = np.array([[a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                         [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
                         [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c]])
    steps_mm = np.array(pixdim[1:]) * (1, 1, -1 if pixdim[0] < 0 else 1)
    return np.column_stack([rotation * steps_mm, offset_mm])
