"""Calibration rods and table under the patient, and the fit that turns HU into density."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.phantom.shapes import FloatArray, coverage

DensityUnit = Literal["K2HPO4", "HA"]
ROD_DENSITIES_MG_CC: dict[DensityUnit, tuple[float, ...]] = {
    "K2HPO4": (-50.0, 0.0, 60.0, 160.0, 375.0),
    "HA": (0.0, 75.0, 150.0, 300.0),
}
"""Rods of each site's phantom: the range of the usual K2HPO4 and hydroxyapatite phantoms, round numbers."""
PHANTOM_NAMES: dict[DensityUnit, str] = {"K2HPO4": "synthetic 5-rod K2HPO4", "HA": "synthetic 4-rod HA"}
ROD_RADIUS_MM = 9.0
ROD_DISTANCE_MM = 36.0
PAD_HALF_THICKNESS_MM = 13.0
PAD_HU = 8.0
TABLE_SHELL_MM = 2.5
TABLE_SHELL_HU = -150.0
TABLE_FOAM_HU = -935.0


@dataclass(frozen=True)
class CalibrationRods:
    """Rods along z in a pad under the patient.

    Attributes
    ----------
    unit : {"K2HPO4", "HA"}
        Unit of the densities.
    densities_mg_cc : tuple of float
        Known densities.
    centres_mm_xy : tuple of (float, float)
        Positions of the rods' axes in LPS.
    pad_top_mm : float
        y of the pad's upper face, on which the patient lies.
    """

    unit: DensityUnit
    densities_mg_cc: tuple[float, ...]
    centres_mm_xy: tuple[tuple[float, float], ...]
    pad_top_mm: float

    @classmethod
    def place(cls, unit: DensityUnit, pad_top_mm: float) -> CalibrationRods:
        """Lay the rods of one phantom side by side below ``pad_top_mm``."""
        densities = ROD_DENSITIES_MG_CC[unit]
        first = -ROD_DISTANCE_MM * (len(densities) - 1) / 2
        centres = tuple((first + ROD_DISTANCE_MM * number, pad_top_mm + PAD_HALF_THICKNESS_MM)
                        for number in range(len(densities)))
        return cls(unit, densities, centres, pad_top_mm)

    @property
    def bottom_mm(self) -> float:
        """Position of the pad's lower face along y."""
        return self.pad_top_mm + 2 * PAD_HALF_THICKNESS_MM

    def section_hu(self, x_mm: FloatArray, y_mm: FloatArray, hu_per_mg_cc: float,
                   pixel_mm: float) -> tuple[FloatArray, FloatArray]:
        """Return HU and share (y, x) of pad, rods and table, the same in every slice.

        Parameters
        ----------
        x_mm, y_mm : ndarray
            Coordinates that broadcast to (y, x).
        hu_per_mg_cc : float
            HU of 1 mg/cc of the rods' own unit.
        pixel_mm : float
            Width over which borders are blended.
        """
        half_width = ROD_DISTANCE_MM * len(self.densities_mg_cc) / 2 + 6.0
        middle = self.pad_top_mm + PAD_HALF_THICKNESS_MM
        pad = np.maximum(np.abs(x_mm) - np.float32(half_width),
                         np.abs(y_mm - np.float32(middle)) - np.float32(PAD_HALF_THICKNESS_MM))
        pad_share = coverage(pad, pixel_mm)
        hu = np.full(pad_share.shape, np.float32(TABLE_FOAM_HU), dtype=np.float32)
        # The table top is a shallow trough: a thin shell around foam.
        sag = self.bottom_mm + np.float32(3.0) - (x_mm / np.float32(230.0)) ** 2 * np.float32(18.0)
        below = coverage(sag - y_mm, pixel_mm)
        shell = below * coverage(y_mm - sag - np.float32(TABLE_SHELL_MM), pixel_mm)
        hu += shell * (np.float32(TABLE_SHELL_HU) - hu)
        hu += pad_share * (np.float32(PAD_HU) - hu)
        for density, (x, y) in zip(self.densities_mg_cc, self.centres_mm_xy, strict=True):
            from_axis = np.sqrt((x_mm - np.float32(x)) ** 2 + (y_mm - np.float32(y)) ** 2)
            rod_share = coverage(from_axis - np.float32(ROD_RADIUS_MM), pixel_mm)
            hu += rod_share * (np.float32(density * hu_per_mg_cc) - hu)
        return hu, np.maximum(below, pad_share)

    def measure_hu(self, hu: NDArray[np.int16], x_mm: NDArray[np.float64],
                   y_mm: NDArray[np.float64]) -> list[float]:
        """Return the mean HU in the middle of each rod over all slices of an image (z, y, x).

        The radius of the region is the rod's less 3.5 mm, and at least one pixel.
        """
        pixel = float(abs(x_mm[1] - x_mm[0]))
        radius = max(ROD_RADIUS_MM - max(3.5, 1.5 * pixel), 0.75 * pixel)
        means = []
        for x, y in self.centres_mm_xy:
            inside = (x_mm[None, :] - x) ** 2 + (y_mm[:, None] - y) ** 2 <= radius ** 2
            means.append(float(hu[:, inside].mean()))
        return means

    def fit(self, rod_hu: list[float]) -> tuple[float, float]:
        """Return slope and intercept of density over HU: ``rho = slope * HU + intercept`` in mg/cc."""
        slope, intercept = np.polyfit(rod_hu, self.densities_mg_cc, 1)
        return float(slope), float(intercept)
