"""A site's folder: metadata.csv with the manifest's columns, beside the images and masks that it names."""

from __future__ import annotations

from pathlib import Path

from femur_nnunet.dataset_conversion.manifest import ManifestTable, RowProblem, read_manifest, row_label
from femur_nnunet.errors import FemurError

METADATA_NAME = "metadata.csv"


def read_site_folder(folder: Path, site: str, *, identifiable: bool = False) -> ManifestTable:
    """Read ``folder/metadata.csv`` of one site; a missing folder or table is a problem of the table."""
    if not folder.is_dir():
        error = FemurError("no such folder", expected=f"a folder that holds {METADATA_NAME} and the scans",
                           action=f"correct the path behind --{site}", subject=row_label(site, 0))
        return ManifestTable(problems=[RowProblem(site, 0, error)])
    return read_manifest(folder / METADATA_NAME, source=site, site=site, identifiable=identifiable)
