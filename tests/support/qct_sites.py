"""Tiny two-hip scans and site folders for the converter's tests: an ellipse of a body with two bright rods."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from dicom_factory import write_ct_series
from numpy.typing import NDArray

SPACING_MM_XYZ = (2.5, 3.0, 5.0)
SHAPE_ZYX = (10, 44, 124)
ORIGIN_MM = (-154.0, -66.0, 900.0)
LEFT_X, RIGHT_X = 98, 26
AIR_HU, SOFT_HU, FEMUR_HU = -1000, 40, 700


def hip_scan(seed: int) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Return HU and mask (1 left, 2 right), (z, y, x) in LPS; no two seeds give the same voxels."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in SHAPE_ZYX), indexing="ij")
    body = ((x - 62) / 58) ** 2 + ((y - 22) / 18) ** 2 <= 1
    mask = np.zeros(SHAPE_ZYX, dtype=np.uint8)
    radius_y = 5 + seed % 3
    for label, centre in ((1, LEFT_X), (2, RIGHT_X)):
        mask[(((x - centre) / 6) ** 2 + ((y - 22) / radius_y) ** 2 <= 1) & (z >= 1)] = label
    noise = np.random.default_rng(seed).integers(-15, 16, SHAPE_ZYX)
    return (np.where(mask > 0, FEMUR_HU, np.where(body, SOFT_HU, AIR_HU)) + noise).astype(np.int16), mask


def write_image(path: Path, array: NDArray[Any], *, origin_mm: tuple[float, float, float] = ORIGIN_MM) -> None:
    """Write an array as NIfTI, MetaImage or NRRD by its suffix, or as a DICOM series into a folder."""
    if path.suffix == "":
        write_ct_series(path, (array + 1024).astype(np.uint16), spacing_mm_ijk=SPACING_MM_XYZ, origin_mm=origin_mm)
        return
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING_MM_XYZ)
    image.SetOrigin(origin_mm)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path), useCompression=path.name.endswith(".gz"))


@dataclass
class SiteFolder:
    """A site's folder that grows scan by scan; ``save`` writes its table."""

    folder: Path
    site: str
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, participant: str, *, kind: str = ".nii.gz", mask: bool | NDArray[np.uint8] = True,
            seed: int | None = None, name: str | None = None, **columns: Any) -> dict[str, Any]:
        """Write a scan (``kind`` "" is DICOM) and its mask, and add its row, which may be changed before saving."""
        visit = columns.get("visit", 1)
        stem = name or f"{participant}_{visit}"
        if seed is None:
            seed = int(hashlib.sha256(f"{self.site} {participant} {visit}".encode()).hexdigest()[:6], 16)
        image, own_mask = hip_scan(seed)
        write_image(self.folder / "images" / f"{stem}{kind}", image)
        row = {"site": self.site, "participant_id": participant, "image": f"images/{stem}{kind}", **columns}
        if mask is not False:
            write_image(self.folder / "masks" / f"{stem}.nii.gz", own_mask if mask is True else mask)
            row["mask"] = f"masks/{stem}.nii.gz"
        self.rows.append(row)
        return row

    def save(self, name: str = "metadata.csv", *, delimiter: str = ",") -> Path:
        """Write the table and return its path."""
        columns = list(dict.fromkeys(["site", "participant_id", "image", *(key for row in self.rows for key in row)]))
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / name).open("w", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, columns, delimiter=delimiter, restval="")
            writer.writeheader()
            writer.writerows(self.rows)
        return self.folder / name


def two_sites(root: Path) -> tuple[SiteFolder, SiteFolder]:
    """Write tulane (3 persons, all labelled) and rochester (2 persons, one of them test), and save both tables."""
    tulane = SiteFolder(root / "tulane", "tulane")
    tulane.add("T1", kind="", sex="F", age_years=71.5, role="train", density_unit="K2HPO4", density_slope=0.8,
               density_intercept=-3.5, calibration_phantom="Mindways Model 3")
    tulane.add("T2", kind=".nii.gz", sex="M", age_years=93, role="train")
    tulane.add("T3", kind=".mha", sex="F", age_years=66, role="test")
    rochester = SiteFolder(root / "rochester", "rochester")
    rochester.add("R1", kind=".nrrd", sex="M", age_years=58, role="train")
    rochester.add("R2", kind=".mha", sex="F", age_years=80, role="test")
    tulane.save()
    rochester.save()
    return tulane, rochester


def dataset_bytes(dataset: Path) -> dict[str, bytes]:
    """Return the content of every file of a dataset that must not depend on how the run went."""
    told_of_the_run = ("run.json", "conversion_report.csv", "splits_run.json")
    return {str(path.relative_to(dataset)): path.read_bytes() for path in sorted(dataset.rglob("*"))
            if path.is_file() and path.name not in told_of_the_run}
