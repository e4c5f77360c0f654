"""Finding and reading label maps; every defect of a file becomes a status instead of a crash."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.errors import FemurError
from femur_nnunet.evaluation.case_status import CaseStatus
from femur_nnunet.volume_io.image_files import IMAGE_SUFFIXES, read_raw_image
from femur_nnunet.volume_io.orientation import best_axis_mapping
from femur_nnunet.volume_io.volume import Grid

# 3D Slicer puts ".seg" before the suffix of a segmentation.
MASK_SUFFIXES = (*IMAGE_SUFFIXES, ".seg.nrrd")
GEOMETRY_TOLERANCE_MM = 0.01


class MaskError(Exception):
    """A mask that cannot be used: the status that it would give a prediction, and what was found."""

    def __init__(self, status: CaseStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@dataclass(frozen=True)
class LabelMap:
    """Integer labels on a grid in LPS orientation.

    Attributes
    ----------
    array : ndarray of integer
        Shape ``(z, y, x)``; z grows to Superior.
    grid : Grid
        Where the voxels lie.
    """

    array: NDArray[np.integer]
    grid: Grid

    @property
    def spacing_mm_zyx(self) -> tuple[float, float, float]:
        """Distance of voxel centres along z, y and x."""
        x, y, z = self.grid.spacing_mm_ijk
        return z, y, x

    @property
    def diagonal_mm(self) -> float:
        """Diagonal of the image's box, outer face to outer face."""
        return float(np.linalg.norm(np.asarray(self.array.shape) * np.asarray(self.spacing_mm_zyx)))


def find_masks(folder: Path) -> dict[str, list[Path]]:
    """Return the mask files of a folder by case id (the file name without its suffix).

    Hidden files and files of other kinds, such as nnU-Net's dataset.json, are passed over. A case
    with more than one file keeps them all: which is meant cannot be told.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        suffix = _mask_suffix(path.name)
        if suffix and not path.name.startswith(".") and path.is_file():
            found.setdefault(path.name[: -len(suffix)], []).append(path)
    return found


def read_label_map(path: Path, labels: Iterable[int]) -> LabelMap:
    """Read a mask, turn it to LPS and check its values.

    Parameters
    ----------
    path : Path
        NIfTI, MetaImage or NRRD file.
    labels : iterable of int
        Values that may occur beside 0.

    Raises
    ------
    MaskError
        With status ``unreadable`` (no image, not three-dimensional, several components), ``has_nan``,
        ``not_integer`` or ``unexpected_labels``.
    """
    try:
        array, grid, _ = read_raw_image(path)
    except FemurError as error:
        raise MaskError(CaseStatus.UNREADABLE, error.found) from None
    except OSError as error:
        raise MaskError(CaseStatus.UNREADABLE, f"a file that the system cannot read (error {error.errno})") from None
    mapping = best_axis_mapping(grid.direction_matrix)
    # The values are looked at first, and made bytes: turning the axes then moves less memory.
    values = mapping.apply(_as_labels(array, set(labels)))
    return LabelMap(np.ascontiguousarray(values), mapping.apply_to_grid(grid))


def check_same_grid(reference: LabelMap, prediction: LabelMap) -> None:
    """Check that two label maps lie on one grid, corner voxel by corner voxel, to 0.01 mm.

    Raises
    ------
    MaskError
        With status ``geometry_mismatch``.
    """
    if reference.grid.size_ijk != prediction.grid.size_ijk:
        raise MaskError(CaseStatus.GEOMETRY_MISMATCH, f"size {_x(prediction.grid.size_ijk)} (x, y, z) instead of "
                          f"{_x(reference.grid.size_ijk)}")
    offset_mm = np.linalg.norm(reference.grid.corners_mm_lps() - prediction.grid.corners_mm_lps(), axis=1).max()
    if not offset_mm <= GEOMETRY_TOLERANCE_MM:
        raise MaskError(CaseStatus.GEOMETRY_MISMATCH, f"corners {offset_mm:.3g} mm apart; "
                          f"at most {GEOMETRY_TOLERANCE_MM} mm is taken for rounding")


def _as_labels(array: NDArray[np.generic], labels: set[int]) -> NDArray[np.integer]:
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            raise MaskError(CaseStatus.HAS_NAN, f"{int((~np.isfinite(array)).sum())} voxels of NaN or infinity")
        fractions = array != np.rint(array)
        if fractions.any():
            raise MaskError(CaseStatus.NOT_INTEGER, f"fractions such as {array[fractions][0]:.4g} in "
                              f"{int(fractions.sum())} voxels")
        if np.abs(array).max(initial=0) < 2**31:
            array = array.astype(np.int32)
    low, high = array.min(initial=0), array.max(initial=0)
    if low < 0 or high > max(labels):
        foreign = sorted({int(value) for value in np.unique(array)} - labels - {0})
        shown = ", ".join(str(value) for value in foreign[:5])
        raise MaskError(CaseStatus.UNEXPECTED_LABELS,
                          f"values {shown}{' ...' if len(foreign) > 5 else ''} instead of 0 and "
                          f"{', '.join(str(value) for value in sorted(labels))}")
    return array.astype(np.uint8, copy=False)


def _mask_suffix(name: str) -> str:
    fitting = [suffix for suffix in MASK_SUFFIXES if name.lower().endswith(suffix)]
    return max(fitting, key=len, default="")


def _x(size: Iterable[int]) -> str:
    return " x ".join(str(number) for number in size)
