"""Whether a scan is of the kind that the model was trained on."""

from __future__ import annotations

from femur_nnunet.model_bundle import Manifest
from femur_nnunet.segmentation.warnings_table import Caution, CautionLimits, Finding
from femur_nnunet.volume_io.volume import Grid


def check_spacing(grid_lps: Grid, manifest: Manifest, limits: CautionLimits) -> list[Finding]:
    """Return what the voxels are warned about.

    Parameters
    ----------
    grid_lps : Grid
        Of the scan, oriented to LPS.
    manifest : Manifest
        With the training's spacings along (z, y, x); nothing is said where it holds none.
    limits : CautionLimits
        From where on to warn.
    """
    outside = []
    axes = zip(("slices", "rows", "columns"), grid_lps.spacing_mm_ijk[::-1], manifest.training.spacing_mm, strict=False)
    for name, spacing, seen in axes:
        low, high = seen.minimum / limits.spacing_ratio, seen.maximum * limits.spacing_ratio
        if not low <= spacing <= high:
            outside.append(f"{name} {spacing:.2f} mm apart, expected {low:.2f} to {high:.2f}")
    return [Finding(Caution.SPACING, "; ".join(outside))] if outside else []
