"""What may be given to the segmentation from Python: a path, a Volume, a SimpleITK image, an array with its spacing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from femur_nnunet.errors import UsageError
from femur_nnunet.volume_io.image_files import compact_type
from femur_nnunet.volume_io.reading import read_volume
from femur_nnunet.volume_io.reading_rules import STRICT, ReadingRules
from femur_nnunet.volume_io.volume import Grid, Volume


def as_volume(image: Any, *, spacing_mm_zyx: tuple[float, float, float] | None = None,
              rules: ReadingRules = STRICT) -> Volume:
    """Return an image as a volume in HU.

    Parameters
    ----------
    image : Volume, SimpleITK.Image, path or ndarray
        A path may lead to anything that :func:`~femur_nnunet.volume_io.read_volume` takes. An array has the shape
        (z, y, x) and is taken to lie along LPS: x to the patient's left, y backwards, z upwards.
    spacing_mm_zyx : tuple of float, optional
        Of an array; needed there, and there alone.
    rules : ReadingRules, optional
        What of a DICOM series is mended.

    Raises
    ------
    FemurError
        The image cannot be read, is not three-dimensional, or holds NaN or infinite values.
    UsageError
        An array without spacing, something else with one, or an object of another kind.
    """
    is_array = isinstance(image, np.ndarray)
    if is_array != (spacing_mm_zyx is not None):
        raise UsageError("an array without its spacing" if is_array else "a spacing beside an image that has its own",
                         expected="spacing_mm_zyx for arrays alone",
                         action="give spacing_mm_zyx=(z, y, x) in mm" if is_array else "leave it out")
    if isinstance(image, Volume):
        return _checked(image)
    if isinstance(image, (str, Path)):
        return read_volume(Path(image), rules=rules)
    if is_array:
        assert spacing_mm_zyx is not None
        if image.ndim != 3:
            raise UsageError(f"an array of {image.ndim} dimensions", expected="3: (z, y, x)", action="give one volume")
        z_mm, y_mm, x_mm = (float(value) for value in spacing_mm_zyx)
        grid = Grid((image.shape[2], image.shape[1], image.shape[0]), (x_mm, y_mm, z_mm), (0.0, 0.0, 0.0))
        return _checked(Volume(image, grid, source_format="array"))
    if type(image).__module__.split(".")[0] == "SimpleITK":
        return _from_simpleitk(image)
    raise UsageError(f"an object of type {type(image).__name__}",
                     expected="a path, a Volume, a SimpleITK image, or an array with spacing_mm_zyx",
                     action="give one of these")


def _from_simpleitk(image: Any) -> Volume:
    import SimpleITK as sitk

    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise UsageError(f"an image of {image.GetDimension()} dimensions and {image.GetNumberOfComponentsPerPixel()} "
                         "values a voxel", expected="3 dimensions and one value", action="give one CT volume")
    grid = Grid(image.GetSize(), image.GetSpacing(), image.GetOrigin(),
                tuple(float(value) + 0.0 for value in image.GetDirection()))
    return _checked(Volume(sitk.GetArrayFromImage(image), grid, source_format="simpleitk"))


def _checked(volume: Volume) -> Volume:
    """Refuse what a reader of files would refuse."""
    spacing = volume.grid.spacing_mm_ijk
    if not all(np.isfinite(value) and value > 0 for value in spacing):
        raise UsageError(f"a voxel spacing of {spacing} mm", expected="positive spacings", action="correct it")
    if volume.array.shape != volume.grid.shape_kji or min(volume.array.shape) < 3:
        raise UsageError(f"an array of shape {volume.array.shape} on a grid of {volume.grid.shape_kji}",
                         expected="one shape, at least 3 voxels along each axis", action="give the whole scan")
    if np.issubdtype(volume.array.dtype, np.floating) and not all(np.isfinite(plane).all() for plane in volume.array):
        raise UsageError("NaN or infinite voxels", expected="a finite value in every voxel",
                         action="write -1024 HU outside the field of view")
    if not np.issubdtype(volume.array.dtype, np.number) or np.iscomplexobj(volume.array):
        raise UsageError(f"voxels of type {volume.array.dtype}", expected="numbers in HU", action="convert them")
    return Volume(compact_type(volume.array), volume.grid, volume.tags, volume.source_format, list(volume.notes),
                  volume.slices)
