"""What lies under a patient: a table of any form, a mattress, and rods in a pad that may lie anywhere or be absent.

The two-site cohort has a fixed one, :class:`~femur_nnunet.phantom.calibration.CalibrationRods`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from femur_nnunet.phantom.calibration import DensityUnit
from femur_nnunet.phantom.shapes import FloatArray, coverage


@dataclass(frozen=True)
class Table:
    """A table top: a shell around foam that hangs through towards its edges or its middle.

    Attributes
    ----------
    middle_mm_xy : tuple of float
        Middle of its upper face, LPS.
    half_width_mm, thickness_mm, shell_mm : float
        Half its width, its thickness, and that of its shell.
    rise_mm : float
        How much higher the edges lie than the middle: a trough; negative where the middle is higher.
    shell_hu, foam_hu : float
        HU of shell and filling.
    """

    middle_mm_xy: tuple[float, float]
    half_width_mm: float
    thickness_mm: float
    shell_mm: float
    rise_mm: float
    shell_hu: float
    foam_hu: float


@dataclass(frozen=True)
class Slab:
    """A flat thing of one HU with straight sides, such as a mattress or the pad that holds rods."""

    middle_mm_xy: tuple[float, float]
    half_width_mm: float
    half_thickness_mm: float
    hu: float


@dataclass(frozen=True)
class Rod:
    """A rod of known density along the table."""

    centre_mm_xy: tuple[float, float]
    radius_mm: float
    density_mg_cc: float


@dataclass(frozen=True)
class FreeUnderlay:
    """Table, slabs and rods; later ones cover earlier ones.

    Attributes
    ----------
    unit : {"K2HPO4", "HA"}
        Unit of the rods' densities.
    pad_top_mm : float
        y of the face on which the patient lies.
    """

    unit: DensityUnit
    pad_top_mm: float
    table: Table | None = None
    slabs: tuple[Slab, ...] = ()
    rods: tuple[Rod, ...] = ()

    def section_hu(self, x_mm: FloatArray, y_mm: FloatArray, hu_per_mg_cc: float,
                   pixel_mm: float) -> tuple[FloatArray, FloatArray]:
        """Return HU and share (y, x), the same in every slice, as ``CalibrationRods.section_hu`` does."""
        shape = np.broadcast_shapes(x_mm.shape, y_mm.shape)
        hu, share = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)

        def add(field: FloatArray, value: float) -> None:
            own = coverage(field, pixel_mm)
            # What is laid over both: HU is the mean over what fills the pixel, not over the pixel.
            total = own + share * (1 - own)
            np.divide(own * np.float32(value) + share * (1 - own) * hu, total, out=hu, where=total > 0)
            share[...] = total

        if self.table is not None:
            top = self.table
            across = (x_mm - np.float32(top.middle_mm_xy[0])) / np.float32(top.half_width_mm)
            depth = y_mm - np.float32(top.middle_mm_xy[1]) + np.float32(top.rise_mm) * np.minimum(across ** 2, 1)
            outer = np.maximum(np.abs(depth - np.float32(top.thickness_mm / 2)) - np.float32(top.thickness_mm / 2),
                               (np.abs(across) - 1) * np.float32(top.half_width_mm))
            add(outer, top.shell_hu)
            add(outer + np.float32(top.shell_mm), top.foam_hu)
        for slab in self.slabs:
            add(np.maximum(np.abs(x_mm - np.float32(slab.middle_mm_xy[0])) - np.float32(slab.half_width_mm),
                           np.abs(y_mm - np.float32(slab.middle_mm_xy[1])) - np.float32(slab.half_thickness_mm)),
                slab.hu)
        for rod in self.rods:
            add(np.hypot(x_mm - np.float32(rod.centre_mm_xy[0]), y_mm - np.float32(rod.centre_mm_xy[1]))
                - np.float32(rod.radius_mm), rod.density_mg_cc * hu_per_mg_cc)
        return hu, share
