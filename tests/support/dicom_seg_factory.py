"""DICOM Segmentations of a CT series, written by highdicom."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
from pydicom.sr.codedict import codes


def write_seg(path: Path, scan: Path, values: np.ndarray, *, kind: str = "BINARY", omit_empty: bool = True,
              backwards: bool = False) -> Path:
    """Write label values 1 and 2 as the segments of the CT series in the folder ``scan``."""
    sources = [pydicom.dcmread(file) for file in sorted(scan.iterdir())]
    if backwards:
        sources, values = sources[::-1], values[::-1]
    descriptions = [
        hd.seg.SegmentDescription(
            segment_number=number, segment_label=label, segmented_property_category=codes.SCT.Organ,
            segmented_property_type=codes.SCT.Bone, algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL)
        for number, label in ((1, "left"), (2, "right"))]
    segmentation = hd.seg.Segmentation(
        source_images=sources, pixel_array=values, segmentation_type=kind, segment_descriptions=descriptions,
        series_instance_uid=hd.UID(), series_number=9, sop_instance_uid=hd.UID(), instance_number=1,
        manufacturer="Synthetic", manufacturer_model_name="Factory 1", software_versions="1",
        device_serial_number="1", omit_empty_frames=omit_empty)
    path.parent.mkdir(parents=True, exist_ok=True)
    segmentation.save_as(path)
    return path
