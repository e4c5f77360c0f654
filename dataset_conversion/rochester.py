"""The Rochester folder: volumes as NIfTI or MetaImage files, masks for a part of them.

Layout, as this adapter expects it::

    rochester/
        metadata.csv
        images/<scan>.mha     or .nii.gz, .nrrd, or a folder with DICOM files
        masks/<scan>.mha      where there is one, on the image's grid

``metadata.csv`` has the manifest's columns; ``image`` and ``mask`` are relative to the folder. The
column ``site`` may lack; where it has a value, that is ``rochester``. The site's masks serve
evaluation alone when the conversion runs with ``--unlabelled-site rochester``.
"""

from __future__ import annotations

from pathlib import Path

from femur_nnunet.dataset_conversion.manifest import ManifestTable
from femur_nnunet.dataset_conversion.site_folder import read_site_folder

SITE = "rochester"


def read_rochester(folder: Path, *, identifiable: bool = False) -> ManifestTable:
    """Read the table of a Rochester folder."""
    return read_site_folder(folder, SITE, identifiable=identifiable)
