"""Where the masks and scans behind the tables lie, and reading them again for pictures of a report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.errors import FemurError
from femur_nnunet.evaluation.case_table import CaseRow
from femur_nnunet.evaluation.common_grid import on_common_grid
from femur_nnunet.evaluation.mask_reading import (
    GEOMETRY_TOLERANCE_MM,
    LabelMap,
    MaskError,
    find_masks,
    hash_of_mask,
    read_label_map,
)
from femur_nnunet.files import read_json
from femur_nnunet.provenance import RUN_RECORD_NAME
from femur_nnunet.volume_io.image_files import IMAGE_SUFFIXES, read_raw_image
from femur_nnunet.volume_io.orientation import best_axis_mapping


class NoPictureError(Exception):
    """Why a case has no picture, in a few words for the page."""


@dataclass(frozen=True)
class PictureSources:
    """Folders of masks and scans.

    Attributes
    ----------
    references : Path or None
        Folder of references.
    predictions : mapping of str to Path
        Folder of predictions by arm.
    images : Path or None
        Folder of scans, ``<case_id>_0000.nii.gz`` or ``<case_id>.nii.gz``.
    """

    references: Path | None = None
    predictions: Mapping[str, Path] = field(default_factory=dict)
    images: Path | None = None

    def present(self) -> PictureSources:
        """Return these folders without those that are not there."""
        return PictureSources(_folder(self.references), {arm: path for arm, path in self.predictions.items()
                                                         if path.is_dir()}, _folder(self.images))

    def or_else(self, other: PictureSources) -> PictureSources:
        """Return these folders, and those of another where this names none."""
        return PictureSources(self.references or other.references, {**other.predictions, **self.predictions},
                              self.images or other.images)


@dataclass(frozen=True)
class CaseMasks:
    """Reference and prediction of one row on one grid, as of a left femur.

    Attributes
    ----------
    reference : ndarray of bool
        Shape (z, y, x), z to Superior, y to Posterior, x to lateral.
    prediction : ndarray of bool or None
        Of the same shape; None where there is no usable one.
    spacing_mm_zyx : tuple of float
        Distance of voxel centres.
    image : ndarray or None
        The scan on that grid, of the same shape.
    """

    reference: NDArray[np.bool_]
    prediction: NDArray[np.bool_] | None
    spacing_mm_zyx: tuple[float, float, float]
    image: NDArray[np.floating] | None = None


def sources_of_run(folder: Path, run: Mapping[str, Any]) -> PictureSources:
    """Return the folders that run.json names; those of a comparison are found in the arms' own results."""
    arguments = run.get("arguments", {})
    arms = arguments.get("arms")
    if arms is None:
        found = {str(arguments.get("arm")): _path(arguments.get("predictions"))}
        return PictureSources(_path(arguments.get("references")),
                              {arm: path for arm, path in found.items() if path is not None},
                              _path(arguments.get("images")))
    together = PictureSources(_path(arguments.get("references")), {}, _path(arguments.get("images")))
    for arm, place in arms.items():
        own = Path(place) / RUN_RECORD_NAME
        if not own.is_file():
            together = together.or_else(PictureSources(predictions={arm: Path(place)}))
            continue
        try:
            of_arm = sources_of_run(Path(place), read_json(own, what="run.json", action=""))
        except (FemurError, AttributeError):
            continue
        predictions = next(iter(of_arm.predictions.values()), None)
        together = together.or_else(PictureSources(of_arm.references, {arm: predictions} if predictions else {},
                                                   of_arm.images))
    return together


class MaskLibrary:
    """The masks of a report's cases by case and arm."""

    def __init__(self, sources: PictureSources) -> None:
        self._references = find_masks(sources.references) if sources.references else {}
        self._predictions = {arm: find_masks(folder) for arm, folder in sources.predictions.items()}
        self._images = sources.images

    def read(self, row: CaseRow, *, with_image: bool = False) -> CaseMasks:
        """Read the masks of a row, the very files that it was measured on.

        Raises
        ------
        NoPictureError
            A file is not there, or is not the one that was evaluated.
        """
        labels = (1, 2) if row.label == 2 or row.case_id.endswith("_b") else (1,)
        try:
            reference = self._label_map(self._references.get(row.case_id, []), row.reference_sha256, labels)
        except MaskError as error:
            raise NoPictureError(f"reference {error.detail}") from None
        prediction = None
        try:
            files = self._predictions.get(row.arm, {}).get(row.case_id, [])
            prediction = self._label_map(files, row.prediction_sha256, labels)
            reference, prediction = on_common_grid(reference, prediction)
        except (MaskError, NoPictureError) as error:
            # Of a missed femur the row says what is wrong; a mask that was measured must be there.
            if not row.rule.counts_as_missed:
                raise NoPictureError(str(error)) from None
            prediction = None
        image = self._image(row.case_id, reference) if with_image else None
        # Only label 2, the right femur of a bilateral scan, is not stored as a left one.
        turned = slice(None, None, -1 if row.label == 2 else 1)
        label = row.label or 1
        found = None if prediction is None else prediction.mask_of(label)[:, :, turned]
        return CaseMasks(reference.mask_of(label)[:, :, turned], found if found is not None and found.any() else None,
                         reference.spacing_mm_zyx, None if image is None else image[:, :, turned])

    def _label_map(self, files: list[Path], digest: str | None, labels: Iterable[int]) -> LabelMap:
        if not files or digest is None:
            raise NoPictureError("a mask is not there")
        if len(files) > 1 or hash_of_mask(files[0]) != digest:
            raise NoPictureError("a mask is not the file that was evaluated")
        return read_label_map(files[0], labels)

    def _image(self, case_id: str, reference: LabelMap) -> NDArray[np.floating] | None:
        """Return the scan on the reference's grid; None where there is none, or one of other geometry."""
        if self._images is None:
            return None
        for stem in (f"{case_id}_0000", case_id):
            for suffix in IMAGE_SUFFIXES:
                path = self._images / f"{stem}{suffix}"
                if path.is_file():
                    return _read_image(path, reference)
        return None


def _read_image(path: Path, reference: LabelMap) -> NDArray[np.floating] | None:
    try:
        array, grid, _ = read_raw_image(path)
    except (FemurError, OSError):
        return None
    mapping = best_axis_mapping(grid.direction_matrix)
    turned = mapping.apply_to_grid(grid)
    if turned.size_ijk != reference.grid.size_ijk:
        return None
    apart_mm = np.linalg.norm(turned.corners_mm_lps() - reference.grid.corners_mm_lps(), axis=1).max()
    return np.asarray(mapping.apply(array), dtype=np.float32) if apart_mm <= GEOMETRY_TOLERANCE_MM else None


def _path(text: Any) -> Path | None:
    return Path(text) if isinstance(text, str) and text else None


def _folder(path: Path | None) -> Path | None:
    return path if path is not None and path.is_dir() else None
