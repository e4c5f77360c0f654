"""The Tulane folder: bilateral QCT as DICOM series, with one mask file for both hips.

Layout, as this adapter expects it::

    tulane/
        metadata.csv
        <scan>/...            a folder with the series' DICOM files, or one NIfTI, MetaImage or NRRD file
        <scan>_mask.nii.gz    on the image's grid: 1 = left femur, 2 = right femur (or 0/1 for one hip)

``metadata.csv`` has the manifest's columns; ``image`` and ``mask`` are relative to the folder. The
column ``site`` may lack; where it has a value, that is ``tulane``. File and folder names are free:
the table names them, and every format serves.
"""

from __future__ import annotations

from pathlib import Path

from femur_nnunet.dataset_conversion.manifest import ManifestTable
from femur_nnunet.dataset_conversion.site_folder import read_site_folder

SITE = "tulane"


def read_tulane(folder: Path, *, identifiable: bool = False) -> ManifestTable:
    """Read the table of a Tulane folder."""
    return read_site_folder(folder, SITE, identifiable=identifiable)
