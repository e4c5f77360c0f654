"""The way from a scan's own grid to a case and back: permutation, flips, crop and left-right flip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.errors import FemurError
from femur_nnunet.volume_io.hips import HipCrop, flip_left_right
from femur_nnunet.volume_io.orientation import AxisMapping, Scalar
from femur_nnunet.volume_io.volume import Grid

SCHEMA = 1


@dataclass(frozen=True)
class GeometryRecord:
    """How a case was cut out of a scan; it carries any mask of the case back onto the scan's own grid.

    The steps, in order: the source axes are permuted and flipped to LPS, the box is cropped, and the
    content of a right hip is mirrored along x, so that every case looks like a left hip.

    Attributes
    ----------
    source_grid : Grid
        The scan's own grid.
    mapping : AxisMapping
        Permutation and flips that bring the scan to LPS.
    crop_start_xyz, crop_stop_xyz : tuple of int
        Box on the LPS grid in voxels, stop exclusive, in the order (x, y, z).
    left_right_flipped : bool
        Whether the content of the box was mirrored along x after cropping.

    Raises
    ------
    FemurError
        The box is empty or reaches out of the scan.
    """

    source_grid: Grid
    mapping: AxisMapping
    crop_start_xyz: tuple[int, int, int]
    crop_stop_xyz: tuple[int, int, int]
    left_right_flipped: bool

    def __post_init__(self) -> None:
        sizes = self.lps_grid.size_ijk
        for start, stop, size in zip(self.crop_start_xyz, self.crop_stop_xyz, sizes, strict=True):
            if not 0 <= start < stop <= size:
                raise FemurError(f"a crop box from {self.crop_start_xyz} to {self.crop_stop_xyz}",
                                 expected=f"a box with content inside the LPS grid of {sizes} voxels",
                                 action="restore the geometry file that convert_qct_sites wrote")

    @classmethod
    def of_hip(cls, source_grid: Grid, mapping: AxisMapping, hip: HipCrop) -> GeometryRecord:
        """Return the record of one hip cut along x; a right hip is flipped to look like a left one.

        Raises
        ------
        FemurError
            The hip reaches out of the scan.
        """
        size_x, size_y, size_z = mapping.apply_to_grid(source_grid).size_ijk
        if hip.stop_x > size_x:
            raise FemurError(f"a hip that ends at column {hip.stop_x}", expected=f"at most {size_x} columns",
                             action="split the hips of the same volume that the grid describes")
        return cls(source_grid, mapping, (hip.start_x, 0, 0), (hip.stop_x, size_y, size_z),
                   left_right_flipped=hip.side == "right")

    @classmethod
    def of_whole_scan(cls, source_grid: Grid, mapping: AxisMapping) -> GeometryRecord:
        """Return the record of a scan that is oriented to LPS but neither cut nor mirrored."""
        return cls(source_grid, mapping, (0, 0, 0), mapping.apply_to_grid(source_grid).size_ijk,
                   left_right_flipped=False)

    @property
    def lps_grid(self) -> Grid:
        """The source grid after permutation and flips, before the crop."""
        return self.mapping.apply_to_grid(self.source_grid)

    @property
    def case_grid(self) -> Grid:
        """The grid that the case is written with.

        Spacing and direction of the LPS-oriented scan, origin at the crop's first voxel. After a
        left-right flip the grid stays the same, so that all cases have one orientation: the world position
        of a flipped case's voxel is then the mirror image, within the crop, of where it was in the scan.
        Use :meth:`backward` for true positions.
        """
        lps = self.lps_grid
        start = self.crop_start_xyz
        origin = lps.world_mm_lps((float(start[0]), float(start[1]), float(start[2])))
        sizes = [stop - begin for begin, stop in zip(start, self.crop_stop_xyz, strict=True)]
        return Grid((sizes[0], sizes[1], sizes[2]), lps.spacing_mm_ijk,
                    (float(origin[0]), float(origin[1]), float(origin[2])), lps.direction)

    def forward(self, array_on_source_grid: NDArray[Scalar]) -> NDArray[Scalar]:
        """Cut the case out of an array on the scan's own grid.

        Parameters
        ----------
        array_on_source_grid : ndarray
            Shape ``(k, j, i)`` of the source grid.

        Returns
        -------
        ndarray
            Shape ``(z, y, x)`` of the case, contiguous, same dtype.
        """
        _check_shape(array_on_source_grid, self.source_grid, "the scan's own grid")
        case = self.mapping.apply(array_on_source_grid)[self._box_zyx()]
        return flip_left_right(case) if self.left_right_flipped else np.ascontiguousarray(case)

    def backward(self, array_of_case: NDArray[Scalar], fill_value: float = 0) -> NDArray[Scalar]:
        """Put an array of the case back onto the scan's own grid, bit by bit.

        Parameters
        ----------
        array_of_case : ndarray
            Shape ``(z, y, x)`` of the case.
        fill_value : float, optional
            Value of the voxels outside the crop.

        Returns
        -------
        ndarray
            Shape ``(k, j, i)`` of the source grid, contiguous, same dtype.
        """
        _check_shape(array_of_case, self.case_grid, "the case")
        whole = np.full(self.lps_grid.shape_kji, fill_value, dtype=array_of_case.dtype)
        whole[self._box_zyx()] = array_of_case[..., ::-1] if self.left_right_flipped else array_of_case
        return np.ascontiguousarray(self.mapping.undo(whole))

    def _box_zyx(self) -> tuple[slice, slice, slice]:
        (x0, y0, z0), (x1, y1, z1) = self.crop_start_xyz, self.crop_stop_xyz
        return slice(z0, z1), slice(y0, y1), slice(x0, x1)

    def to_json(self) -> dict[str, Any]:
        """Return the record as content for a JSON file (see :func:`femur_nnunet.files.write_json`)."""
        return {
            "schema": SCHEMA,
            "source_grid": {
                "size_ijk": list(self.source_grid.size_ijk),
                "spacing_mm_ijk": list(self.source_grid.spacing_mm_ijk),
                "origin_mm_lps": list(self.source_grid.origin_mm_lps),
                "direction": list(self.source_grid.direction),
            },
            "permutation": list(self.mapping.permutation),
            "flips": list(self.mapping.flips),
            "crop_start_xyz": list(self.crop_start_xyz),
            "crop_stop_xyz": list(self.crop_stop_xyz),
            "left_right_flipped": self.left_right_flipped,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> GeometryRecord:
        """Build the record from the content of a JSON file.

        Raises
        ------
        FemurError
            Another schema, or a missing or malformed field.
        """
        action = "restore the geometry file that convert_qct_sites wrote"
        schema = content.get("schema") if isinstance(content, Mapping) else None
        if schema != SCHEMA:
            raise FemurError(f"geometry schema {schema!r}", expected=f"schema {SCHEMA}", action=action)
        try:
            source = content["source_grid"]
            direction = tuple(float(value) for value in source["direction"])
            if len(direction) != 9:
                raise ValueError(f"{len(direction)} direction cosines instead of 9")
            grid = Grid(_three(source["size_ijk"], int), _three(source["spacing_mm_ijk"], float),
                        _three(source["origin_mm_lps"], float), direction)
            mapping = AxisMapping(_three(content["permutation"], int), _three(content["flips"], bool))
            return cls(grid, mapping, _three(content["crop_start_xyz"], int),
                       _three(content["crop_stop_xyz"], int), bool(content["left_right_flipped"]))
        except (KeyError, TypeError, ValueError) as error:
            raise FemurError(f"a malformed geometry record ({type(error).__name__}: {error})",
                             expected="the fields that GeometryRecord.to_json writes", action=action) from error


def _three(values: Any, kind: Any) -> tuple[Any, Any, Any]:
    first, second, third = values
    return kind(first), kind(second), kind(third)


def _check_shape(array: NDArray[np.generic], grid: Grid, where: str) -> None:
    if array.shape != grid.shape_kji:
        raise FemurError(f"an array of shape {array.shape}", expected=f"shape {grid.shape_kji} of {where}",
                         action="give the array that belongs to this geometry record")
