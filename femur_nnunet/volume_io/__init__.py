"""Reading volumes, orienting them, splitting hips and finding the way back."""

from femur_nnunet.volume_io.fingerprint import voxel_hmac
from femur_nnunet.volume_io.geometry import GeometryRecord
from femur_nnunet.volume_io.hips import HipCrop, flip_left_right, split_hips
from femur_nnunet.volume_io.masks import read_mask
from femur_nnunet.volume_io.orientation import AxisMapping, orient_to_lps
from femur_nnunet.volume_io.reading import read_volume
from femur_nnunet.volume_io.reading_rules import ReadingRules
from femur_nnunet.volume_io.volume import AcquisitionTags, Grid, Volume
from femur_nnunet.volume_io.writing import write_nifti

__all__ = ["AcquisitionTags", "AxisMapping", "GeometryRecord", "Grid", "HipCrop", "ReadingRules", "Volume",
           "flip_left_right", "orient_to_lps", "read_mask", "read_volume", "split_hips", "voxel_hmac", "write_nifti"]
