"""Reading label maps of real hips: both femora, both hip bones and the sacrum in one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from femur_nnunet.errors import FemurError, UsageError
from femur_nnunet.files import sha256_of_file
from femur_nnunet.phantom.anatomy import SideName
from femur_nnunet.volume_io.image_files import image_suffix, read_image_file
from femur_nnunet.volume_io.orientation import orient_to_lps

# A direction that deviates more from the axes than this would have to be resampled.
_OBLIQUE_TOLERANCE = 1e-3
_LARGEST_SPACING_MM = 3.0
_LEAST_VOLUME_ML = 15.0


@dataclass(frozen=True)
class LabelNumbers:
    """Which number each bone has in the maps; the defaults are those of MICCAI2022-155/AuToSeg."""

    right_femur: int = 1
    left_femur: int = 2
    right_hip_bone: int = 3
    left_hip_bone: int = 4
    sacrum: int = 5

    @classmethod
    def parse(cls, text: str) -> LabelNumbers:
        """Read ``right_femur=1,left_femur=2,...``; a bone that is left out keeps its default.

        Raises
        ------
        UsageError
            A name is unknown, a number is none above 0, or two bones have the same.
        """
        known = [item.name for item in fields(cls)]
        numbers: dict[str, int] = {}
        for part in filter(None, text.split(",")):
            name, _, value = part.partition("=")
            if name.strip() not in known or not value.strip().isdecimal() or int(value) == 0:
                raise UsageError(f"{part.strip()!r} among the labels", expected=f"NAME=NUMBER with {', '.join(known)}",
                                 action="write for example right_femur=1,left_femur=2")
            numbers[name.strip()] = int(value)
        result = cls(**numbers)
        if len({getattr(result, name) for name in known}) < len(known):
            raise UsageError(f"one number for two bones in {text!r}", expected="five different numbers",
                             action="give every bone its own number, also those whose default is taken")
        return result


@dataclass(frozen=True)
class Bone:
    """One bone of a map, cleaned.

    Attributes
    ----------
    mask : ndarray of bool
        Shape (z, y, x), axes along LPS: the part of the image that holds the bone.
    origin_mm_xyz : tuple of float
        Position of its first voxel's centre.
    touches : dict
        Whether the bone is cut by the image's edge at ``bottom`` and ``top``.
    """

    mask: NDArray[np.bool_]
    origin_mm_xyz: tuple[float, float, float]
    touches: dict[str, bool]


@dataclass(frozen=True)
class HipLabelMap:
    """The five bones of one subject on their grid.

    Attributes
    ----------
    name, sha256 : str
        File name without suffix, hash of the file.
    spacing_mm_zyx : tuple of float
        Voxel spacing.
    femora, hip_bones : dict
        By side.
    sacrum : Bone
        Sacrum, with the coccyx where it is labelled with it.
    """

    name: str
    sha256: str
    spacing_mm_zyx: tuple[float, float, float]
    femora: dict[SideName, Bone]
    hip_bones: dict[SideName, Bone]
    sacrum: Bone


def list_label_maps(folder: Path, names: Sequence[str] | None = None) -> list[Path]:
    """Return the label maps of a folder in order of their names.

    Parameters
    ----------
    folder : Path
        Folder with one image file a subject.
    names : sequence of str, optional
        Take these subjects alone (file names without suffix).

    Raises
    ------
    UsageError
        No such folder, no label map in it, or a name that it does not hold.
    """
    if not folder.is_dir():
        raise UsageError(f"no folder {folder.name!r}", expected="a folder with label maps (NIfTI, MHA or NRRD)",
                         action="give the folder for --label-maps", subject=str(folder))
    found = {map_name(path): path for path in sorted(folder.iterdir()) if path.is_file() and image_suffix(path)}
    if not found:
        raise UsageError("no label map", expected="one image file (NIfTI, MHA or NRRD) a subject",
                         action="give the folder that holds them itself", subject=str(folder))
    unknown = [name for name in names or () if name not in found]
    if unknown:
        raise UsageError(f"no label map named {', '.join(unknown)}", expected=f"some of {', '.join(found)}",
                         action="correct the list of subjects", subject=str(folder))
    return [path for name, path in found.items() if names is None or name in names]


def map_name(path: Path) -> str:
    """Return a label map's name: its file name without suffix."""
    return path.name[:-len(image_suffix(path) or "")]


def read_label_map(path: Path, numbers: LabelNumbers | None = None) -> HipLabelMap:
    """Read and clean one label map: of every bone the largest component with its holes filled.

    Raises
    ------
    FemurError
        The file is unreadable or oblique or coarse, a bone is missing or a few voxels only, or the right
        femur lies to the left of the left one.
    """
    numbers = numbers or LabelNumbers()
    subject = path.name
    volume = orient_to_lps(read_image_file(path, subject=subject))[0]
    grid = volume.grid
    if np.abs(np.abs(grid.direction_matrix) - np.eye(3)).max() > _OBLIQUE_TOLERANCE:
        raise FemurError("an oblique label map", expected="image axes along the patient's", subject=subject,
                         action="resample it to axial slices")
    if max(grid.spacing_mm_ijk) > _LARGEST_SPACING_MM:
        raise FemurError(f"a voxel spacing of {max(grid.spacing_mm_ijk):.2f} mm", subject=subject,
                         expected=f"at most {_LARGEST_SPACING_MM:.0f} mm", action="leave this map out")
    bones = {item.name: _clean(volume.array, grid.origin_mm_lps, grid.spacing_mm_ijk, getattr(numbers, item.name),
                               item.name, subject) for item in fields(numbers)}
    middle = {side: bones[f"{side}_femur"] for side in ("left", "right")}
    if _middle_x(middle["left"], grid.spacing_mm_ijk[0]) < _middle_x(middle["right"], grid.spacing_mm_ijk[0]):
        raise FemurError("the right femur on the patient's left side", expected="sides as the header's direction says",
                         action="correct the label numbers or the map's header", subject=subject)
    spacing = grid.spacing_mm_ijk
    return HipLabelMap(map_name(path), sha256_of_file(path), (spacing[2], spacing[1], spacing[0]),
                       {"left": bones["left_femur"], "right": bones["right_femur"]},
                       {"left": bones["left_hip_bone"], "right": bones["right_hip_bone"]}, bones["sacrum"])


def _clean(array: NDArray[np.generic], origin_mm: tuple[float, float, float], spacing_mm: tuple[float, float, float],
           number: int, bone: str, subject: str) -> Bone:
    chosen = array == number
    missing = FemurError(f"no voxel of {bone.replace('_', ' ')} (label {number})",
                         expected="both femora, both hip bones and the sacrum",
                         action="name the label numbers (as right_femur=1), or leave this map out", subject=subject)
    if not chosen.any():
        raise missing
    box = ndimage.find_objects(chosen.astype(np.uint8))[0]
    parts, count = ndimage.label(chosen[box], structure=np.ones((3, 3, 3)))
    if count > 1:
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        largest = parts == int(sizes.argmax())
        inner = ndimage.find_objects(largest.astype(np.uint8))[0]
        box = tuple(slice(outer.start + part.start, outer.start + part.stop)
                    for outer, part in zip(box, inner, strict=True))
        mask = largest[inner]
    else:
        mask = chosen[box]
    mask = ndimage.binary_fill_holes(mask)
    if mask.sum() * float(np.prod(spacing_mm)) / 1000.0 < _LEAST_VOLUME_ML:
        raise missing
    origin = tuple(float(start + part.start * step)
                   for start, part, step in zip(origin_mm, box[::-1], spacing_mm, strict=True))
    return Bone(mask, (origin[0], origin[1], origin[2]),
                {"bottom": box[0].start == 0, "top": box[0].stop == array.shape[0]})


def _middle_x(bone: Bone, spacing_mm: float) -> float:
    columns = np.flatnonzero(bone.mask.any(axis=(0, 1)))
    return bone.origin_mm_xyz[0] + float(columns.mean()) * spacing_mm
