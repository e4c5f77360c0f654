"""Finding the rods of a calibration phantom under the patient.

The rods run along z, so the median over the slices shows them sharp and with little noise while the patient's
tissues blur. In this section every place, distance and slight turn of the phantom's row is tried: all rods must be
discs without structure, and their HU must follow the phantom's known densities on a straight line. What is chosen
must also hold from slice to slice. Nothing in the body does all of that by chance, and a phantom that is partly
outside the field of view is not found.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

from femur_nnunet.calibration.phantoms import Phantom
from femur_nnunet.calibration.rod_fit import (
    LARGEST_SE_MG_CC,
    RodFit,
    fit_rods,
    line_of_image,
    possible_hu_per_mg_cc,
    water_offsets,
)
from femur_nnunet.volume_io.volume import Volume

# Pixels of the search; rods are 10 to 20 mm wide.
_SEARCH_PIXEL_MM = 1.5
_MOST_SLICES = 40
# The rod's edge is left out: half a point spread of 2 to 3 mm and the search's own step.
_EDGE_MM = 3.5
_TURNS_DEG = (-4.0, -2.0, 0.0, 2.0, 4.0)
# Structure inside a rod beyond noise: beam hardening and partial volume leave some HU.
_STRUCTURE_HU = 10.0
_BODY_HU = -300.0
# Middle of the slices' HU may change this much from one quarter of the scan to another.
LARGEST_DRIFT_HU = 15.0
LARGEST_DRIFT_SHARE = 0.05
_BLOCKS = 4
# The search measures coarsely; the fit at the place that it finds is judged strictly.
_GATE = 3.0


@dataclass(frozen=True)
class FoundRods:
    """Rods of one phantom in an image.

    Attributes
    ----------
    phantom : Phantom
        The phantom.
    centres_index_xy : tuple of (float, float)
        Columns and rows of the rods' axes on the LPS grid, in the phantom's order.
    rod_hu : tuple of float
        Median over the slices of the mean HU in each rod, its edge left out.
    drift_hu : float
        Largest difference between quarters of the scan, of any rod, in HU.
    drift_noise_hu : float
        Standard error of one quarter's HU.
    fit : RodFit
        The line through the rods.
    """

    phantom: Phantom
    centres_index_xy: tuple[tuple[float, float], ...]
    rod_hu: tuple[float, ...]
    drift_hu: float
    drift_noise_hu: float
    fit: RodFit

    @property
    def fault(self) -> str | None:
        """Why the rods must not be used, or ``None``."""
        # The range of four values of one distribution exceeds four standard errors once in 40 times.
        noise = min(4 * self.drift_noise_hu, LARGEST_DRIFT_HU)
        limit = max(LARGEST_DRIFT_HU, LARGEST_DRIFT_SHARE * max(abs(value) for value in self.rod_hu)) + noise
        if self.drift_hu > limit:
            return f"rods whose HU drift by {self.drift_hu:.0f} along the scan, expected at most {limit:.0f}"
        return self.fit.fault


@dataclass(frozen=True)
class ScanSection:
    """What the search needs of a scan; made once for all phantoms.

    Attributes
    ----------
    stack : ndarray
        Up to 40 slices (z, y, x) in HU, evenly spread.
    coarse : ndarray
        Median of the slices over z, shape (y, x), in pixels of about 1.5 mm.
    steps_yx : (int, int)
        Rows and columns that one coarse pixel takes in.
    spacing_yx_mm : (float, float)
        Spacing of the slices' own pixels.
    kvp : float or None
        Tube voltage.
    """

    stack: NDArray[np.generic]
    coarse: NDArray[np.float32]
    steps_yx: tuple[int, int]
    spacing_yx_mm: tuple[float, float]
    kvp: float | None

    @classmethod
    def of(cls, volume_lps: Volume) -> ScanSection:
        """Take the section of a CT in HU, oriented to LPS."""
        spacing_x, spacing_y, _ = volume_lps.grid.spacing_mm_ijk
        slices = np.unique(np.linspace(0, volume_lps.array.shape[0] - 1, _MOST_SLICES).round().astype(int))
        stack = volume_lps.array[slices]
        steps = (max(1, round(_SEARCH_PIXEL_MM / spacing_y)), max(1, round(_SEARCH_PIXEL_MM / spacing_x)))
        # The median, unlike the mean, is not moved by the streaks that metal leaves in a part of the slices.
        coarse = np.median(np.stack([_blocks(plane, steps) for plane in stack]), axis=0)
        return cls(stack, coarse, steps, (spacing_y, spacing_x), volume_lps.tags.kvp)


def find_rods(section: ScanSection, phantom: Phantom) -> FoundRods | None:
    """Search the rods of a phantom below the middle of the body.

    Parameters
    ----------
    section : ScanSection
        Of the scan.
    phantom : Phantom
        What to look for.

    Returns
    -------
    FoundRods or None
        The best place; ``None`` where nothing looks like this phantom. Whether the fit may be used is for
        ``fault`` to say.
    """
    stack, steps, (spacing_y, spacing_x) = section.stack, section.steps_yx, section.spacing_yx_mm
    pixel_yx = (spacing_y * steps[0], spacing_x * steps[1])
    place = _best_place(section.coarse, pixel_yx, phantom, section.kvp)
    if place is None:
        return None
    refined = _refine(section.coarse, [(float(column), float(row)) for row, column in place], phantom, pixel_yx)
    centres = [((x + 0.5) * steps[1] - 0.5, (y + 0.5) * steps[0] - 0.5) for x, y in refined]
    radius = _inner_radius(phantom, max(spacing_x, spacing_y))
    discs = [_disc(stack.shape[1:], centre, radius, (spacing_y, spacing_x)) for centre in centres]
    per_slice = np.stack([stack[:, rows, columns].mean(axis=1, dtype=np.float64) for rows, columns in discs])
    blocks = [np.median(part, axis=1) for part in np.array_split(per_slice, min(_BLOCKS, per_slice.shape[1]), axis=1)]
    rod_hu = tuple(float(value) for value in np.median(per_slice, axis=1))
    fit = fit_rods(phantom, rod_hu, section.kvp)
    if fit is None:
        return None
    # 1.25 is the standard error of a median against that of a mean.
    noise = 1.25 * float(per_slice.std(axis=1).max()) / np.sqrt(max(1, per_slice.shape[1] // _BLOCKS))
    return FoundRods(phantom, tuple(centres), rod_hu, float(np.ptp(np.stack(blocks), axis=0).max()), noise, fit)


def _blocks(section: NDArray[np.generic], steps: tuple[int, int]) -> NDArray[np.float32]:
    rows, columns = (size // step * step for size, step in zip(section.shape, steps, strict=True))
    cut = section[:rows, :columns]
    return cut.reshape(rows // steps[0], steps[0], columns // steps[1], steps[1]).mean(axis=(1, 3), dtype=np.float32)


def _inner_radius(phantom: Phantom, pixel_mm: float) -> float:
    return max(phantom.rod_radius_mm - max(_EDGE_MM, 1.5 * pixel_mm), 0.75 * pixel_mm)


def _best_place(coarse: NDArray[np.float32], pixel_yx: tuple[float, float],
                phantom: Phantom,
                kvp: float | None) -> list[tuple[int, int]] | None:
    """Return row and column of each rod's centre in the coarse section, in the phantom's order."""
    mean, spread = _disc_maps(coarse, _inner_radius(phantom, max(pixel_yx)), pixel_yx)
    rows_of_body = np.flatnonzero((coarse > _BODY_HU).sum(axis=1) > 0.2 * coarse.shape[1])
    first_row = int(rows_of_body.mean()) if rows_of_body.size else 0
    mean, spread = mean[first_row:], spread[first_row:]
    smooth = spread <= _STRUCTURE_HU + 3 * _noise_hu(coarse)
    known = np.array([rod.density_mg_cc for rod in phantom.rods])
    centred = (known - known.mean()) / ((known - known.mean()) ** 2).sum()
    water = water_offsets(phantom)
    low, high = possible_hu_per_mg_cc(phantom.unit, kvp)
    best: tuple[float, list[tuple[int, int]]] | None = None
    for offsets in _layouts(phantom, pixel_yx):
        window = _window(smooth.shape, offsets)
        if window is None:
            continue
        (top, bottom), (left, right) = window
        cuts = [(slice(top + dy, bottom + dy), slice(left + dx, right + dx)) for dy, dx in offsets]
        allowed = smooth[cuts[0]].copy()
        for cut in cuts[1:]:
            allowed &= smooth[cut]
        rows, columns = np.nonzero(allowed)
        if not rows.size:
            continue
        hu = np.stack([mean[cut][rows, columns] for cut in cuts])
        responses = hu - water[:, None]
        sigma = centred @ responses
        residual = responses - responses.mean(axis=0) - np.outer(known - known.mean(), sigma)
        error = np.sqrt((residual ** 2).sum(axis=0) / (known.size - 2))
        sigma_ct, _ = line_of_image(phantom, sigma, 0.0)
        fitting = (sigma_ct >= 0.8 * low) & (sigma_ct <= 1.25 * high) & (error <= _GATE * LARGEST_SE_MG_CC * sigma_ct)
        if not fitting.any():
            continue
        structure = np.stack([spread[cut][rows, columns] for cut in cuts]).mean(axis=0)
        score = np.where(fitting, error + structure, np.inf)
        chosen = int(np.argmin(score))
        if best is None or score[chosen] < best[0]:
            best = float(score[chosen]), [(first_row + top + int(rows[chosen]) + dy,
                                           left + int(columns[chosen]) + dx) for dy, dx in offsets]
    return None if best is None else best[1]


def _layouts(phantom: Phantom, pixel_yx: tuple[float, float]) -> list[list[tuple[int, int]]]:
    """Return the offsets (rows, columns) of the rods from the first one, for every layout that is tried."""
    first, last = phantom.spacing_mm
    spacings = np.linspace(first, last, 1 + int(np.ceil((last - first) / pixel_yx[1])))
    layouts = {tuple((round(rod * direction * spacing * np.sin(turn) / pixel_yx[0]),
                      round(rod * direction * spacing * np.cos(turn) / pixel_yx[1]))
                     for rod in range(len(phantom.rods)))
               for spacing in spacings for turn in np.radians(_TURNS_DEG) for direction in (1, -1)}
    return [list(layout) for layout in sorted(layouts)]


def _window(shape: tuple[int, ...], offsets: list[tuple[int, int]]) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Return where the first rod may lie so that all rods are inside: rows and columns, stop exclusive."""
    ranges = []
    for axis in (0, 1):
        along = [offset[axis] for offset in offsets]
        start, stop = max(0, -min(along)), shape[axis] - max(0, *along)
        if stop <= start:
            return None
        ranges.append((start, stop))
    return ranges[0], ranges[1]


def _disc_maps(section: NDArray[np.float32], radius_mm: float,
               pixel_yx: tuple[float, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation in a disc around every pixel; discs beyond the image count as structure."""
    half = [int(np.ceil(radius_mm / pixel)) for pixel in pixel_yx]
    y, x = np.ogrid[-half[0]:half[0] + 1, -half[1]:half[1] + 1]
    disc = ((y * pixel_yx[0]) ** 2 + (x * pixel_yx[1]) ** 2 <= radius_mm ** 2).astype(np.float64)
    disc /= disc.sum()
    values = section.astype(np.float64)
    mean = signal.fftconvolve(values, disc, mode="same")
    squares = signal.fftconvolve(values ** 2, disc, mode="same")
    spread = np.sqrt(np.maximum(squares - mean ** 2, 0))
    for axis, margin in enumerate(half):
        edge = np.moveaxis(spread, axis, 0)
        edge[:margin] = edge[edge.shape[0] - margin:] = np.inf
    return mean, spread


def _noise_hu(section: NDArray[np.float32]) -> float:
    """Return the noise of the section: differences to the local median inside the body, robustly."""
    inside = section > _BODY_HU
    if not inside.any():
        return 0.0
    rough = np.abs(section - ndimage.median_filter(section, size=3))[inside]
    return float(1.4826 * np.median(rough))


def _refine(section: NDArray[np.float32], centres: list[tuple[float, float]], phantom: Phantom,
            spacing_yx: tuple[float, float]) -> list[tuple[float, float]]:
    """Move the whole row by up to one search pixel to where its rods hold least structure."""
    # Almost the whole rod, so that its edge shows in the disc as soon as the place is off.
    radius = max(phantom.rod_radius_mm - 0.75 * max(spacing_yx), _inner_radius(phantom, max(spacing_yx)))
    reach = (1.0, 1.0)

    def structure(shift: tuple[float, float]) -> float:
        total = 0.0
        for x, y in centres:
            rows, columns = _disc(section.shape, (x + shift[1], y + shift[0]), radius, spacing_yx)
            total += float(section[rows, columns].std()) if rows.size else np.inf
        return total

    # The unmoved place comes first and wins ties.
    shifts = [(0.0, 0.0), *((dy, dx) for dy in np.linspace(-reach[0], reach[0], 5)
                            for dx in np.linspace(-reach[1], reach[1], 5))]
    dy, dx = min(shifts, key=structure)
    return [(x + dx, y + dy) for x, y in centres]


def _disc(shape: tuple[int, ...], centre_xy: tuple[float, float], radius_mm: float,
          spacing_yx: tuple[float, float]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns of the pixels whose centres lie in a disc; at least the nearest pixel."""
    x, y = centre_xy
    rows = np.arange(max(0, int(y - radius_mm / spacing_yx[0])), min(shape[0], int(y + radius_mm / spacing_yx[0]) + 2))
    columns = np.arange(max(0, int(x - radius_mm / spacing_yx[1])),
                        min(shape[1], int(x + radius_mm / spacing_yx[1]) + 2))
    inside = (((rows[:, None] - y) * spacing_yx[0]) ** 2 + ((columns[None, :] - x) * spacing_yx[1]) ** 2
              <= radius_mm ** 2)
    chosen_rows, chosen_columns = np.nonzero(inside)
    if not chosen_rows.size:
        return np.array([min(max(round(y), 0), shape[0] - 1)]), np.array([min(max(round(x), 0), shape[1] - 1)])
    return rows[chosen_rows], columns[chosen_columns]
