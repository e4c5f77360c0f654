"""Reading the few DICOM attributes that geometry, HU and the cohort table need; nothing else is parsed."""

from __future__ import annotations

import hashlib
import io
import logging
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
    MediaStorageDirectoryStorage,
)

from femur_nnunet.volume_io.volume import AcquisitionTags

# What pydicom raises on damaged files, depending on where the damage is.
PARSE_ERRORS = (InvalidDicomError, BytesLengthException, OSError, EOFError, ValueError, KeyError, TypeError,
                AttributeError, IndexError, OverflowError, NotImplementedError, RecursionError, AssertionError,
                struct.error, zlib.error)

_CT_STORAGE = (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "ImageType", "Rows", "Columns",
    "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "NumberOfFrames",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "GantryDetectorTilt",
    "RescaleSlope", "RescaleIntercept", "RescaleType", "PixelPaddingValue", "PixelPaddingRangeLimit",
    "Manufacturer", "ManufacturerModelName", "KVP", "ConvolutionKernel",
    "PatientID", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]
_LOCALISER_WORDS = {"LOCALIZER", "LOCALISER", "SCOUT", "TOPOGRAM", "SURVIEW", "SCANOGRAM"}
_PAGE_WORDS = {"SCREEN SAVE", "DOSE", "DOSE_INFO", "DOSE REPORT", "REPORT", "PASTED", "MIP", "MINIP", "VRT",
               "VOLUME_RENDER", "PROJECTION IMAGE"}
# Modalities that may be named in messages; any other text in that attribute could be anything.
_KNOWN_MODALITIES = {"CT", "MR", "PT", "NM", "US", "CR", "DX", "MG", "XA", "RF", "OT", "SC", "SEG", "SR", "KO", "PR",
                     "REG", "RTSTRUCT", "RTDOSE", "RTPLAN", "RTIMAGE", "DOC", "BMD", "FID"}
_PLAIN_TEXT = re.compile(r"[^A-Za-z0-9 .,+\-_/()]")


@dataclass(frozen=True)
class SliceHeader:
    """One image plane: a single-frame file, or one frame of a multi-frame file.

    Values that the file does not hold are ``None``; whether that matters is for the geometry checks to say.
    """

    path: Path
    frame: int
    n_frames: int
    series_uid: str
    instance_uid: str
    transfer_syntax: str
    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    position_mm: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing_mm: tuple[float, ...] | None
    slope: float | None
    intercept: float | None
    rescale_type: str | None
    padding: tuple[int, int] | None
    tags: AcquisitionTags
    # Hash of PatientID, which is only ever compared within one folder; empty where the file has none.
    patient: str = field(default="", repr=False)


@dataclass
class DicomFile:
    """What one DICOM file is: image planes of a CT, or the reason why it is left aside."""

    modality: str
    planes: list[SliceHeader] = field(default_factory=list)
    skipped_as: str | None = None


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Silence pydicom's warnings and log lines, which may quote values of the file."""
    logger = logging.getLogger("pydicom")

    def swallow(record: logging.LogRecord) -> bool:
        return False

    logger.addFilter(swallow)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.removeFilter(swallow)


def read_dataset(path: Path, **options: Any) -> pydicom.Dataset:
    """Read a file as :func:`pydicom.dcmread` does; a damaged length asks for no more memory than the file has bytes."""
    try:
        return pydicom.dcmread(path, **options)
    except MemoryError:
        # From memory no element is longer than the file. What fails now is the machine's failure.
        return pydicom.dcmread(io.BytesIO(path.read_bytes()), **options)


def looks_like_dicom(path: Path) -> bool:
    """Say whether a file is meant to be DICOM: by its magic word, its first tag, or the suffix ``.dcm``."""
    with path.open("rb") as handle:
        head = handle.read(132)
    if head[128:132] == b"DICM" or path.suffix.lower() == ".dcm":
        return True
    if len(head) < 8:
        return False
    # Files without the preamble begin with an element of group 0008 (or 0002), little endian, low element number.
    group, element = struct.unpack("<HH", head[:4])
    return group in (0x0002, 0x0008) and element <= 0x0060


def read_dicom_file(path: Path) -> DicomFile:
    """Read the header of one DICOM file.

    Raises
    ------
    ValueError, or another of ``PARSE_ERRORS``
        The file is damaged or no DICOM.
    """
    with quiet_pydicom():
        try:
            dataset = read_dataset(path, stop_before_pixels=True, specific_tags=_TAGS)
        except InvalidDicomError:
            dataset = read_dataset(path, stop_before_pixels=True, specific_tags=_TAGS, force=True)
        if dataset.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            return DicomFile("none", skipped_as="directory")
        if "SOPClassUID" not in dataset and "Modality" not in dataset:
            raise InvalidDicomError("the file ends before it says what it is")
        if "Modality" not in dataset and dataset.get("SOPClassUID") in _CT_STORAGE:
            raise InvalidDicomError("the file ends before its modality")
        modality = _modality(dataset)
        if modality != "CT":
            return DicomFile(modality, skipped_as="other modality")
        reason = _reason_to_skip(dataset)
        if reason is not None:
            return DicomFile(modality, skipped_as=reason)
        if not dataset.get("Rows") or not dataset.get("Columns"):
            raise InvalidDicomError("the file ends before the image's description")
        n_frames = int(dataset.get("NumberOfFrames") or 1)
        if n_frames > 1 and n_frames != len(dataset.get("PerFrameFunctionalGroupsSequence") or []):
            raise ValueError("the number of frames differs from the number of per-frame descriptions")
        return DicomFile(modality, planes=[_plane(path, dataset, frame, n_frames) for frame in range(n_frames)])


def _modality(dataset: pydicom.Dataset) -> str:
    text = str(dataset.get("Modality") or "").strip().upper()
    if not text:
        return "none"
    return text if text in _KNOWN_MODALITIES else "unknown"


def _reason_to_skip(dataset: pydicom.Dataset) -> str | None:
    # De-identified series may have lost their storage class; the modality then has to do.
    storage = dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID") or CTImageStorage
    if storage not in _CT_STORAGE or int(dataset.get("SamplesPerPixel") or 1) != 1:
        return "secondary capture or raw data"
    words = {str(word).strip().upper() for word in _several(dataset.get("ImageType"))}
    if words & _LOCALISER_WORDS:
        return "localiser"
    if words & _PAGE_WORDS:
        return "dose page or projection"
    return None


def _plane(path: Path, dataset: pydicom.Dataset, frame: int, n_frames: int) -> SliceHeader:
    def value(keyword: str, macro: str) -> Any:
        return _functional_value(dataset, frame, macro, keyword)

    meta = dataset.file_meta
    bits_allocated = int(dataset.get("BitsAllocated") or 16)
    bits_stored = int(dataset.get("BitsStored") or bits_allocated)
    signed = bool(int(dataset.get("PixelRepresentation") or 0))
    high_bit = dataset.get("HighBit")
    return SliceHeader(
        path=path, frame=frame, n_frames=n_frames,
        series_uid=str(dataset.get("SeriesInstanceUID") or ""),
        instance_uid=str(dataset.get("SOPInstanceUID") or ""),
        transfer_syntax=str(meta.get("TransferSyntaxUID") or ImplicitVRLittleEndian),
        rows=int(dataset.get("Rows") or 0), columns=int(dataset.get("Columns") or 0),
        bits_allocated=bits_allocated, bits_stored=bits_stored,
        high_bit=bits_stored - 1 if high_bit is None else int(high_bit), signed=signed,
        position_mm=_numbers(value("ImagePositionPatient", "PlanePositionSequence"), 3),
        orientation=_numbers(value("ImageOrientationPatient", "PlaneOrientationSequence"), 6),
        pixel_spacing_mm=_numbers(value("PixelSpacing", "PixelMeasuresSequence"), 2),
        slope=_number(value("RescaleSlope", "PixelValueTransformationSequence")),
        intercept=_number(value("RescaleIntercept", "PixelValueTransformationSequence")),
        rescale_type=_text(value("RescaleType", "PixelValueTransformationSequence")),
        padding=_padding(dataset, signed, bits_allocated),
        tags=AcquisitionTags(
            modality="CT",
            manufacturer=_text(dataset.get("Manufacturer")),
            model=_text(dataset.get("ManufacturerModelName")),
            kvp=_number(value("KVP", "CTXRayDetailsSequence")),
            kernel=_text(value("ConvolutionKernel", "CTReconstructionSequence")),
            slice_thickness_mm=_number(value("SliceThickness", "PixelMeasuresSequence")),
            gantry_tilt_deg=_number(value("GantryDetectorTilt", "CTAcquisitionDetailsSequence"))),
        patient=_patient(dataset))


def _patient(dataset: pydicom.Dataset) -> str:
    text = str(dataset.get("PatientID") or "").strip().upper()
    return hashlib.sha256(text.encode()).hexdigest() if text else ""


def _functional_value(dataset: pydicom.Dataset, frame: int, macro: str, keyword: str) -> Any:
    """Look an attribute up: at the top level, else in the frame's functional group, else in the shared one."""
    if keyword in dataset:
        return dataset.get(keyword)
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    shared = dataset.get("SharedFunctionalGroupsSequence")
    groups = [per_frame[frame]] if per_frame and frame < len(per_frame) else []
    groups += [shared[0]] if shared else []
    for group in groups:
        items = group.get(macro)
        if items and keyword in items[0]:
            return items[0].get(keyword)
    return None


def _several(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, MultiValue | list | tuple) else [value]


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    numbers = tuple(float(item) for item in _several(value) if item not in (None, ""))
    return numbers if len(numbers) == count else None


def _number(value: Any) -> float | None:
    numbers = [item for item in _several(value) if item not in (None, "")]
    return float(numbers[0]) if numbers else None


def _text(value: Any) -> str | None:
    """Return a short text of harmless characters; several values are joined by a slash."""
    joined = "/".join(str(item).strip() for item in _several(value) if str(item).strip())
    cleaned = _PLAIN_TEXT.sub("", joined)[:64].strip()
    return cleaned or None


def _padding(dataset: pydicom.Dataset, signed: bool, bits_allocated: int) -> tuple[int, int] | None:
    """Return the lowest and the highest stored value that mean padding."""
    values = [_number(dataset.get(keyword)) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if values[0] is None:
        return None
    first = int(values[0])
    last = first if values[1] is None else int(values[1])
    if signed:
        # Some writers store a negative padding value as its unsigned twin.
        half, whole = 1 << (bits_allocated - 1), 1 << bits_allocated
        first, last = (value - whole if value >= half else value for value in (first, last))
    return min(first, last), max(first, last)
