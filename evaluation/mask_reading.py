"""Finding and reading label maps; every defect of a file becomes a status instead of a crash."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.case_ids import CASE_ID_PATTERN
from femur_nnunet.errors import FemurError
from femur_nnunet.evaluation.case_status import CaseStatus
from femur_nnunet.files import canonical_json, sha256_of_file, sha256_of_text
from femur_nnunet.volume_io.dicom_seg import read_dicom_seg
from femur_nnunet.volume_io.image_files import IMAGE_SUFFIXES, read_raw_image
from femur_nnunet.volume_io.masks import only_dicom_mask_in
from femur_nnunet.volume_io.orientation import best_axis_mapping
from femur_nnunet.volume_io.volume import Grid

# 3D Slicer puts ".seg" before the suffix of a segmentation.
MASK_SUFFIXES = (*IMAGE_SUFFIXES, ".seg.nrrd", ".dcm")
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
    may_be_part : bool
        Whether the image may have more slices than the grid: a DICOM Segmentation may leave empty ones out.
    """

    array: NDArray[np.integer]
    grid: Grid
    may_be_part: bool = False

    @property
    def spacing_mm_zyx(self) -> tuple[float, float, float]:
        """Distance of voxel centres along z, y and x."""
        x, y, z = self.grid.spacing_mm_ijk
        return z, y, x

    def mask_of(self, label: int) -> NDArray[np.bool_]:
        """Return where the array holds a label, not 0, in the same shape; may share the array's memory."""
        # An array of bytes 0 and 1 is its own mask: a whole image less to write and to hold.
        if label == 1 and self.array.dtype == np.uint8 and self.array.max(initial=0) <= 1:
            return self.array.view(np.bool_)
        return np.asarray(self.array == label)

    @property
    def diagonal_mm(self) -> float:
        """Diagonal of the image's box, outer face to outer face."""
        return float(np.linalg.norm(np.asarray(self.array.shape) * np.asarray(self.spacing_mm_zyx)))


def find_masks(folder: Path) -> dict[str, list[Path]]:
    """Return the mask files of a folder by case id (the file name without its suffix).

    A folder named after a case is one with a DICOM Segmentation. Hidden files and files of other kinds, such as
    nnU-Net's dataset.json, are passed over. A case with more than one file keeps them all: which is meant cannot
    be told.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        suffix = _mask_suffix(path.name)
        if suffix and not path.name.startswith(".") and path.is_file():
            found.setdefault(path.name[: -len(suffix)], []).append(path)
        elif CASE_ID_PATTERN.match(path.name) and path.is_dir():
            found.setdefault(path.name, []).append(path)
    return found


def read_label_map(path: Path, labels: Iterable[int]) -> LabelMap:
    """Read a mask, turn it to LPS and check its values.

    Parameters
    ----------
    path : Path
        NIfTI, MetaImage or NRRD file, a DICOM Segmentation, or a folder that holds one.
    labels : iterable of int
        Values that may occur beside 0.

    Raises
    ------
    MaskError
        With status ``unreadable`` (no image, not three-dimensional, several components), ``has_nan``,
        ``not_integer`` or ``unexpected_labels``.
    """
    try:
        array, grid, is_dicom = _read(path)
    except FemurError as error:
        raise MaskError(CaseStatus.UNREADABLE, error.found) from None
    except OSError as error:
        raise MaskError(CaseStatus.UNREADABLE, f"a file that the system cannot read (error {error.errno})") from None
    mapping = best_axis_mapping(grid.direction_matrix)
    # The values are looked at first, and made bytes: turning the axes then moves less memory.
    values = mapping.apply(_as_labels(array, set(labels)))
    return LabelMap(np.ascontiguousarray(values), mapping.apply_to_grid(grid), may_be_part=is_dicom)


def hash_of_mask(path: Path) -> str | None:
    """Return the SHA-256 of a mask's file, or over names and hashes of a folder's files; None if unreadable."""
    try:
        if not path.is_dir():
            return sha256_of_file(path)
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return sha256_of_text(canonical_json({file.relative_to(path).as_posix(): sha256_of_file(file)
                                              for file in files}))
    except OSError:
        return None


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


def _read(path: Path) -> tuple[NDArray[np.generic], Grid, bool]:
    """Return the array of a mask as stored, its grid, and whether it is a DICOM Segmentation."""
    is_folder = path.is_dir()
    if not is_folder and path.suffix.lower() != ".dcm":
        array, grid, _ = read_raw_image(path)
        return array, grid, False
    file, modality = only_dicom_mask_in(path) if is_folder else (path, "SEG")
    if modality != "SEG":
        raise FemurError(f"a DICOM file of modality {modality}", expected="a DICOM Segmentation",
                         action="export the mask as DICOM-SEG or NIfTI")
    return *read_dicom_seg(file), True


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
    low = 0 if np.issubdtype(array.dtype, np.unsignedinteger) else array.min(initial=0)
    high = array.max(initial=0)
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
