"""Frozen tiers of the shift between the two synthetic sites, read from one versioned file with a hash."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from femur_nnunet.errors import FemurError, UsageError
from femur_nnunet.phantom.findings import FindingShares

TierName = Literal["none", "mild", "moderate", "severe"]
AxisName = Literal["scanner", "population", "positioning"]
TIER_NAMES: tuple[TierName, ...] = get_args(TierName)
AXIS_NAMES: tuple[AxisName, ...] = get_args(AxisName)
TIERS_FILE = Path(__file__).with_name("tiers_v4.json")


@dataclass(frozen=True)
class ScannerTier:
    """How a scanner forms its images; one complete set of values.

    Attributes
    ----------
    hu_per_mg_cc_k2hpo4 : float
        HU of 1 mg/cc K2HPO4 in water at this tube voltage.
    k2hpo4_per_ha : float
        K2HPO4 density that gives the HU of 1 mg/cc hydroxyapatite at this tube voltage.
    psf_fwhm_mm : float
        Full width at half maximum of the in-plane point spread before edge enhancement.
    edge_enhancement : float
        Extra response at middle frequencies; 0.3 means 30 % at the peak.
    slice_spacing_factor, slice_thickness_factor, pixel_spacing_factor : float
        Multiples of the size preset's values.
    noise_hu : float
        Standard deviation of the noise in a body of the reference diameter.
    bone_saturation_per_1000_hu : float
        Share of the HU above 300 that is lost at 1000 HU above it: dense bone reads low.
    beam_hardening_hu : float
        Darkening of soft tissue where a line from side to side crosses 100 mm of 1000 HU.
    hu_of_fat_shift : float
        Difference of fat's HU from the value at 120 kVp.
    padding_hu : int
        Value outside the circular field of view.
    current_modulation : float
        How far the tube current follows the body from direction to direction: 0 not at all, which leaves
        strong horizontal streaks of noise between the hips, 1 until all directions are equally noisy.
    hu_offset_sd : float
        Standard deviation of the offset from scan to scan.
    hu_drift_per_100_mm : float
        Drift of the offset along the table as the tube warms, from the first slice (the topmost).
    field_of_view_factor : float
        Diameter of the circular field of view against the image's longer side; below 1 it truncates.
    """

    manufacturer: str
    model: str
    kernel: str
    kvp: float
    hu_per_mg_cc_k2hpo4: float
    k2hpo4_per_ha: float
    psf_fwhm_mm: float
    edge_enhancement: float
    slice_spacing_factor: float
    slice_thickness_factor: float
    pixel_spacing_factor: float
    noise_hu: float
    hu_scale: float
    hu_offset: float
    bone_saturation_per_1000_hu: float
    beam_hardening_hu: float
    padding_hu: int
    hu_of_fat_shift: float = 0.0
    current_modulation: float = 0.6
    hu_offset_sd: float = 0.0
    hu_drift_per_100_mm: float = 0.0
    field_of_view_factor: float = 1.0


@dataclass(frozen=True)
class PopulationTier:
    """Whom a site scans: distributions of age, factors on bone and body, shares of findings.

    The shares default to those of :class:`~femur_nnunet.phantom.findings.FindingShares`.
    """

    age_mean_years: float
    age_sd_years: float
    trabecular_factor: float
    cortex_factor: float
    cortical_density_factor: float
    bone_size_factor: float
    body_size_factor: float
    fat_factor: float
    osteoarthritis_share: float = FindingShares.osteoarthritis
    osteoporosis_share: float = FindingShares.osteoporosis
    implant_share: float = FindingShares.implant
    calcified_vessels_share: float = FindingShares.calcified_vessels
    bladder_contrast_share: float = FindingShares.bladder_contrast

    @property
    def finding_shares(self) -> FindingShares:
        """Shares of findings as one object."""
        return FindingShares(self.osteoarthritis_share, self.osteoporosis_share, self.implant_share,
                             self.calcified_vessels_share, self.bladder_contrast_share)


@dataclass(frozen=True)
class PositioningTier:
    """How patients lie: means and spreads; leg rotation is positive inwards."""

    leg_rotation_mean_deg: float
    leg_rotation_sd_deg: float
    leg_abduction_mean_deg: float
    leg_abduction_sd_deg: float
    leg_flexion_mean_deg: float
    leg_flexion_sd_deg: float
    pelvis_rotation_sd_deg: float
    translation_sd_mm: float


@dataclass(frozen=True)
class SiteTiers:
    """The three axes of one site."""

    scanner: ScannerTier
    population: PopulationTier
    positioning: PositioningTier


def tier_hash(path: Path = TIERS_FILE) -> str:
    """Return the SHA-256 of the tiers file's bytes; it stands in every result made with it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_tiers(*, scanner: str = "none", population: str = "none", positioning: str = "none",
               path: Path = TIERS_FILE) -> SiteTiers:
    """Return the values of a site that lies in these tiers.

    The source site lies in tier ``none`` on all axes. A tier's values replace those of ``none``.

    Raises
    ------
    UsageError
        A tier's name is unknown.
    FemurError
        The file holds an unknown or misses a needed key.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    bases = {"scanner": {key: value for key, value in content["source_scanner"].items() if key != "why"},
             "population": content["axes"]["population"]["none"]["values"],
             "positioning": content["axes"]["positioning"]["none"]["values"]}
    names = {"scanner": scanner, "population": population, "positioning": positioning}
    merged = {axis: {**base, **_tier(content, axis, names[axis])["values"]} for axis, base in bases.items()}
    return SiteTiers(_build(ScannerTier, merged["scanner"], path),
                     _build(PopulationTier, merged["population"], path),
                     _build(PositioningTier, merged["positioning"], path))


def _tier(content: dict[str, Any], axis: str, name: str) -> dict[str, Any]:
    if name not in content["axes"][axis]:
        raise UsageError(f"the {axis} tier {name!r}", expected=" or ".join(TIER_NAMES),
                         action=f"choose one of them for --{axis}-tier")
    return dict(content["axes"][axis][name])


def _build(kind: type[Any], values: dict[str, Any], path: Path) -> Any:
    known = {item.name for item in fields(kind)}
    unknown = sorted(set(values) - known)
    try:
        if unknown:
            raise TypeError(f"unknown {unknown}")
        return kind(**values)
    except TypeError as error:
        raise FemurError(f"keys that do not fit {kind.__name__} ({error})", expected=", ".join(sorted(known)),
                         action="restore the tiers file of this package", subject=str(path)) from None
