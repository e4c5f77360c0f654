"""Reading NIfTI, MetaImage and NRRD files through SimpleITK, with the checks that it leaves out."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from femur_nnunet.errors import FemurError
from femur_nnunet.machine_failures import raise_machine_failure
from femur_nnunet.volume_io.native_messages import silent_native_messages
from femur_nnunet.volume_io.nifti_orientation import refuse_contradicting_forms
from femur_nnunet.volume_io.nifti_voxels import NIFTI_ERRORS, read_nifti_voxels
from femur_nnunet.volume_io.volume import MAXIMUM_VOXELS, Grid, Volume

MINIMUM_SLICES = 3
_FORMATS = {".nii": ("nifti", "NiftiImageIO"), ".nii.gz": ("nifti", "NiftiImageIO"),
            ".mha": ("metaimage", "MetaImageIO"), ".mhd": ("metaimage", "MetaImageIO"),
            ".nrrd": ("nrrd", "NrrdImageIO"), ".nhdr": ("nrrd", "NrrdImageIO")}
IMAGE_SUFFIXES: tuple[str, ...] = tuple(_FORMATS)
_DATA_FILE = re.compile(r"\s*(?:ElementDataFile[ \t]*[=:]|data ?file:)(.*)", re.IGNORECASE | re.DOTALL)
# A printf format with one number, then first, last and step; NRRD may add the number of axes in each file.
_NUMBERED_FILES = re.compile(r"([^%]*%0?\d{0,2}d[^%]*?)\s+(-?\d{1,9})\s+(-?\d{1,9})\s+(-?\d{1,9})(?:\s+\d+)?")
_MOST_FILES = 100_000
# Room for the names of some ten thousand slices.
_HEADER_BYTES = 1 << 20
# Deflate packs 1,032 bytes into one at the best.
_LARGEST_PACKING = 1100
_PACKED_BYTES = re.compile(rb"^CompressedDataSize[ \t]*[=:][ \t]*(-?\d{1,30})", re.MULTILINE)


def image_suffix(path: Path) -> str | None:
    """Return which of the known suffixes (``.nii.gz`` counts as one) a file has, or None."""
    name = path.name.lower()
    return next((suffix for suffix in sorted(IMAGE_SUFFIXES, key=len, reverse=True) if name.endswith(suffix)), None)


def data_file_entries(header: Path) -> list[str]:
    """Return what a MetaImage or NRRD header names as its data files; none where the voxels are in the file itself.

    The entries stand as they are in the header, relative to its folder or not; the first is the word ``LIST`` where
    the lines behind it name one file a slice.
    """
    suffix = image_suffix(header)
    if suffix not in (".mha", ".mhd", ".nrrd", ".nhdr"):
        return []
    with header.open("rb") as file:
        # By line feeds alone, as the readers do: another separator in a comment must not hide an entry.
        lines = [line.rstrip(b"\r").decode("utf-8", errors="replace")
                 for line in file.read(_HEADER_BYTES).split(b"\n")]
    if suffix in (".nrrd", ".nhdr") and "" in lines:
        # Behind the first empty line there are voxels.
        lines = lines[:lines.index("")]
    for number, line in enumerate(lines):
        entry = _DATA_FILE.match(line)
        if entry is not None:
            names = [name.strip() for name in (entry[1], *lines[number + 1:]) if name.strip()]
            if not names or names[0].upper() == "LOCAL":
                return []
            return names if names[0].upper().startswith("LIST") or suffix == ".mhd" else names[:1]
    return []


def data_files(header: Path) -> list[Path]:
    """Return the files that hold the voxels of a MetaImage or NRRD header, apart from the header itself.

    One file, a list of one file a slice, or a pattern of numbered ones (``slice%03d.raw 1 80 1``); of what the header
    names, those files that are there.
    """
    entries = data_file_entries(header)
    names = entries[1:] if entries and entries[0].upper().startswith("LIST") else entries
    files = [header.parent / name for entry in names for name in _numbered(entry)]
    return [file for file in files if file.is_file()]


def _numbered(entry: str) -> list[str]:
    """Return the names that a pattern with first, last and step stands for; any other entry stands for itself."""
    pattern = _NUMBERED_FILES.fullmatch(entry)
    if pattern is None:
        return [entry]
    name, first, last, step = pattern[1], *(int(pattern[index]) for index in (2, 3, 4))
    numbers = range(first, last + (1 if step > 0 else -1), step) if step else range(0)
    return [name % number for number in numbers[:_MOST_FILES]]


def read_image_file(path: Path, *, subject: str = "") -> Volume:
    """Read a CT in HU from a NIfTI, MetaImage or NRRD file.

    Parameters
    ----------
    path : Path
        The file.
    subject : str, optional
        What errors are about.

    Returns
    -------
    Volume
        int16 where all values are integral and fit (int32 if they do not), else float32.

    Raises
    ------
    FemurError
        Unreadable file, not three-dimensional, several values a voxel, fewer than 3 slices, no valid spacing or
        direction, NaN or infinite voxels.
    """
    array, grid, source_format = read_raw_image(path, subject=subject)
    if min(grid.size_ijk) < MINIMUM_SLICES:
        raise FemurError(f"an image of {_times(grid.size_ijk)} voxels",
                         expected=f"at least {MINIMUM_SLICES} along each axis", action="give the whole scan",
                         subject=subject)
    n_bad = 0 if np.issubdtype(array.dtype, np.integer) else int(array.size - np.count_nonzero(np.isfinite(array)))
    if n_bad:
        raise FemurError(f"{n_bad} NaN or infinite voxel(s)", expected="a finite value in every voxel",
                         action="export the scan again; outside the field of view write -1024 HU", subject=subject)
    return Volume(array=compact_type(array), grid=grid, source_format=source_format)


def read_raw_image(path: Path, *, subject: str = "") -> tuple[NDArray[np.generic], Grid, str]:
    """Read array, grid and format name of a 3D scalar image of any numeric type; shared with the mask reader.

    The array has the shape ``(k, j, i)`` of the grid.

    Raises
    ------
    FemurError
        A file of an unknown kind, or one that cannot be read.
    """
    suffix = image_suffix(path)
    if suffix is None:
        raise FemurError("a file of an unknown kind", expected=f"one of {', '.join(IMAGE_SUFFIXES)}, or a DICOM folder",
                         action="convert the file to one of these", subject=subject)
    source_format, io_name = _FORMATS[suffix]
    reader = sitk.ImageFileReader()
    reader.SetImageIO(io_name)
    reader.SetFileName(str(path))
    try:
        with silent_native_messages():
            reader.ReadImageInformation()
            _check_header(reader, source_format, subject)
            _refuse_more_voxels_than_the_files_hold(reader, path, subject)
            grid = _grid(reader)
            if source_format == "nifti":
                refuse_contradicting_forms(path, grid.size_ijk, subject=subject)
                return read_nifti_voxels(path, grid.shape_kji), grid, source_format
            return _volume_array(reader), grid, source_format
    # ITK's own text holds the path, so it is not repeated.
    except (RuntimeError, MemoryError, *NIFTI_ERRORS) as error:
        raise_machine_failure(error, subject)
        raise FemurError(f"a {source_format} file that cannot be read (damaged, truncated, or with axes that are not "
                         "orthogonal)", expected="a sound image file", action="copy or export it again",
                         subject=subject) from None


def _grid(reader: sitk.ImageFileReader) -> Grid:
    """Return the grid of the first three axes."""
    n_axes = reader.GetDimension()
    direction = np.asarray(reader.GetDirection()).reshape(n_axes, n_axes)[:3, :3]
    return Grid(size_ijk=reader.GetSize()[:3], spacing_mm_ijk=reader.GetSpacing()[:3],
                origin_mm_lps=reader.GetOrigin()[:3],
                # Adding 0.0 turns -0.0 into 0.0, so that equal grids print equal.
                direction=tuple(float(value) + 0.0 for value in direction.ravel()))


def _volume_array(reader: sitk.ImageFileReader) -> NDArray[np.generic]:
    if reader.GetDimension() == 4:
        # A fourth axis of length 1 is dropped; an extract size of 0 tells ITK so.
        reader.SetExtractSize([*reader.GetSize()[:3], 0])
    return sitk.GetArrayFromImage(reader.Execute())


def _check_header(reader: sitk.ImageFileReader, source_format: str, subject: str) -> None:
    size = reader.GetSize()
    is_volume = reader.GetDimension() == 3 or (reader.GetDimension() == 4 and size[3] == 1)
    if not is_volume or reader.GetNumberOfComponents() != 1:
        what = f"{reader.GetDimension()} dimensions ({_times(size)})"
        if reader.GetNumberOfComponents() != 1:
            what += f" and {reader.GetNumberOfComponents()} values a voxel"
        raise FemurError(f"an image with {what}", expected="3 dimensions and one value a voxel",
                         action="give one CT volume, not a time series or a colour image", subject=subject)
    if np.prod(size, dtype=np.float64) > MAXIMUM_VOXELS:
        raise FemurError(f"an image of {_times(size)} voxels", expected=f"at most {MAXIMUM_VOXELS} voxels",
                         action="check whether the header is damaged", subject=subject)
    spacing = reader.GetSpacing()
    if not all(np.isfinite(value) and value > 0 for value in spacing):
        raise FemurError(f"a voxel spacing of {_times(spacing)} mm", expected="positive spacings",
                         action="correct the header", subject=subject)
    direction = np.asarray(reader.GetDirection()).reshape(len(size), len(size))
    if not (np.isfinite(direction).all() and np.isfinite(reader.GetOrigin()).all()
            and np.abs(direction.T @ direction - np.eye(3)).max() < 1e-3):
        raise FemurError("an image whose axes are not at right angles", expected="an orthonormal direction",
                         action="correct the header, or resample the sheared image", subject=subject)
    if source_format == "nifti" and _nifti_code(reader, "qform_code") == _nifti_code(reader, "sform_code") == 0:
        raise FemurError("a NIfTI file without orientation (qform and sform codes are 0)",
                         expected="a header that tells the patient's left from right",
                         action="write the file again with its qform or sform", subject=subject)


def _refuse_more_voxels_than_the_files_hold(reader: sitk.ImageFileReader, path: Path, subject: str) -> None:
    """Refuse a damaged size before memory is asked for it: it is the file's fault and not the machine's."""
    n_voxels = int(np.prod(reader.GetSize(), dtype=np.float64))
    n_bytes = sum(file.stat().st_size for file in (path, *data_files(path)))
    claims = f"{_times(reader.GetSize())} voxels" if n_voxels > _LARGEST_PACKING * n_bytes else ""
    if image_suffix(path) in (".mha", ".mhd"):
        with path.open("rb") as file:
            packed = _PACKED_BYTES.search(file.read(_HEADER_BYTES))
        if packed is not None and not 0 <= int(packed[1]) <= n_bytes:
            claims = f"{int(packed[1])} packed bytes"
    if claims:
        raise FemurError(f"a header of {claims} before {n_bytes} bytes", expected="a file that holds all its voxels",
                         action="copy or export it again", subject=subject)


def _nifti_code(reader: sitk.ImageFileReader, key: str) -> int:
    text = reader.GetMetaData(key) if reader.HasMetaDataKey(key) else "0"
    return int(float(text or 0))


def compact_type(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the values, in the same shape, as int16 if they are integral and fit, else as int32 or float32."""
    if not np.issubdtype(array.dtype, np.integer):
        if not all(np.array_equal(part, np.rint(part)) for part in array):
            return array.astype(np.float32, copy=False)
        if max(-float(array.min()), float(array.max())) >= 2 ** 31:
            return array.astype(np.float32, copy=False)
    low, high = int(array.min()), int(array.max())
    if np.iinfo(np.int16).min <= low and high <= np.iinfo(np.int16).max:
        return array.astype(np.int16, copy=False)
    return array.astype(np.int32 if low >= -2 ** 31 and high < 2 ** 31 else np.float32, copy=False)


def _times(values: tuple[float, ...]) -> str:
    return " x ".join(f"{value:g}" for value in values)
