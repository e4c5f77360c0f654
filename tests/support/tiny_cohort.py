"""The smallest cohort that converts into a whole dataset: what is done a hundred times over must be quick."""

from __future__ import annotations

import csv
import gzip
import json
import resource
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from femur_nnunet.cohort import read_scans_table
from femur_nnunet.dataset_conversion.conversion_options import ConversionOptions
from femur_nnunet.dataset_conversion.conversion_state import case_files
from femur_nnunet.dataset_conversion.convert import convert

SPACING_MM_XYZ = (8.0, 8.0, 5.0)


def tiny_scan(seed: int) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """HU and labels (1 left, 2 right) of 6 x 14 x 40 voxels in LPS; no two seeds give the same voxels."""
    labels, hounsfield = np.zeros((6, 14, 40), np.uint8), np.full((6, 14, 40), -1000, np.int16)
    hounsfield[:, 2:12, 2:38] = 40
    for label, columns in ((1, slice(26, 34)), (2, slice(6, 14))):
        labels[1:, 4:10, columns] = label
        hounsfield[1:, 4:10, columns] = 700
    return hounsfield + np.random.default_rng(seed).integers(-15, 16, labels.shape).astype(np.int16), labels


def write_tiny_image(path: Path, array: NDArray[np.generic]) -> None:
    """Write an array of a tiny scan by its suffix."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING_MM_XYZ)
    image.SetOrigin((-160.0, -56.0, 900.0))
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path), useCompression=path.name.endswith(".gz"))


def write_metadata(folder: Path, rows: list[dict[str, str]]) -> Path:
    """Write the rows as the site's metadata.csv and return its path."""
    table = folder / "metadata.csv"
    with table.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return table


def write_tiny_site(folder: Path, seeds: tuple[int, ...] = (1, 2, 3, 4)) -> Path:
    """Write labelled scans, the last of them without a mask and the one before in the test set; return the table."""
    rows = []
    for number, seed in enumerate(seeds):
        hounsfield, labels = tiny_scan(seed)
        is_last = number == len(seeds) - 1
        write_tiny_image(folder / f"p{number}.nii.gz", hounsfield)
        if not is_last:
            write_tiny_image(folder / f"p{number}_mask.nii.gz", labels)
        rows.append({"site": "oslo", "participant_id": f"P{number}", "image": f"p{number}.nii.gz",
                     "mask": "" if is_last else f"p{number}_mask.nii.gz",
                     "role": "test" if number == len(seeds) - 2 else "train"})
    return write_metadata(folder, rows)


def tiny_options(table: Path, out: Path) -> ConversionOptions:
    """Options that convert the table in this process."""
    return ConversionOptions(out, manifest=table, key_seed=3, jobs=1, quiet=True)


def assert_only_complete_cases(dataset: Path) -> None:
    """Check that every image of a dataset is whole and has what belongs to it, and that nothing more is listed."""
    for folder, labels in (("imagesTr", "labelsTr"), ("imagesTs", None), ("imagesUn", None)):
        for image in (dataset / folder).glob("[!.]*.nii.gz"):
            case = image.name.removesuffix("_0000.nii.gz")
            needed = [image, *([dataset / labels / f"{case}.nii.gz"] if labels else [])]
            for path in needed:
                with gzip.open(path) as content:
                    assert len(content.read()) > 352
            json.loads((dataset / "geometry" / f"{case}.json").read_text(encoding="utf-8"))
    if (dataset / "dataset.json").exists():
        content = json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))
        records = read_scans_table(dataset / "scans.tsv")
        assert content["numTraining"] == len(list((dataset / "imagesTr").glob("[!.]*.nii.gz")))
        assert all((dataset / name).exists() for record in records for name in case_files(record))


def convert_and_peak_mib(options: ConversionOptions) -> tuple[int, float]:
    """Convert, and return the exit code and the largest peak of memory of a process that this one has started."""
    exit_code = int(convert(options).exit_code)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return exit_code, peak / (1024 if sys.platform == "linux" else 1 << 20)
