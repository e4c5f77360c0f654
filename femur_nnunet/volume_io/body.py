"""Where the body lies in a CT: its midline and width, with the table and small objects left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from femur_nnunet.errors import FemurError
from femur_nnunet.volume_io.volume import Volume

BODY_HU = -300
# The body is searched on a coarse copy; its edge is needed to some millimetres only.
_COARSE_MM = 4.0
# Opening removes sheets and rods up to this thickness: table tops, tubes, calibration rods.
_OPENING_MM = 16.0
# Two separate thighs are both body; a hand, a phantom or what is left of the table is not.
_SMALLEST_PART = 0.2


@dataclass(frozen=True)
class BodyExtent:
    """The body along x of an LPS-oriented grid.

    Attributes
    ----------
    midline_x : float
        Column of the midline, in (fractional) voxel indices: the median over the slices of each slice's centre
        of area.
    width_mm : float
        Widest extent of the body in any slice.
    """

    midline_x: float
    width_mm: float


def find_body(volume_lps: Volume, *, subject: str = "") -> BodyExtent:
    """Find the midline and the width of the body.

    Body is what exceeds -300 HU, survives an opening by 16 mm (which removes table tops) and belongs to a
    connected part at least a fifth as large as the largest one.

    Parameters
    ----------
    volume_lps : Volume
        CT in HU, oriented to LPS.
    subject : str, optional
        What errors are about.

    Raises
    ------
    FemurError
        Nothing in the image looks like a body.
    """
    spacing_x, spacing_y, spacing_z = volume_lps.grid.spacing_mm_ijk
    steps_zyx = [max(1, int(_COARSE_MM // spacing)) for spacing in (spacing_z, spacing_y, spacing_x)]
    above = volume_lps.array[::steps_zyx[0], ::steps_zyx[1], ::steps_zyx[2]] > BODY_HU
    body = _largest_parts(_open_in_plane(above, spacing_y * steps_zyx[1], spacing_x * steps_zyx[2]))
    if not body.any():
        raise FemurError("no body in the image", expected=f"a part wider than {_OPENING_MM:.0f} mm above {BODY_HU} HU",
                         action="check that the image is a CT in HU", subject=subject)
    columns = np.arange(body.shape[2])
    areas = np.count_nonzero(body, axis=1)
    slices = areas.sum(axis=1) > 0
    # Each slice votes alike: one slice with a hand or the edge of the field of view does not move the median.
    centres = (areas[slices] * columns).sum(axis=1) / areas[slices].sum(axis=1)
    first = np.argmax(areas[slices] > 0, axis=1)
    last = body.shape[2] - 1 - np.argmax(areas[slices][:, ::-1] > 0, axis=1)
    return BodyExtent(midline_x=float(np.median(centres)) * steps_zyx[2],
                      width_mm=float((last - first + 1).max() * steps_zyx[2] * spacing_x))


def _open_in_plane(above: np.ndarray, spacing_y_mm: float, spacing_x_mm: float) -> np.ndarray:
    """Open every slice by a box of about 16 mm; separable, so that it costs little on large scans."""
    size = (1, _odd(_OPENING_MM / spacing_y_mm), _odd(_OPENING_MM / spacing_x_mm))
    # Beyond the field of view the body goes on: an image border must not count as the body's edge.
    eroded = ndimage.minimum_filter(above, size=size, mode="nearest")
    return ndimage.maximum_filter(eroded, size=size, mode="nearest") & above


def _odd(voxels: float) -> int:
    return 2 * round(voxels / 2) + 1


def _largest_parts(body: np.ndarray) -> np.ndarray:
    parts, count = ndimage.label(body)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    return (sizes >= max(1.0, _SMALLEST_PART * sizes.max()))[parts]
