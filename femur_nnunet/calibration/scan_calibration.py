"""The calibration of one scan: from the table, from rods in the image, or from tissue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from femur_nnunet.calibration.phantoms import Phantom, find_phantom
from femur_nnunet.calibration.rod_search import FoundRods, ScanSection, find_rods
from femur_nnunet.calibration.tissue import fit_tissue, tissue_peaks
from femur_nnunet.calibration.units import DensityCalibration
from femur_nnunet.volume_io.volume import Volume

CalibrationMode = Literal["auto", "table", "rods", "tissue"]
CALIBRATION_MODES: tuple[CalibrationMode, ...] = ("auto", "table", "rods", "tissue")
CalibrationSource = Literal["table", "rods", "tissue"]
# A phantom that no table names must show itself by its densities: rods enough that a straight line is no accident, and
# a fit that the rods of another phantom (4 mg/cc and more) do not reach.
LEAST_RODS_UNNAMED = 4
LARGEST_SE_UNNAMED_MG_CC = 2.5
# Table and rods may differ this much between fat-free marrow and dense spongiosa.
COMPARED_HU = (0.0, 300.0)
LARGEST_DIFFERENCE_MG_CC = 5.0


@dataclass(frozen=True)
class ScanCalibration:
    """What is known of a scan's density scale.

    Attributes
    ----------
    calibration : DensityCalibration or None
        The line, ``None`` where there is none.
    source : {"table", "rods", "tissue"} or None
        Where it comes from.
    r2, se_mg_cc : float or None
        Of the fit; ``None`` for values of the table, whose fit is not known.
    phantom : str or None
        Name of the phantom whose rods were found.
    warnings : tuple of str
        What somebody should look at; no names of files or people.
    """

    calibration: DensityCalibration | None = None
    source: CalibrationSource | None = None
    r2: float | None = None
    se_mg_cc: float | None = None
    phantom: str | None = None
    warnings: tuple[str, ...] = field(default=())


def calibrate_scan(volume_lps: Volume, *, mode: CalibrationMode = "auto", table: DensityCalibration | None = None,
                   phantom_name: str | None = None, phantoms: Sequence[Phantom] = ()) -> ScanCalibration:
    """Settle slope and intercept of one scan.

    Parameters
    ----------
    volume_lps : Volume
        CT in HU, oriented to LPS; its tube voltage, if known, bears on what is possible.
    mode : {"auto", "table", "rods", "tissue"}
        ``auto``: the table's values, else rods. ``table``: the table's values alone, without looking at the image.
        ``rods``: rods alone. ``tissue``: as ``auto``, and where neither is there the patient's own tissue.
    table : DensityCalibration, optional
        The manifest's own values; they have priority, and rods are then fitted to check them.
    phantom_name : str, optional
        The manifest's ``calibration_phantom``.
    phantoms : sequence of Phantom
        Phantoms to look for.
    """
    if mode == "table":
        return ScanCalibration(table, "table" if table else None)
    found, warnings = search_rods(volume_lps, phantom_name, phantoms)
    if table is not None and mode != "rods":
        return ScanCalibration(table, "table", phantom=found.phantom.name if found else None,
                               warnings=(*warnings, *_disagreement(table, found)))
    if found is not None:
        return ScanCalibration(found.fit.calibration, "rods", found.fit.r2, found.fit.se_mg_cc, found.phantom.name,
                               tuple(warnings))
    if mode != "tissue":
        return ScanCalibration(warnings=tuple(warnings))
    fit = fit_tissue(tissue_peaks(volume_lps), volume_lps.tags.kvp)
    if fit is None or fit.fault is not None:
        reason = fit.fault if fit and fit.fault else "air, fat or muscle is not in view"
        return ScanCalibration(warnings=(*warnings, f"no calibration from tissue: {reason}"))
    warnings.append("density is calibrated with the patient's own tissue, not with a phantom")
    if volume_lps.tags.kvp is None:
        warnings.append("the tube voltage is unknown; tissue calibration holds for 120 kVp alone")
    return ScanCalibration(fit.calibration, "tissue", fit.r2, fit.se_mg_cc, None, tuple(warnings))


def search_rods(volume_lps: Volume, phantom_name: str | None,
                phantoms: Sequence[Phantom]) -> tuple[FoundRods | None, list[str]]:
    """Find the rods of the named phantom, or of any known one, and say why they are not used.

    A phantom without a name is taken only if it has at least four rods, fits to 2.5 mg/cc, and no other phantom with
    as many rods does.
    """
    if phantom_name is not None:
        phantom = find_phantom(phantoms, phantom_name)
        if phantom is None:
            return None, ["the table's calibration phantom is not in the phantom table, so its rods cannot be checked "
                          "(--phantom-table adds it)"]
        found = find_rods(ScanSection.of(volume_lps), phantom)
        if found is None:
            return None, ["no rods of the table's calibration phantom in the image"]
        if found.fault is not None:
            return None, [f"the best place for the rods of the table's calibration phantom was refused: {found.fault}"]
        return found, _typical(phantom)
    section = ScanSection.of(volume_lps)
    candidates = [found for phantom in phantoms if len(phantom.rods) >= LEAST_RODS_UNNAMED
                  if (found := find_rods(section, phantom)) is not None and found.fault is None
                  and found.fit.se_mg_cc <= LARGEST_SE_UNNAMED_MG_CC]
    if not candidates:
        return None, []
    most = max(len(found.phantom.rods) for found in candidates)
    best = [found for found in candidates if len(found.phantom.rods) == most]
    if len(best) > 1:
        return None, [f"rods that fit {len(best)} phantoms; name the phantom in the column calibration_phantom"]
    return best[0], _typical(best[0].phantom)


def _typical(phantom: Phantom) -> list[str]:
    return ["the rods' densities are typical values of this kind of phantom; its own certificate's belong into a "
            "--phantom-table"] if phantom.typical_values else []


def _disagreement(table: DensityCalibration, found: FoundRods | None) -> list[str]:
    if found is None:
        return []
    fitted = found.fit.calibration
    if fitted.unit != table.unit:
        return [f"the table gives density in {table.unit}, the rods in the image are {fitted.unit}"]
    difference = table.largest_difference_mg_cc(fitted, COMPARED_HU)
    if difference <= LARGEST_DIFFERENCE_MG_CC:
        return []
    return [f"the table's slope and intercept differ from the rods' fit by up to {difference:.1f} mg/cc between "
            f"{COMPARED_HU[0]:g} and {COMPARED_HU[1]:g} HU, expected at most {LARGEST_DIFFERENCE_MG_CC:g}"]
