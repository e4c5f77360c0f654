"""Reading DICOM Segmentation objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.errors import FemurError
from femur_nnunet.volume_io.dicom_headers import PARSE_ERRORS, quiet_pydicom
from femur_nnunet.volume_io.volume import Grid


def read_dicom_seg(path: Path, *, subject: str = "") -> tuple[NDArray[np.generic], Grid]:
    """Read a DICOM Segmentation as one label map; the label value is the segment's number.

    Parameters
    ----------
    path : Path
        The file.
    subject : str, optional
        What errors are about.

    Returns
    -------
    values : ndarray
        Shape ``(k, j, i)`` of the grid; fractional segmentations keep their fractions.
    grid : Grid
        The grid of the planes that the object holds, which may be fewer than the image's.

    Raises
    ------
    FemurError
        Damaged object, overlapping segments, or planes that make no volume.
    """
    # highdicom is slow to import and only masks of this one kind need it.
    import highdicom

    try:
        with quiet_pydicom():
            segmentation = highdicom.seg.segread(path)
            volume = segmentation.get_volume(combine_segments=True, rescale_fractional=True)
    # The library's own text may quote attributes of the file, so only the kind of failure is told.
    except (*PARSE_ERRORS, RuntimeError) as error:
        raise FemurError(f"a DICOM Segmentation that cannot be read as one label map ({type(error).__name__}: damaged, "
                         "overlapping segments, or planes that make no volume)",
                         expected="a segmentation of the image's planes without overlap",
                         action="export it again, or as NIfTI", subject=subject) from None
    return np.asarray(volume.array), _grid(np.asarray(volume.affine, dtype=np.float64), volume.array.shape)


def _grid(affine_kji: NDArray[np.float64], shape_kji: tuple[int, ...]) -> Grid:
    """Return the grid of an affine whose columns belong to slices, rows and columns, in that order (LPS)."""
    steps = affine_kji[:3, 2::-1]
    spacing = np.linalg.norm(steps, axis=0)
    origin = affine_kji[:3, 3]
    return Grid(size_ijk=(shape_kji[2], shape_kji[1], shape_kji[0]),
                spacing_mm_ijk=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
                origin_mm_lps=(float(origin[0]), float(origin[1]), float(origin[2])),
                direction=tuple(float(value) + 0.0 for value in (steps / spacing).ravel()))
