"""Writing NIfTI files that are the same bytes for the same content and hold nothing but voxels and grid."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from zlib_ng import gzip_ng

from femur_nnunet.errors import FemurError
from femur_nnunet.files import atomic_path
from femur_nnunet.volume_io.volume import Grid

# Of zlib-ng's levels the fastest ones within 5 % of SimpleITK's file size, for CT and for masks (docs/benchmarks.md).
COMPRESSION_LEVEL = 3
MASK_COMPRESSION_LEVEL = 6
_NIFTI_TYPES = {np.dtype(np.uint8): (2, 8), np.dtype(np.int16): (4, 16), np.dtype(np.float32): (16, 32)}
_HEADER_BYTES = 352
_LARGEST_EXACT_FLOAT32 = 1 << 24
_SCANNER_CODE = 1
_MILLIMETRES = 2


def write_nifti(path: Path, array: NDArray[np.generic], grid: Grid) -> None:
    """Write an array and its grid as NIfTI-1, atomically.

    ``uint8`` and ``bool`` arrays (masks) are written as uint8; others as int16 where all values are integral
    and fit, else as float32. Description fields stay empty and no time is stored, so equal content gives equal
    bytes (from one version of zlib-ng on one kind of processor; other ones may pack the same content otherwise).

    Parameters
    ----------
    path : Path
        Ends in ``.nii.gz`` or ``.nii``.
    array : ndarray
        Shape ``(k, j, i)`` of the grid.
    grid : Grid
        Where the voxels lie. NIfTI keeps positions in 32-bit floats: about 1e-5 mm.

    Raises
    ------
    FemurError
        The shape differs from the grid's, or a value is NaN or infinite.
    ValueError
        The file's name ends otherwise.
    """
    if not path.name.endswith((".nii", ".nii.gz")):
        raise ValueError("the file name must end in .nii or .nii.gz")
    if array.shape != grid.shape_kji:
        raise FemurError(f"an array of shape {array.shape}", expected=f"the grid's shape {grid.shape_kji}",
                         action="give array and grid of the same case")
    voxels = _stored_type(array)
    header = _header(grid, voxels.dtype)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        if path.name.endswith(".gz"):
            # No name and no time in the gzip header: both would change the bytes.
            level = MASK_COMPRESSION_LEVEL if voxels.dtype == np.uint8 else COMPRESSION_LEVEL
            with gzip_ng.GzipNGFile(filename="", mode="wb", compresslevel=level, fileobj=file, mtime=0) as packed:
                _write_content(packed, header, voxels)
        else:
            _write_content(file, header, voxels)


def _write_content(file: io.BufferedIOBase, header: bytes, voxels: NDArray[np.generic]) -> None:
    file.write(header)
    for plane in voxels:
        file.write(np.ascontiguousarray(plane).data)


def _stored_type(array: NDArray[np.generic]) -> NDArray[np.generic]:
    if array.dtype in (np.uint8, np.bool_):
        return array.astype(np.uint8, copy=False)
    if not np.issubdtype(array.dtype, np.integer):
        if not all(np.isfinite(plane).all() for plane in array):
            raise FemurError("a NaN or infinite value in an array to be written", expected="finite values",
                             action="report the case; its source should have been refused")
        if not all(np.array_equal(plane, np.rint(plane)) for plane in array):
            return array.astype("<f4", copy=False)
    limits = np.iinfo(np.int16)
    if limits.min <= array.min() and array.max() <= limits.max:
        return array.astype("<i2", copy=False)
    if max(-float(array.min()), float(array.max())) > _LARGEST_EXACT_FLOAT32:
        raise FemurError("integral values beyond what a 32-bit float holds exactly", expected="HU or labels",
                         action="report the case; its source should have been refused")
    return array.astype("<f4")


def _header(grid: Grid, dtype: np.dtype) -> bytes:
    """Return the 348 header bytes of NIfTI-1 and the 4 bytes that say that no extension follows.

    Field by field as in the NIfTI-1 standard (nifti1.h). qform and sform hold the same affine, in RAS.
    """
    code, bits = _NIFTI_TYPES[dtype.newbyteorder("=")]
    # NIfTI counts x to the right and y to the front: the first two world axes of LPS change sign.
    direction_ras = np.diag([-1.0, -1.0, 1.0]) @ grid.direction_matrix
    origin_ras = np.array([-grid.origin_mm_lps[0], -grid.origin_mm_lps[1], grid.origin_mm_lps[2]]) + 0.0
    affine = np.column_stack([direction_ras * np.asarray(grid.spacing_mm_ijk), origin_ras]) + 0.0
    (b, c, d), qfac = _quaternion(direction_ras)
    header = struct.pack("<i10s18sihcB", 348, b"", b"", 0, 0, b"r", 0)
    header += struct.pack("<8h", 3, *grid.size_ijk, 1, 1, 1, 1)
    header += struct.pack("<3f4h", 0, 0, 0, 0, code, bits, 0)
    header += struct.pack("<8f", qfac, *grid.spacing_mm_ijk, 0, 0, 0, 0)
    header += struct.pack("<3fhBB", _HEADER_BYTES, 1, 0, 0, 0, _MILLIMETRES)
    header += struct.pack("<4f2i", 0, 0, 0, 0, 0, 0)
    header += struct.pack("<80s24s", b"", b"")
    header += struct.pack("<2h6f", _SCANNER_CODE, _SCANNER_CODE, b, c, d, *origin_ras)
    header += struct.pack("<12f", *affine.ravel())
    header += struct.pack("<16s4s4s", b"", b"n+1\0", b"")
    return header


def _quaternion(direction_ras: NDArray[np.float64]) -> tuple[tuple[float, float, float], float]:
    """Return the quaternion (b, c, d) of a direction and qfac, which is -1 for a left-handed one.

    The real part is made non-negative, since NIfTI does not store it.
    """
    qfac = -1.0 if np.linalg.det(direction_ras) < 0 else 1.0
    rotation = direction_ras * np.array([1.0, 1.0, qfac])
    # The unit quaternion is the eigenvector of the largest eigenvalue of this symmetric matrix (Bar-Itzhack, 2000,
    # J. Guid. Control Dyn. 23(6), eq. 9 with the transposed rotation); no case distinction by the trace is needed.
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    symmetric = np.array([[xx + yy + zz, zy - yz, xz - zx, yx - xy],
                          [zy - yz, xx - yy - zz, xy + yx, xz + zx],
                          [xz - zx, xy + yx, yy - xx - zz, yz + zy],
                          [yx - xy, xz + zx, yz + zy, zz - xx - yy]])
    _, vectors = np.linalg.eigh(symmetric)
    quaternion = vectors[:, -1]
    if quaternion[0] < 0 or (abs(quaternion[0]) < 1e-9 and quaternion[np.argmax(np.abs(quaternion))] < 0):
        quaternion = -quaternion
    return (float(quaternion[1]) + 0.0, float(quaternion[2]) + 0.0, float(quaternion[3]) + 0.0), qfac
