"""Write a rendered scan as a DICOM series, with the header that such a scanner writes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from femur_nnunet.phantom.tiers import ScannerTier
from femur_nnunet.volume_io.volume import Grid

STUDY_DATE, STUDY_TIME = "20200115", "101500"
SCAN_DIAMETER_MM, ROTATION_TIME_MS = 500.0, 700


@dataclass(frozen=True)
class StoredForm:
    """How a vendor stores HU: sign, bits and offset of the pixels, and whether padding is declared."""

    signed: bool
    rescale_intercept: int
    declares_padding: bool


_STORED_FORMS = {
    "GE MEDICAL SYSTEMS": StoredForm(signed=True, rescale_intercept=-1024, declares_padding=True),
    "SIEMENS": StoredForm(signed=False, rescale_intercept=-1024, declares_padding=False),
    "TOSHIBA": StoredForm(signed=True, rescale_intercept=0, declares_padding=True),
}


_FILTERS = {"GE MEDICAL SYSTEMS": "BODY FILTER", "SIEMENS": "0", "TOSHIBA": "LARGE"}
_IMAGE_TYPES = {"GE MEDICAL SYSTEMS": ("ORIGINAL", "PRIMARY", "AXIAL"),
                "SIEMENS": ("ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"),
                "TOSHIBA": ("ORIGINAL", "PRIMARY", "AXIAL")}


def tube_current_time_mas(scanner: ScannerTier) -> float:
    """Return the exposure that fits the scanner's noise: variance falls as 1 / mAs and as the beam hardens.

    16 HU at 120 kVp belong to 100 mAs; the output of a tube grows with about the 2.5th power of kVp.
    """
    return float(100.0 * (16.0 / scanner.noise_hu) ** 2 * (120.0 / scanner.kvp) ** 2.5)


@dataclass(frozen=True)
class SeriesIdentity:
    """Who and what a series says it is; all made up."""

    patient_name: str
    patient_id: str
    sex: str
    age_years: int
    uid_seed: str


def make_uid(*parts: object) -> str:
    """Return a UID below 2.25 that depends on ``parts`` alone (a 128 bit number in decimal digits)."""
    text = "\0".join(str(part) for part in parts)
    return f"2.25.{int.from_bytes(hashlib.sha256(text.encode('utf-8')).digest()[:16], 'big')}"


def write_dicom_series(folder: Path, hu: NDArray[np.int16], grid: Grid, scanner: ScannerTier,
                       identity: SeriesIdentity, *, slice_thickness_mm: float,
                       series_description: str) -> None:
    """Write one file for each slice into ``folder``.

    Instance numbers count from head to feet, as most scanners number a caudal scan, while file names
    follow neither; a reader has to sort by position.

    Parameters
    ----------
    folder : Path
        Made if it is missing.
    hu : ndarray of int16
        Shape (z, y, x), slices from feet to head.
    grid : Grid
        Axes along LPS.
    scanner : ScannerTier
        Manufacturer, model, kernel, tube voltage, padding.
    identity : SeriesIdentity
        Made-up patient.
    slice_thickness_mm : float
        Thickness for the header.
    series_description : str
        Description for the header.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = hu.shape[0]
    for index in range(count):
        number = count - index
        dataset = _slice_dataset(hu[index], index, number, grid, scanner, identity, slice_thickness_mm,
                                 series_description)
        name = hashlib.sha256(f"{identity.uid_seed}/{number}".encode()).hexdigest()[:8]
        pydicom.dcmwrite(folder / f"CT.{name}.dcm", dataset)


def _slice_dataset(plane: NDArray[np.int16], index: int, number: int, grid: Grid, scanner: ScannerTier,
                   identity: SeriesIdentity, thickness_mm: float, description: str) -> FileDataset:
    sop_uid = make_uid(identity.uid_seed, "instance", number)
    dataset = _empty_dataset(sop_uid)
    position = grid.world_mm_lps((0, 0, index))
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = list(_IMAGE_TYPES[scanner.manufacturer])
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = sop_uid
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = STUDY_DATE
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = STUDY_TIME
    dataset.AccessionNumber = ""
    dataset.Modality = "CT"
    dataset.Manufacturer = scanner.manufacturer
    dataset.ManufacturerModelName = scanner.model
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = "SYNTHETIC QCT HIP"
    dataset.SeriesDescription = description
    dataset.PatientName = identity.patient_name
    dataset.PatientID = identity.patient_id
    dataset.PatientBirthDate = ""
    dataset.PatientSex = identity.sex
    dataset.PatientAge = f"{identity.age_years:03d}Y"
    dataset.BodyPartExamined = "HIP"
    dataset.SliceThickness = _decimal(thickness_mm)
    dataset.KVP = _decimal(scanner.kvp)
    dataset.DataCollectionDiameter = _decimal(SCAN_DIAMETER_MM)
    dataset.DistanceSourceToDetector, dataset.DistanceSourceToPatient = "949.1", "541"
    dataset.RotationDirection = "CW"
    exposure = tube_current_time_mas(scanner)
    dataset.ExposureTime = str(ROTATION_TIME_MS)
    dataset.XRayTubeCurrent = str(round(exposure * 1000.0 / ROTATION_TIME_MS))
    dataset.Exposure = str(round(exposure))
    dataset.FilterType = _FILTERS[scanner.manufacturer]
    dataset.FocalSpots = "1.2"
    dataset.SoftwareVersions = "synthetic"
    dataset.StationName = "SYNTHETIC"
    dataset.InstitutionName = "SYNTHETIC"
    dataset.ProtocolName = "QCT HIP"
    dataset.ReconstructionDiameter = _decimal(max(grid.size_ijk[:2]) * grid.spacing_mm_ijk[0]
                                              * scanner.field_of_view_factor)
    dataset.GantryDetectorTilt = "0"
    dataset.TableHeight = "0"
    dataset.ConvolutionKernel = scanner.kernel
    dataset.PatientPosition = "HFS"
    dataset.StudyInstanceUID = make_uid(identity.uid_seed, "study")
    dataset.SeriesInstanceUID = make_uid(identity.uid_seed, "series")
    dataset.StudyID = "1"
    dataset.SeriesNumber = "2"
    dataset.AcquisitionNumber = "1"
    dataset.InstanceNumber = str(number)
    dataset.ImagePositionPatient = [_decimal(value) for value in position]
    dataset.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    dataset.FrameOfReferenceUID = make_uid(identity.uid_seed, "frame")
    dataset.PositionReferenceIndicator = ""
    dataset.SliceLocation = _decimal(position[2])
    _set_pixels(dataset, plane, grid, scanner)
    return dataset


def _set_pixels(dataset: FileDataset, plane: NDArray[np.int16], grid: Grid, scanner: ScannerTier) -> None:
    form = _STORED_FORMS[scanner.manufacturer]
    stored = plane.astype(np.int32) - form.rescale_intercept
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = plane.shape
    dataset.PixelSpacing = [_decimal(grid.spacing_mm_ijk[1]), _decimal(grid.spacing_mm_ijk[0])]
    dataset.BitsAllocated = 16
    dataset.BitsStored = 16 if form.signed else 12
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(form.signed)
    if form.declares_padding:
        dataset.add_new("PixelPaddingValue", "SS", scanner.padding_hu - form.rescale_intercept)
    dataset.RescaleIntercept = str(form.rescale_intercept)
    dataset.RescaleSlope = "1"
    dataset.RescaleType = "HU"
    dataset.WindowCenter, dataset.WindowWidth = "300", "1500"
    dataset.PixelData = stored.astype("<i2" if form.signed else "<u2").tobytes()


def _empty_dataset(sop_uid: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.FileMetaInformationGroupLength = 0
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = sop_uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = make_uid("femur_nnunet.phantom")
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\x00" * 128)
    if int(pydicom.__version__.split(".")[0]) < 3:
        # Older releases do not take the encoding from the transfer syntax.
        dataset.is_little_endian = True
        dataset.is_implicit_VR = False
    return dataset


def _decimal(value: float) -> str:
    """Return a decimal string of at most 16 characters, as DICOM asks."""
    return f"{round(float(value), 6):.10g}"
