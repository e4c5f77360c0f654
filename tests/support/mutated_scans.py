"""Scans of every kind with a few bytes changed or cut off, as a table of rows to be converted."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from dicom_factory import write_ct_series, write_enhanced_ct
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEGLSLossless, RLELossless
from tiny_cohort import SPACING_MM_XYZ, tiny_scan, write_metadata, write_tiny_image

# Writes a sound scan below a folder; returns what the row names and the file to be damaged.
Builder = Callable[[Path, int], tuple[Path, Path]]
ORIGIN_MM = (-160.0, -56.0, 900.0)


def _series(syntax: str) -> Builder:
    def build(folder: Path, seed: int) -> tuple[Path, Path]:
        stored = (tiny_scan(seed)[0] + 1024).astype(np.uint16)
        paths = write_ct_series(folder / "ct", stored, spacing_mm_ijk=SPACING_MM_XYZ, origin_mm=ORIGIN_MM,
                                transfer_syntax=syntax)
        return folder / "ct", paths[seed % len(paths)]
    return build


def _enhanced(folder: Path, seed: int) -> tuple[Path, Path]:
    stored = (tiny_scan(seed)[0] + 1024).astype(np.uint16)
    write_enhanced_ct(folder / "multi.dcm", stored, spacing_mm_ijk=SPACING_MM_XYZ, origin_mm=ORIGIN_MM)
    return folder, folder / "multi.dcm"


def _file(name: str) -> Builder:
    def build(folder: Path, seed: int) -> tuple[Path, Path]:
        write_tiny_image(folder / name, tiny_scan(seed)[0])
        return folder / name, folder / name
    return build


def _archive(folder: Path, seed: int) -> tuple[Path, Path]:
    source, _ = _series(ExplicitVRLittleEndian)(folder / "plain", seed)
    with zipfile.ZipFile(folder / "scan.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(source.iterdir()):
            archive.write(path, path.name)
    return folder / "scan.zip", folder / "scan.zip"


SYNTHETIC: dict[str, Builder] = {
    "plain": _series(ExplicitVRLittleEndian), "deflated": _series(DeflatedExplicitVRLittleEndian),
    "RLE": _series(RLELossless), "JPEG-LS": _series(JPEGLSLossless), "multi-frame": _enhanced,
    "NIfTI": _file("scan.nii"), "packed NIfTI": _file("scan.nii.gz"), "MetaImage": _file("scan.mha"),
    "NRRD": _file("scan.nrrd"), "zip": _archive}


def real_stack(slice_file: Path) -> Builder:
    """Return a builder of three copies of a real slice, one upon the other, in its own compression."""
    def build(folder: Path, seed: int) -> tuple[Path, Path]:
        paths = []
        for index in range(3):
            dataset = pydicom.dcmread(slice_file)
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{seed}.{index}"
            dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
            dataset.ImagePositionPatient = [-200.0, -200.0, 5.0 * index]
            dataset.PixelSpacing = [0.8, 0.8]
            (folder / "ct").mkdir(parents=True, exist_ok=True)
            paths.append(folder / "ct" / f"{index}.dcm")
            dataset.save_as(paths[-1])
        return folder / "ct", paths[seed % 3]
    return build


def write_mutated_rows(folder: Path, builders: dict[str, Builder], n_rows: int, seed: int) -> Path:
    """Write ``n_rows`` scans, each with 1 to 8 changed bytes or a lost end, and return their table.

    Half of the changes fall into the first 2 kB, where the headers are.
    """
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(n_rows):
        name = list(builders)[number % len(builders)]
        source, target = builders[name](folder / f"row{number}", number)
        content = np.frombuffer(target.read_bytes(), dtype=np.uint8).copy()
        reach = min(content.size, 2048) if generator.random() < 0.5 else content.size
        places = generator.integers(0, reach, generator.integers(1, 9))
        content[places] = generator.integers(0, 256, places.size)
        length = content.size if generator.random() < 0.8 else int(generator.integers(0, content.size))
        target.write_bytes(content[:length].tobytes())
        rows.append({"site": "oslo", "participant_id": f"P{number} {name}", "role": "train",
                     "image": str(source.relative_to(folder))})
    return write_metadata(folder, rows)
