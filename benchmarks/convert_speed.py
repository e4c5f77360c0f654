"""Time and memory of converting one scan, beside SimpleITK's bare read and compressed write, and beside dcm2niix.

    python benchmarks/convert_speed.py

The script makes 275 slices of 512 x 512 pixels as a DICOM series (a body with two femora, noise of 12 HU with the
correlation of a soft kernel). Medians of 5 rounds, the methods in turn; ratios are medians of the ratios within a
round, of seconds for each voxel written, and no file may be more than 5 % larger than SimpleITK's. dcm2niix (the extra
``bench``) is left out with a message where it is not installed. "row, two hips" is the whole row of the converter:
hashes of the sources, checks, cutting, hashes of the voxels; the others read and write alone. Peak memory is that of a
fresh process less what the imports take, in volumes of 16 bits. ``--workers`` adds how seconds a scan fall with cores.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from bench_support import RESULTS, interleaved, median_ratio, one_thread, publish
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from scipy import ndimage
from whole_case import own_peak_mib

from femur_nnunet.dataset_conversion.case_conversion import RowTask, convert_row
from femur_nnunet.dataset_conversion.conversion_state import RowKey
from femur_nnunet.dataset_conversion.manifest import ManifestRow
from femur_nnunet.dataset_conversion.row_workers import run_in_workers
from femur_nnunet.volume_io import read_volume, write_nifti

SHAPE_ZYX = (275, 512, 512)
SPACING_MM_XYZ = (0.78, 0.78, 1.0)
LARGEST_SIZE_RATIO = 1.05
UID_ROOT = "1.2.826.0.1.3680043.8.498.78"


def hip_volume(shape_zyx: tuple[int, int, int] = SHAPE_ZYX, seed: int = 100) -> NDArray[np.int16]:
    """HU of two femora in an elliptic body on a table of air, with correlated noise."""
    n_z, n_y, n_x = shape_zyx
    y, x = np.meshgrid(np.linspace(-1, 1, n_y), np.linspace(-1, 1, n_x), indexing="ij")
    body = (x / 0.92) ** 2 + (y / 0.6) ** 2 <= 1
    muscle = (x / 0.84) ** 2 + (y / 0.52) ** 2 <= 1
    plane = np.where(muscle, 55.0, np.where(body, -100.0, -1000.0))
    for side in (-1, 1):
        radius = np.hypot(x - side * 0.45, y)
        plane[radius < 0.1] = 1100
        plane[radius < 0.075] = 180
    noise = np.random.default_rng(seed)
    volume = np.empty(shape_zyx, dtype=np.int16)
    for z in range(n_z):
        grain = ndimage.gaussian_filter(noise.standard_normal((n_y, n_x)), 0.8)
        volume[z] = np.clip(np.rint(plane + 12 * grain / grain.std()), -1024, 3071)
    return volume


def write_series(folder: Path, hounsfield: NDArray[np.int16]) -> None:
    """Write one uncompressed file a slice."""
    folder.mkdir(parents=True)
    for index, plane in enumerate(hounsfield):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = f"{UID_ROOT}.{index + 1}"
        dataset.SeriesInstanceUID, dataset.StudyInstanceUID = f"{UID_ROOT}.9.1", f"{UID_ROOT}.9"
        dataset.Modality, dataset.PatientID, dataset.SeriesNumber, dataset.InstanceNumber = "CT", "bench", 1, index + 1
        dataset.ImageType, dataset.KVP, dataset.Manufacturer = ["ORIGINAL", "PRIMARY", "AXIAL"], 120, "Synthetic"
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.ImagePositionPatient = [-200.0, -200.0, index * SPACING_MM_XYZ[2]]
        dataset.PixelSpacing = [SPACING_MM_XYZ[1], SPACING_MM_XYZ[0]]
        dataset.SliceThickness = SPACING_MM_XYZ[2]
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.Rows, dataset.Columns = plane.shape
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
        dataset.PixelData = (plane.astype(np.int32) + 1024).astype("<u2").tobytes()
        dataset["PixelData"].VR = "OW"
        pydicom.dcmwrite(folder / f"{index:04d}.dcm", dataset, enforce_file_format=True)


def with_simpleitk(series: Path, out: Path) -> None:
    """SimpleITK's own way: the series by its file names, no check, a compressed NIfTI."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(series)))
    sitk.WriteImage(reader.Execute(), str(out / "simpleitk.nii.gz"), useCompression=True)


def with_dcm2niix(series: Path, out: Path) -> None:
    """dcm2niix, compressed, without a sidecar."""
    subprocess.run(["dcm2niix", "-z", "y", "-b", "n", "-w", "1", "-f", "dcm2niix", "-o", str(out), str(series)],
                   check=True, capture_output=True)


def with_volume_io(series: Path, out: Path) -> None:
    """Our reader with all its checks, and our writer."""
    volume = read_volume(series)
    write_nifti(out / "volume_io.nii.gz", volume.array, volume.grid)


def row_task(series: Path, out: Path, participant: str = "0000000a") -> RowTask:
    """A row of the converter without a mask: two hips."""
    return RowTask(ManifestRow("bench", 2, "bench", "P1", series), RowKey("bench", participant, 1, "both"), "train",
                   False, b"k" * 32, out / "dataset", out / "staging")


def with_converter(series: Path, out: Path) -> None:
    """A whole row of the converter."""
    shutil.rmtree(out / "staging", ignore_errors=True)
    outcome = convert_row(row_task(series, out))
    if outcome.error is not None:
        raise outcome.error


METHODS = {"SimpleITK read + write": with_simpleitk, "volume_io read + write": with_volume_io,
           "row, two hips": with_converter, "dcm2niix -z y": with_dcm2niix}


def written(out: Path, method: str) -> tuple[int, int]:
    """Voxels and bytes that a method has written."""
    patterns = {"SimpleITK read + write": "simpleitk.nii.gz", "volume_io read + write": "volume_io.nii.gz",
                "row, two hips": "staging/*/images*/*.nii.gz", "dcm2niix -z y": "dcm2niix*.nii.gz"}
    files = list(out.glob(patterns[method]))
    reader = sitk.ImageFileReader()
    voxels = 0
    for file in files:
        reader.SetFileName(str(file))
        reader.ReadImageInformation()
        voxels += int(np.prod(reader.GetSize()))
    return voxels, sum(file.stat().st_size for file in files)


def peak_volumes(method: str, series: Path, out: Path, n_voxels: int) -> float:
    """Peak memory of a fresh process above its imports, in volumes of 16 bits."""
    command = [sys.executable, __file__, "--measure", method, str(series), str(out)]
    before, peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return (float(peak) - float(before)) * (1 << 20) / (2 * n_voxels)


def measure(series: Path, out: Path, runs: int) -> list[dict[str, object]]:
    """Rows of the table."""
    methods = dict(METHODS)
    if shutil.which("dcm2niix") is None:
        print("dcm2niix is not installed (pip install femur-nnunet[bench]): its row is left out", file=sys.stderr)
        del methods["dcm2niix -z y"]
    seconds = interleaved({name: lambda method=method: method(series, out)  # type: ignore[misc]
                           for name, method in methods.items()}, runs)
    outputs = {name: written(out, name) for name in methods}
    per_voxel = {name: [value / outputs[name][0] for value in values] for name, values in seconds.items()}
    base = next(iter(methods))
    rows: list[dict[str, object]] = []
    for name, (voxels, size) in outputs.items():
        size_ratio = (size / voxels) / (outputs[base][1] / outputs[base][0])
        row: dict[str, object] = {
            "method": name, "runs": runs, "seconds": round(statistics.median(seconds[name]), 2),
            "ns_per_voxel": round(1e9 * statistics.median(per_voxel[name]), 2),
            "times_simpleitk": round(median_ratio(per_voxel[name], per_voxel[base]), 2),
            "times_dcm2niix": (round(median_ratio(per_voxel[name], per_voxel["dcm2niix -z y"]), 2)
                               if "dcm2niix -z y" in per_voxel else "n/a"),
            "bytes_per_voxel_to_simpleitk": round(size_ratio, 3),
            "size_within_5_percent": size_ratio <= LARGEST_SIZE_RATIO,
            "peak_volumes": ("n/a" if name.startswith("dcm2niix")
                             else round(peak_volumes(name, series, out, voxels), 2))}
        rows.append(row)
    return rows


def measure_workers(series: Path, out: Path, workers: list[int], runs: int) -> list[dict[str, object]]:
    """Seconds a scan with several workers, each scan with one thread, start of the processes included.

    The numbers of workers take turns, and speed-ups are medians of the ratios within a round: other work on the
    machine comes and goes.
    """
    tasks = [row_task(series, out, f"{number:08x}") for number in range(2 * max(workers))]

    def convert_all(count: int) -> None:
        shutil.rmtree(out / "staging", ignore_errors=True)
        list(run_in_workers(convert_row, tasks, count, time_limit_s=3600))

    seconds = interleaved({str(count): lambda count=count: convert_all(count)  # type: ignore[misc]
                           for count in workers}, runs)
    alone = seconds[str(workers[0])]
    return [{"workers": count, "scans": len(tasks), "runs": runs,
             "seconds_a_scan": round(statistics.median(seconds[str(count)]) / len(tasks), 2),
             "speed_up": round(median_ratio(alone, seconds[str(count)]), 2)} for count in workers]


def main() -> None:
    """Print the tables and write them as CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the CSVs (default: benchmarks/results)")
    parser.add_argument("--runs", type=int, default=5, help="rounds (default: 5)")
    parser.add_argument("--slices", type=int, default=SHAPE_ZYX[0], help="slices of the scan (default: 275)")
    parser.add_argument("--workers", type=int, nargs="*", default=[], metavar="N",
                        help="also convert with so many worker processes, as in --workers 1 2")
    parser.add_argument("--measure", nargs=3, metavar=("METHOD", "SERIES", "OUT"),
                        help="do one method and print this process's memory in MiB before and at its peak")
    options = parser.parse_args()
    with one_thread():
        if options.measure:
            method, series, out = options.measure
            before = own_peak_mib()
            METHODS[method](Path(series), Path(out))
            print(before, own_peak_mib())
            return
        with tempfile.TemporaryDirectory() as folder:
            series, out = Path(folder) / "series", Path(folder) / "out"
            out.mkdir()
            write_series(series, hip_volume((options.slices, *SHAPE_ZYX[1:])))
            publish("convert_speed.csv", measure(series, out, options.runs), options.out)
            if options.workers:
                publish("convert_workers.csv", measure_workers(series, out, options.workers, options.runs),
                        options.out, threads="1 a worker")


if __name__ == "__main__":
    main()
