"""Segmentation of the proximal femur in quantitative CT across hospitals.

Importing this package is cheap: torch and nnU-Net are imported by the modules that use them.
"""

from femur_nnunet._version import __version__

__all__ = ["__version__"]
