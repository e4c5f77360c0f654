"""How texture is measured: grid, range of intensities, grey levels, aggregation."""

from __future__ import annotations

from dataclasses import dataclass

from femur_nnunet.errors import UsageError
from femur_nnunet.evaluation.texture.directions import Aggregation

DEFAULT_SPACING_MM = 1.0
DEFAULT_BIN_WIDTH_HU = 25.0
LOWEST_HU = -500.0
HIGHEST_HU = 3071.0
_MOST_BINS = 1024


@dataclass(frozen=True)
class TextureOptions:
    """How texture is measured; docs/texture.md gives the reasons of the defaults.

    Attributes
    ----------
    spacing_mm : float, optional
        Side of the voxels that scan and mask are interpolated to; None: the scan's own grid.
    bin_width_hu : float
        Width of a grey level, counted from ``lowest_hu``.
    bin_number : int, optional
        Divide the range of each region into so many grey levels instead.
    lowest_hu, highest_hu : float
        Voxels of other intensity are left out of everything but the shape.
    aggregation : Aggregation
        Of the directions of GLCM and GLRLM.

    Raises
    ------
    UsageError
        A number out of its range.
    """

    spacing_mm: float | None = DEFAULT_SPACING_MM
    bin_width_hu: float = DEFAULT_BIN_WIDTH_HU
    bin_number: int | None = None
    lowest_hu: float = LOWEST_HU
    highest_hu: float = HIGHEST_HU
    aggregation: Aggregation = Aggregation.MERGED

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.spacing_mm is not None and not 0.1 <= self.spacing_mm <= 20:
            raise UsageError(f"a voxel side of {self.spacing_mm:g} mm", expected="0.1 to 20 mm",
                             action="give another spacing for texture")
        levels = (self.highest_hu - self.lowest_hu) / self.bin_width_hu if self.bin_width_hu > 0 else 0
        if not 2 <= levels <= _MOST_BINS:
            raise UsageError(f"a bin width of {self.bin_width_hu:g} HU",
                             expected=f"2 to {_MOST_BINS} grey levels between {self.lowest_hu:g} and "
                                      f"{self.highest_hu:g} HU",
                             action="give another bin width")
        if self.bin_number is not None and not 2 <= self.bin_number <= _MOST_BINS:
            raise UsageError(f"{self.bin_number} grey levels", expected=f"2 to {_MOST_BINS}",
                             action="give another number of bins")
