"""Metal in a scan: how much of it, and on which side of the patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from femur_nnunet.volume_io.volume import Volume

# The densest cortex is below 2200 HU even at 80 kVp with sharp kernels; titanium is beyond 3000 and clipped.
METAL_HU = 2500.0
LEAST_METAL_ML = 0.1


@dataclass(frozen=True)
class Metal:
    """Connected pieces of at least 0.1 ml above 2500 HU.

    Attributes
    ----------
    left_ml, right_ml : float
        Volume on the patient's left and right of the midline; all of it is in ``left_ml`` without a midline.
    """

    left_ml: float = 0.0
    right_ml: float = 0.0

    @property
    def volume_ml(self) -> float:
        """Metal in the whole scan."""
        return self.left_ml + self.right_ml

    @property
    def sides(self) -> list[str]:
        """The sides with metal, left before right."""
        return [side for side, volume in (("left", self.left_ml), ("right", self.right_ml)) if volume > 0]


def find_metal(volume_lps: Volume, midline_x: float | None) -> Metal:
    """Measure metal on both sides of a column.

    Parameters
    ----------
    volume_lps : Volume
        CT in HU, oriented to LPS.
    midline_x : float or None
        Column of the body's midline; ``None`` for a field of view on one hip.
    """
    voxel_ml = float(np.prod(volume_lps.grid.spacing_mm_ijk)) / 1000
    # Slice by slice: a second copy of a large scan is not needed to find the few slices that hold metal.
    slices = [index for index, plane in enumerate(volume_lps.array) if (plane > METAL_HU).any()]
    if not slices:
        return Metal()
    metal = volume_lps.array[slices[0]:slices[-1] + 1] > METAL_HU
    parts, count = ndimage.label(metal)
    large = np.bincount(parts.ravel(), minlength=count + 1) * voxel_ml >= LEAST_METAL_ML
    large[0] = False
    columns = np.count_nonzero(large[parts], axis=(0, 1)) * voxel_ml
    first_left = 0 if midline_x is None else int(np.ceil(midline_x))
    return Metal(left_ml=float(columns[first_left:].sum()), right_ml=float(columns[:first_left].sum()))
