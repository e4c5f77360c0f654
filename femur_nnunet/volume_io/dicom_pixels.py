"""Decoding the pixels of checked CT planes to HU.

Uncompressed pixels are taken with numpy from what pydicom reads. RLE and JPEG-LS are decoded through pydicom (by its
own code and by pyjpegls, which highdicom brings along): on damaged streams of these two GDCM kills the process.
JPEG (8 and 12 bit, lossless) and JPEG 2000 are decoded by GDCM inside SimpleITK, which needs no further dependency;
the only pydicom plugin with the same reach is GPL.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.config import IGNORE
from pydicom.pixels import get_decoder
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from femur_nnunet.errors import FemurError
from femur_nnunet.machine_failures import raise_machine_failure
from femur_nnunet.volume_io.dicom_headers import PARSE_ERRORS, SliceHeader, quiet_pydicom, read_dataset
from femur_nnunet.volume_io.native_messages import silent_native_messages
from femur_nnunet.volume_io.volume import AIR_HU

# Padding that would be tissue after rescaling is a wrong header, not padding.
HIGHEST_PADDING_HU = -900
_INT16 = np.iinfo(np.int16)
_UNCOMPRESSED = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
_THROUGH_PYDICOM = (RLELossless, JPEGLSLossless, JPEGLSNearLossless)


def read_hounsfield(planes: Sequence[SliceHeader], *, subject: str = "") -> tuple[NDArray[np.generic], list[str]]:
    """Decode planes and apply each plane's own rescale; padding becomes air (-1024 HU).

    Parameters
    ----------
    planes : sequence of SliceHeader
        Planes of equal size in the order wanted.
    subject : str, optional
        What errors are about.

    Returns
    -------
    array : ndarray
        Shape (planes, rows, columns) in HU: int16 (int32 if a value does not fit) where every slope and intercept
        is integral, else float32.
    notes : list of str
        Replaced padding, lossy compression.

    Raises
    ------
    FemurError
        Files that cannot be decoded or are truncated: their number and transfer syntaxes.
    """
    # Before memory is asked for the volume that damaged numbers of rows and columns would make.
    _refuse_broken(Counter(_syntax_name(plane.transfer_syntax) for plane in planes
                           if plane.frame == 0 and _holds_too_little(plane)), len(planes), subject)
    integral = all(float(plane.slope or 0).is_integer() and float(plane.intercept or 0).is_integer()
                   for plane in planes)
    first = planes[0]
    array: NDArray[np.generic] = np.empty((len(planes), first.rows, first.columns),
                                          dtype=np.int16 if integral else np.float32)
    broken: Counter[str] = Counter()
    n_padding = n_padding_in_tissue = 0
    # Consecutive frames of one file are decoded together.
    for path, group in groupby(enumerate(planes), key=lambda item: item[1].path):
        members = list(group)
        try:
            decoded = _decode_file(path, [plane for _, plane in members])
        except (*PARSE_ERRORS, RuntimeError) as error:
            raise_machine_failure(error, subject)
            broken[_syntax_name(members[0][1].transfer_syntax)] += 1
            continue
        for (index, plane), hounsfield in zip(members, decoded, strict=True):
            padding = _padding_voxels(hounsfield, plane)
            if padding is not None:
                hounsfield[padding] = AIR_HU
                n_padding += int(padding.sum())
            elif _padding_is_tissue(plane):
                n_padding_in_tissue += 1
            if array.dtype == np.int16 and (hounsfield.min() < _INT16.min or hounsfield.max() > _INT16.max):
                array = array.astype(np.int32)
            array[index] = hounsfield
    _refuse_broken(broken, len(planes), subject)
    return array, _notes(planes, n_padding, n_padding_in_tissue)


def _holds_too_little(plane: SliceHeader) -> bool:
    """Whether a file of uncompressed pixels is shorter than the pixels that its header promises."""
    n_bytes = plane.rows * plane.columns * plane.n_frames * plane.bits_allocated // 8
    return UID(plane.transfer_syntax, IGNORE) in _UNCOMPRESSED and plane.path.stat().st_size < n_bytes


def _refuse_broken(broken: Counter[str], n_slices: int, subject: str) -> None:
    if not broken:
        return
    syntaxes = ", ".join(sorted(broken))
    raise FemurError(f"{sum(broken.values())} file(s) whose pixels are truncated or cannot be decoded ({syntaxes})",
                     expected=f"complete pixels in all {n_slices} slices",
                     action="copy or export the series again, uncompressed if the compression is exotic",
                     subject=subject)


def _decode_file(path: Path, planes: list[SliceHeader]) -> list[NDArray[Any]]:
    """Return one writable HU array (rows, columns) a plane of one file."""
    uid = UID(planes[0].transfer_syntax, IGNORE)
    with quiet_pydicom():
        # Parsing the whole file also finds a truncated compressed stream, of which GDCM would fill the rest.
        dataset = read_dataset(path, force=True)
    pixel_data = dataset.PixelData
    if uid.is_encapsulated:
        if uid in _THROUGH_PYDICOM and get_decoder(uid).is_available:
            return _decode_with_pydicom(dataset, uid, planes)
        return _decode_with_gdcm(path, planes)
    return _decode_native(pixel_data, planes, big_endian=uid == ExplicitVRBigEndian)


def _decode_native(pixel_data: bytes, planes: list[SliceHeader], *, big_endian: bool) -> list[NDArray[Any]]:
    first = planes[0]
    if first.bits_allocated not in (8, 16, 32):
        raise NotImplementedError(f"{first.bits_allocated} bits allocated")
    sample = np.dtype(f"{'>' if big_endian else '<'}{'i' if first.signed else 'u'}{first.bits_allocated // 8}")
    per_frame = first.rows * first.columns
    if len(pixel_data) < per_frame * sample.itemsize * first.n_frames:
        raise EOFError("fewer pixels than rows x columns")
    frames = np.frombuffer(pixel_data, dtype=sample, count=per_frame * first.n_frames)
    decoded: list[NDArray[Any]] = []
    for plane in planes:
        stored = frames[plane.frame * per_frame:(plane.frame + 1) * per_frame].reshape(plane.rows, plane.columns)
        decoded.append(_rescale(_stored_bits(stored.astype(sample.newbyteorder("=")), plane), plane))
    return decoded


def _decode_with_pydicom(dataset: pydicom.Dataset, uid: UID, planes: list[SliceHeader]) -> list[NDArray[Any]]:
    with quiet_pydicom():
        frames = get_decoder(uid).iter_array(dataset, indices=[plane.frame for plane in planes], raw=True)
        stored = [np.array(frame) for frame, _ in frames]
    if any(frame.shape != (plane.rows, plane.columns) for frame, plane in zip(stored, planes, strict=True)):
        raise ValueError("the compressed stream holds another number of pixels")
    return [_rescale(_stored_bits(frame, plane), plane) for frame, plane in zip(stored, planes, strict=True)]


def _stored_bits(values: NDArray[np.generic], plane: SliceHeader) -> NDArray[Any]:
    """Cut away what lies outside the stored bits (old overlays) and extend the sign."""
    if plane.bits_stored == plane.bits_allocated:
        return values
    above = plane.bits_allocated - 1 - plane.high_bit
    below = plane.high_bit + 1 - plane.bits_stored
    if above < 0 or below < 0:
        raise ValueError("the stored bits lie outside the allocated ones")
    return np.right_shift(np.left_shift(values, above), above + below)


def _rescale(stored: NDArray[np.generic], plane: SliceHeader) -> NDArray[np.generic]:
    slope, intercept = float(plane.slope or 0), float(plane.intercept or 0)
    if slope.is_integer() and intercept.is_integer():
        return stored.astype(np.int64) * int(slope) + int(intercept)
    return stored.astype(np.float64) * slope + intercept


def _decode_with_gdcm(path: Path, planes: list[SliceHeader]) -> list[NDArray[Any]]:
    """Decode with GDCM, which applies the rescale that it finds in the file."""
    if len({(plane.slope, plane.intercept) for plane in planes}) > 1:
        raise NotImplementedError("frames of different rescale in a compressed multi-frame file")
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    with silent_native_messages():
        image = reader.Execute()
    frames = sitk.GetArrayFromImage(image)
    expected = (planes[0].n_frames, planes[0].rows, planes[0].columns)
    if frames.shape != expected:
        raise ValueError(f"decoded shape {frames.shape} instead of {expected}")
    return [frames[plane.frame] for plane in planes]


def _padding_range_hu(plane: SliceHeader) -> tuple[float, float] | None:
    if plane.padding is None:
        return None
    slope, intercept = float(plane.slope or 0), float(plane.intercept or 0)
    ends = sorted(value * slope + intercept for value in plane.padding)
    # Half a step on either side absorbs the rounding of a fractional slope.
    return ends[0] - abs(slope) / 2, ends[1] + abs(slope) / 2


def _padding_is_tissue(plane: SliceHeader) -> bool:
    limits = _padding_range_hu(plane)
    return limits is not None and limits[1] > HIGHEST_PADDING_HU


def _padding_voxels(hounsfield: NDArray[Any], plane: SliceHeader) -> NDArray[np.bool_] | None:
    limits = _padding_range_hu(plane)
    if limits is None or limits[1] > HIGHEST_PADDING_HU:
        return None
    return (hounsfield >= limits[0]) & (hounsfield <= limits[1])


def _syntax_name(uid: str) -> str:
    name = UID(uid, IGNORE).name
    # An unknown UID has itself as its name, which may be a private, telling string.
    return "an unknown transfer syntax" if name == uid else name


def _notes(planes: Sequence[SliceHeader], n_padding: int, n_padding_in_tissue: int) -> list[str]:
    notes = []
    if n_padding:
        notes.append(f"{n_padding} padding voxel(s) set to {AIR_HU} HU")
    if n_padding_in_tissue:
        notes.append(f"the padding value of {n_padding_in_tissue} slice(s) lies above {HIGHEST_PADDING_HU} HU and "
                     "was left alone")
    lossy = Counter(plane.transfer_syntax for plane in planes if plane.transfer_syntax in _LOSSY)
    notes += [f"{count} slice(s) with lossy compression ({_syntax_name(uid)})" for uid, count in sorted(lossy.items())]
    return notes


# Syntaxes that always lose; JPEG 2000 (.91) may be either way.
_LOSSY = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.53",
                    "1.2.840.10008.1.2.4.55", "1.2.840.10008.1.2.4.81"})
