"""Writing a label map as a DICOM Segmentation that refers to the series it was drawn on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray

from femur_nnunet._version import __version__
from femur_nnunet.errors import FemurError
from femur_nnunet.volume_io.dicom_headers import PARSE_ERRORS, SliceHeader, quiet_pydicom

# SNOMED CT: Femur; Left; Right. From DICOM PS3.16, CID 7167 and CID 244.
_FEMUR = ("71341001", "SCT", "Femur")
_SIDES = {"left": ("7771000", "SCT", "Left"), "right": ("24028007", "SCT", "Right")}
# Beside the few attributes that a segmentation must have of its patient and study, nothing of the source is copied.
_SOURCE_PADDING = {"AccessionNumber": "", "StudyID": "", "StudyDate": "", "StudyTime": "", "PatientName": "",
                   "PatientID": "", "PatientBirthDate": "", "PatientSex": "", "ReferringPhysicianName": ""}


@dataclass(frozen=True)
class SegmentLabel:
    """What one label value of the mask becomes: the segment's name, and the side of the femur."""

    name: str
    side: str


def write_dicom_seg(path: Path, mask_kji: NDArray[np.uint8], planes: Sequence[SliceHeader],
                    labels: Mapping[int, SegmentLabel], *, algorithm_name: str) -> None:
    """Write the labels that the mask holds as segments of one binary DICOM Segmentation.

    The object belongs to the patient and the study of the source, as the standard asks for: it holds their identity.

    Parameters
    ----------
    path : Path
        The file.
    mask_kji : ndarray of uint8
        Shape (k, j, i); one plane for each of ``planes``.
    planes : sequence of SliceHeader
        The source's planes in the order of k, from
        :func:`~femur_nnunet.volume_io.dicom_series.series_geometry`.
    labels : mapping of int to SegmentLabel
        Meaning of the mask's values; those that it does not hold are left out.
    algorithm_name : str
        Name of the model.

    Raises
    ------
    FemurError
        The mask is empty, or the source lacks what a segmentation must refer to.
    """
    # Slow to import, and needed on request alone.
    import highdicom as hd
    from pydicom.sr.codedict import codes

    present = [value for value in sorted(labels) if (mask_kji == value).any()]
    if not present:
        raise FemurError("an empty mask", expected="a femur to write", action="leave --dicom-seg out")
    if len(planes) != len(mask_kji):
        raise FemurError(f"{len(planes)} planes for a mask of {len(mask_kji)}", expected="one plane each",
                         action="give mask and series of the same scan")
    algorithm = hd.AlgorithmIdentificationSequence(
        name=algorithm_name[:64], version=__version__, family=codes.DCM.ArtificialIntelligence)
    descriptions = [hd.seg.SegmentDescription(
        segment_number=number, segment_label=labels[value].name,
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=hd.sr.CodedConcept(*_FEMUR),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC, algorithm_identification=algorithm,
        tracking_uid=hd.UID(), tracking_id=labels[value].name) for number, value in enumerate(present, start=1)]
    for description, value in zip(descriptions, present, strict=True):
        # highdicom has no argument for it.
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = pydicom.Sequence(
            [hd.sr.CodedConcept(*_SIDES[labels[value].side])])
    numbers = np.zeros(int(mask_kji.max()) + 1, dtype=np.uint8)
    for number, value in enumerate(present, start=1):
        numbers[value] = number
    try:
        with quiet_pydicom():
            segmentation = hd.seg.Segmentation(
                source_images=_sources(planes), pixel_array=numbers[mask_kji],
                segmentation_type=hd.seg.SegmentationTypeValues.BINARY, segment_descriptions=descriptions,
                series_instance_uid=hd.UID(), series_number=9000, sop_instance_uid=hd.UID(), instance_number=1,
                manufacturer="femur-nnunet", manufacturer_model_name=algorithm_name[:64],
                software_versions=__version__, device_serial_number="0", content_label="FEMORA",
                content_description="Femora, research use only")
            segmentation.SeriesDescription = "Femora (femur-nnunet, research use only)"
            segmentation.save_as(path)
    except FemurError:
        raise
    # The library's own text may quote attributes of the file.
    except (*PARSE_ERRORS, RuntimeError) as error:
        raise FemurError(f"a series that a DICOM Segmentation cannot refer to ({type(error).__name__})",
                         expected="slices with study, series and frame of reference",
                         action="leave --dicom-seg out; segmentation.nii.gz is on the same grid") from None


def _sources(planes: Sequence[SliceHeader]) -> list[pydicom.Dataset]:
    files = list(dict.fromkeys(plane.path for plane in planes))
    if len(files) == 1 < len(planes):
        if [plane.frame for plane in planes] != list(range(len(planes))):
            raise FemurError("a multi-frame file whose frames are in another order than its slices",
                             expected="frames from one end to the other",
                             action="leave --dicom-seg out; segmentation.nii.gz is on the same grid")
    elif len(files) != len(planes):
        raise FemurError("a series of several multi-frame files", expected="a file a slice, or one file",
                         action="leave --dicom-seg out; segmentation.nii.gz is on the same grid")
    sources = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    for source in sources:
        # De-identified series lack what the standard asks for; empty values are allowed there.
        for name, value in _SOURCE_PADDING.items():
            if name not in source:
                setattr(source, name, value)
    return sources
