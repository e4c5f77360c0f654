"""The patient's own air, fat and muscle as a stand-in for a phantom.

The peaks of air, subcutaneous fat and muscle are read from histograms and fitted to fixed equivalent densities
("air-fat-muscle" calibration: Eggermont et al., PLoS One 2019, 14:e0220564; equivalent densities from Szyszko et al.,
PLoS One 2024, 19:e0305474: -797, -95 and 38 mg/cc, of a cohort calibrated with a K2HPO4 phantom at 120 kVp).

All three tissues follow water as the tube voltage changes and bone does not, so this line cannot see the voltage:
it is refused away from 120 kVp.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from femur_nnunet.calibration.units import DensityCalibration
from femur_nnunet.volume_io.volume import Volume

EQUIVALENT_MG_CC_K2HPO4 = {"air": -797.0, "fat": -95.0, "muscle": 38.0}
KVP_RANGE = (110.0, 130.0)
# Limits of the histograms: noise and all tube voltages are well inside, the next tissue is outside.
AIR_HU, FAT_HU, MUSCLE_HU = (-1150.0, -850.0), (-190.0, -20.0), (-20.0, 140.0)
# Skin is 2 to 4 mm thick; deeper than 25 mm fat lies between muscles and bowel.
FAT_DEPTH_MM = (5.0, 25.0)
MUSCLE_DEPTH_MM = 20.0
_COARSE_MM = 3.0
_BODY_HU = -300.0
# What is thinner is table or tube.
_OPENING_MM = 16.0
_SMOOTHING_HU = 6.0
_BIN_HU = 2.0
LEAST_SAMPLES = 400
# Two of the three tissues decide the slope of bone by extrapolation: an error of fat or muscle beyond this is none of
# body composition.
LARGEST_SE_MG_CC = 15.0
_PADDING_HU = -1024


@dataclass(frozen=True)
class TissuePeaks:
    """HU of the peaks; ``None`` where too little of a tissue is in view."""

    air: float | None
    fat: float | None
    muscle: float | None


@dataclass(frozen=True)
class TissueFit:
    """A line through air, fat and muscle; ``fault`` says why it must not be used."""

    calibration: DensityCalibration
    r2: float
    se_mg_cc: float
    fault: str | None


def tissue_peaks(volume_lps: Volume) -> TissuePeaks:
    """Find the peaks of air, subcutaneous fat and muscle in HU.

    Parameters
    ----------
    volume_lps : Volume
        CT in HU, oriented to LPS.
    """
    spacing = volume_lps.grid.spacing_mm_ijk
    steps = [max(1, int(_COARSE_MM // step)) for step in (spacing[2], spacing[1], spacing[0])]
    thin = volume_lps.array[::steps[0]]
    coarse = _in_plane_means(thin, steps[1], steps[2])
    pixel_yx = (spacing[1] * steps[1], spacing[0] * steps[2])
    size = (1, *(2 * round(_OPENING_MM / pixel / 2) + 1 for pixel in pixel_yx))
    body = ndimage.maximum_filter(ndimage.minimum_filter(coarse > _BODY_HU, size=size, mode="nearest"), size=size,
                                  mode="nearest") & (coarse > _BODY_HU)
    depth_mm = np.stack([_depth(plane, pixel_yx) for plane in body])
    return TissuePeaks(_air(thin[:, ::steps[1], ::steps[2]], body),
                       peak(coarse[(depth_mm >= FAT_DEPTH_MM[0]) & (depth_mm <= FAT_DEPTH_MM[1])], FAT_HU),
                       peak(coarse[depth_mm >= MUSCLE_DEPTH_MM], MUSCLE_HU))


def fit_tissue(peaks: TissuePeaks, kvp: float | None) -> TissueFit | None:
    """Fit the line through air, fat and muscle; ``None`` if one of them is not in view.

    Parameters
    ----------
    peaks : TissuePeaks
        HU of the tissues.
    kvp : float or None
        Tube voltage; a known one must be near 120 kVp.
    """
    if peaks.air is None or peaks.fat is None or peaks.muscle is None:
        return None
    measured = np.array([peaks.air, peaks.fat, peaks.muscle])
    known = np.array([EQUIVALENT_MG_CC_K2HPO4[name] for name in ("air", "fat", "muscle")])
    sigma, beta = (float(value) for value in np.polyfit(known, measured, 1))
    residual = measured - (sigma * known + beta)
    squares = float((residual ** 2).sum())
    error = float(np.sqrt(squares)) / sigma
    fault = None
    if kvp is not None and not KVP_RANGE[0] <= kvp <= KVP_RANGE[1]:
        fault = (f"a tube voltage of {kvp:g} kVp, expected {KVP_RANGE[0]:g} to {KVP_RANGE[1]:g}: soft tissue does not "
                 "show what the voltage does to bone")
    elif error > LARGEST_SE_MG_CC:
        fault = f"a standard error of {error:.1f} mg/cc, expected at most {LARGEST_SE_MG_CC:g}"
    return TissueFit(DensityCalibration("K2HPO4", 1 / sigma, -beta / sigma),
                     1 - squares / float(((measured - measured.mean()) ** 2).sum()), error, fault)


def peak(values: NDArray[np.floating], limits: tuple[float, float]) -> float | None:
    """Return the highest point of the smoothed histogram between two limits; ``None`` for too few values.

    ``values`` may have any shape. Values that only rise towards a limit have no peak there.
    """
    inside = values[(values >= limits[0]) & (values <= limits[1])]
    if inside.size < LEAST_SAMPLES:
        return None
    counts, edges = np.histogram(inside, bins=np.arange(limits[0], limits[1] + _BIN_HU / 2, _BIN_HU))
    smooth = ndimage.gaussian_filter1d(counts.astype(np.float64), _SMOOTHING_HU / _BIN_HU, mode="constant")
    top = int(np.argmax(smooth))
    # Smoothing makes the histogram fall at its limits; what is left of a mere slope lies within three smoothing widths.
    margin = round(3 * _SMOOTHING_HU / _BIN_HU)
    if not margin <= top < smooth.size - margin:
        return None
    left, middle, right = smooth[top - 1:top + 2]
    curve = left - 2 * middle + right
    shift = 0.5 * (left - right) / curve if curve < 0 else 0.0
    return float(edges[top] + _BIN_HU * (0.5 + shift))


def _in_plane_means(thin: NDArray[np.generic], step_y: int, step_x: int) -> NDArray[np.float32]:
    """Average blocks in plane, slice by slice, so that no copy of the whole scan in floats is made."""
    rows, columns = thin.shape[1] // step_y * step_y, thin.shape[2] // step_x * step_x
    return np.stack([plane[:rows, :columns].reshape(rows // step_y, step_y, columns // step_x, step_x)
                     .mean(axis=(1, 3), dtype=np.float32) for plane in thin])


def _depth(body_plane: NDArray[np.bool_], pixel_yx: tuple[float, float]) -> NDArray[np.float64]:
    """Return the distance from the skin; gas inside the body does not count, the edge of the image neither."""
    filled = ndimage.binary_fill_holes(body_plane)
    if filled.all():
        return np.full(body_plane.shape, np.inf)
    return np.where(body_plane, ndimage.distance_transform_edt(filled, sampling=pixel_yx), 0.0)


def _air(samples: NDArray[np.generic], body: NDArray[np.bool_]) -> float | None:
    """Return the median of air outside the body, without padding."""
    outside = ~np.stack([ndimage.binary_fill_holes(plane) for plane in body])
    outside = ndimage.minimum_filter(outside, size=(1, 5, 5), mode="nearest")
    cut = samples[:, :body.shape[1], :body.shape[2]]
    values = cut[outside]
    lowest = samples.min()
    inside = (values >= AIR_HU[0]) & (values <= AIR_HU[1]) & (values != lowest) & (values != _PADDING_HU)
    return float(np.median(values[inside])) if np.count_nonzero(inside) >= LEAST_SAMPLES else None
