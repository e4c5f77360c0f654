"""Synthetic CT series written with pydicom alone: sound ones, and any fault that a test wants."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian

UID_ROOT = "1.2.826.0.1.3680043.8.498.77"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

# Receives the dataset of a slice and the slice's number; may change anything before it is saved.
Change = Callable[[Dataset, int], None]


def write_ct_series(folder: Path, stored_kji: NDArray[np.integer], *,
                    spacing_mm_ijk: tuple[float, float, float] = (0.8, 0.7, 2.5),
                    origin_mm: tuple[float, float, float] = (-12.5, -30.25, 401.0),
                    orientation: tuple[float, ...] = AXIAL, slope: float = 1, intercept: float = -1024,
                    transfer_syntax: str = ExplicitVRLittleEndian, bits_stored: int = 16, series: int = 1,
                    suffix: str = ".dcm", change: Change | None = None) -> list[Path]:
    """Write one file a slice, numbered along the normal; the dtype of ``stored_kji`` says signed or unsigned."""
    folder.mkdir(parents=True, exist_ok=True)
    row, column = np.asarray(orientation[:3]), np.asarray(orientation[3:])
    normal = np.cross(row, column)
    paths = []
    for index, stored in enumerate(stored_kji):
        dataset = ct_slice(stored, index, series=series, slope=slope, intercept=intercept, bits_stored=bits_stored)
        dataset.ImageOrientationPatient = [float(value) for value in orientation]
        position = np.asarray(origin_mm) + index * spacing_mm_ijk[2] * normal
        dataset.ImagePositionPatient = [round(float(value), 6) for value in position]
        dataset.PixelSpacing = [spacing_mm_ijk[1], spacing_mm_ijk[0]]
        dataset.SliceThickness = spacing_mm_ijk[2]
        if change is not None:
            change(dataset, index)
        path = folder / f"s{series}_{index:04d}{suffix}"
        save(dataset, path, transfer_syntax)
        paths.append(path)
    return paths


def ct_slice(stored: NDArray[np.integer], index: int, *, series: int = 1, slope: float = 1, intercept: float = -1024,
             bits_stored: int = 16) -> Dataset:
    """Return a CT image dataset without geometry."""
    dataset = Dataset()
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = f"{UID_ROOT}.{series}.{index + 1}"
    dataset.SeriesInstanceUID = f"{UID_ROOT}.{series}"
    dataset.StudyInstanceUID = UID_ROOT
    dataset.FrameOfReferenceUID = f"{UID_ROOT}.9"
    dataset.PatientID, dataset.PatientName = "synthetic", "Synthetic^Hip"
    dataset.StudyID, dataset.StudyDate, dataset.StudyTime, dataset.AccessionNumber = "1", "", "", ""
    dataset.PatientBirthDate, dataset.PatientSex, dataset.ReferringPhysicianName = "", "", ""
    dataset.SeriesNumber, dataset.InstanceNumber = series, index + 1
    dataset.Modality = "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.Manufacturer, dataset.ManufacturerModelName = "Synthetic", "Factory 1"
    dataset.KVP, dataset.ConvolutionKernel = 120, "STANDARD"
    dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    dataset.BitsAllocated = stored.dtype.itemsize * 8
    dataset.BitsStored, dataset.HighBit = bits_stored, bits_stored - 1
    dataset.PixelRepresentation = int(np.issubdtype(stored.dtype, np.signedinteger))
    dataset.PixelData = np.ascontiguousarray(stored).tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def write_enhanced_ct(path: Path, stored_kji: NDArray[np.integer], *,
                      spacing_mm_ijk: tuple[float, float, float] = (0.8, 0.7, 2.5),
                      origin_mm: tuple[float, float, float] = (-12.5, -30.25, 401.0), slope: float = 1,
                      intercept: float = -1024, transfer_syntax: str = ExplicitVRLittleEndian,
                      frame_order: list[int] | None = None) -> None:
    """Write one Enhanced CT multi-frame file; ``frame_order`` says which slice stands at each frame."""
    order = frame_order or list(range(len(stored_kji)))
    dataset = ct_slice(stored_kji[order], 0, slope=slope, intercept=intercept)
    del dataset.RescaleSlope, dataset.RescaleIntercept, dataset.KVP, dataset.ConvolutionKernel
    dataset.SOPClassUID = EnhancedCTImageStorage
    dataset.NumberOfFrames = len(order)
    shared = Dataset()
    shared.PixelMeasuresSequence = [_item(PixelSpacing=[spacing_mm_ijk[1], spacing_mm_ijk[0]],
                                          SliceThickness=spacing_mm_ijk[2])]
    shared.PlaneOrientationSequence = [_item(ImageOrientationPatient=list(AXIAL))]
    shared.PixelValueTransformationSequence = [_item(RescaleSlope=slope, RescaleIntercept=intercept,
                                                     RescaleType="HU")]
    shared.CTXRayDetailsSequence = [_item(KVP=100)]
    shared.CTReconstructionSequence = [_item(ConvolutionKernel="B30f")]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = [
        _item(PlanePositionSequence=[_item(ImagePositionPatient=[
            origin_mm[0], origin_mm[1], origin_mm[2] + index * spacing_mm_ijk[2]])]) for index in order]
    path.parent.mkdir(parents=True, exist_ok=True)
    save(dataset, path, transfer_syntax)


def save(dataset: Dataset, path: Path, transfer_syntax: str = ExplicitVRLittleEndian) -> None:
    """Save with a valid preamble and file meta group, compressed if the transfer syntax says so."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    uid = pydicom.uid.UID(transfer_syntax)
    if uid.is_compressed and uid.is_encapsulated:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.compress(uid)
    else:
        dataset.file_meta.TransferSyntaxUID = uid
        if not uid.is_little_endian:
            word = np.dtype(f"<u{dataset.BitsAllocated // 8}")
            dataset.PixelData = np.frombuffer(dataset.PixelData, word).byteswap().tobytes()
    dataset.save_as(path, enforce_file_format=True)


def _item(**values: object) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item
