"""Small pictures of a scan for the preflight page, as data that stands in the page itself."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

WINDOW_HU = (-250.0, 750.0)
PIXEL_MM = 1.6
LARGEST_PIXELS = 280
_QUALITY = 80
# Yellow and blue differ for every kind of colour vision; the right side's contour is dashed as well.
CONTOURS = {1: ((255, 214, 10), False), 2: ((0, 229, 255), True)}
_DASH = 4


@dataclass(frozen=True)
class Thumbnail:
    """A picture ready for an ``img`` element."""

    caption: str
    data_uri: str
    width: int
    height: int


def draw(plane_hu: NDArray[np.generic], spacing_mm: tuple[float, float], caption: str,
         mask: NDArray[np.uint8] | None = None) -> Thumbnail:
    """Draw one plane with the contours of its mask.

    Parameters
    ----------
    plane_hu : ndarray
        Shape (rows, columns), the first row on top.
    spacing_mm : (float, float)
        Spacing of rows and columns.
    caption : str
        What is shown.
    mask : ndarray, optional
        Of the same shape: 1 left, 2 right.
    """
    factors = [spacing / PIXEL_MM for spacing in spacing_mm]
    largest = max(size * factor for size, factor in zip(plane_hu.shape, factors, strict=True))
    if largest > LARGEST_PIXELS:
        factors = [factor * LARGEST_PIXELS / largest for factor in factors]
    values = plane_hu.astype(np.float32)
    # Averaging before shrinking keeps thin cortex from vanishing between pixels.
    values = ndimage.gaussian_filter(values, [max(0.0, 0.5 * (1 / factor - 1)) for factor in factors])
    small = _resized(values, factors, order=1)
    grey = np.clip((small - WINDOW_HU[0]) / (WINDOW_HU[1] - WINDOW_HU[0]), 0, 1)
    picture = np.repeat((255 * grey).astype(np.uint8)[:, :, None], 3, axis=2)
    if mask is not None:
        labels = _resized(mask, factors, order=0)
        rows, columns = np.indices(labels.shape)
        for value, (colour, dashed) in CONTOURS.items():
            femur = labels == value
            edge = femur & ~ndimage.binary_erosion(femur, border_value=0)
            picture[edge & (((rows + columns) // _DASH) % 2 == 0) if dashed else edge] = colour
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
    return Thumbnail(caption, "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii"),
                     picture.shape[1], picture.shape[0])


def _resized(plane: NDArray[Any], factors: list[float], order: int) -> NDArray[Any]:
    """Resize to at least one pixel along each axis."""
    sizes = [max(1, round(size * factor)) for size, factor in zip(plane.shape, factors, strict=True)]
    at = [(np.arange(size) + 0.5) * whole / size - 0.5 for size, whole in zip(sizes, plane.shape, strict=True)]
    return ndimage.map_coordinates(plane, np.meshgrid(*at, indexing="ij"), order=order, mode="nearest")
