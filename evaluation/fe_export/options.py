"""What an export for finite elements is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# A clinical scan's pixels are 0.7 to 1 mm: finer elements would hold no more than interpolation puts there.
DEFAULT_SPACING_MM = 1.0


@dataclass(frozen=True)
class FeExportOptions:
    """Folder of the export, and the spacing of its isotropic grid in mm."""

    folder: Path
    spacing_mm: float = DEFAULT_SPACING_MM
