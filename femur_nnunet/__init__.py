"""Segmentation of the proximal femur in quantitative CT across hospitals.

Importing this package is cheap: torch and nnU-Net are imported by the modules that use them, and what is offered here
beside the version is imported when it is first asked for.
"""

from typing import Any

from femur_nnunet._version import __version__

__all__ = ["Segmentation", "SegmentationModel", "__version__", "segment_volume"]

_OFFERED = {"segment_volume": "femur_nnunet.segmentation.segment", "Segmentation": "femur_nnunet.segmentation.segment",
            "SegmentationModel": "femur_nnunet.segmentation.model"}


def __getattr__(name: str) -> Any:
    if name not in _OFFERED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_OFFERED[name]), name)
