"""Labelled and unlabelled preprocessed cases behind one nnU-Net dataset."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from numpy.typing import NDArray

from femur_nnunet.errors import FemurError

_CASES_ASKED = 50
_POSITIONS_A_CASE = 100


class TwoFolderDataset(nnUNetDatasetBlosc2):
    """Cases of the labelled folder, and of the unlabelled folder beside it.

    An unlabelled case comes with substitute femur positions, so that nnU-Net's foreground sampling
    works on it: positions of the femur in labelled cases, relative to the image's extent. Every case
    is one hip in one orientation, so the femur lies at similar relative places.

    Parameters
    ----------
    labelled_folder, unlabelled_folder : str
        Folders of preprocessed cases.
    labelled, unlabelled : sequence of str
        Case ids in each.

    Raises
    ------
    FemurError
        An unlabelled case is not preprocessed, or no labelled case shows a femur.
    """

    def __init__(self, labelled_folder: str, labelled: Sequence[str], unlabelled_folder: str,
                 unlabelled: Sequence[str]) -> None:
        super().__init__(labelled_folder, list(labelled) + list(unlabelled))
        self.labelled = frozenset(labelled)
        absent = [case for case in unlabelled if not Path(unlabelled_folder, f"{case}.b2nd").is_file()]
        if absent:
            raise FemurError(f"{len(absent)} unlabelled case(s) that are not preprocessed, the first {absent[0]}",
                             expected="every unlabelled training case of scans.tsv in the folder",
                             action="train on a plan that femur_plan made, after running it again",
                             subject=Path(unlabelled_folder).name)
        self._unlabelled_source = nnUNetDatasetBlosc2(unlabelled_folder, list(unlabelled))
        self._relative_positions = self._collect_relative_positions(sorted(labelled)) if unlabelled else {}
        self._substitutes_everywhere = False

    def with_substitutes_everywhere(self) -> TwoFolderDataset:
        """Return the same cases, labelled ones with substitute positions too, those of the other labelled cases.

        So labelled patches can be had that are centred as unlabelled ones are; patches that are centred
        on a case's own femur hold more of it.
        """
        changed = copy.copy(self)
        changed._substitutes_everywhere = True
        return changed

    def load_case(self, identifier: str) -> tuple[Any, Any, Any, dict[str, Any]]:
        """Return image, label map, nothing and properties, as nnU-Net's data loader expects them."""
        is_labelled = identifier in self.labelled
        load = super().load_case if is_labelled else self._unlabelled_source.load_case
        image, label_map, previous, properties = load(identifier)
        if is_labelled and not self._substitutes_everywhere:
            return image, label_map, previous, properties
        others = [positions for case, positions in self._relative_positions.items() if case != identifier]
        # Where only one labelled case shows a femur, its own positions are all there is.
        relative = np.concatenate(others or list(self._relative_positions.values()))
        shape = np.asarray(image.shape[1:])
        voxels = np.minimum((relative * shape).astype(int), shape - 1)
        channel = np.zeros((len(voxels), 1), dtype=int)
        properties["class_locations"] = {1: np.concatenate([channel, voxels], axis=1)}
        return image, label_map, previous, properties

    def _collect_relative_positions(self, labelled: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        # A fixed generator: the positions are part of the dataset, not of the training's randomness.
        generator = np.random.default_rng(0)
        asked = generator.permutation(len(labelled))[:_CASES_ASKED]
        parts = {}
        for number in asked:
            image, _, _, properties = super().load_case(labelled[number])
            found = [np.asarray(voxels) for voxels in properties["class_locations"].values() if len(voxels)]
            if found:
                # All labels together: in a whole scan left and right femur are two.
                locations = np.concatenate(found)
                chosen = generator.choice(len(locations), size=min(_POSITIONS_A_CASE, len(locations)), replace=False)
                parts[labelled[number]] = (locations[chosen, 1:] + 0.5) / np.asarray(image.shape[1:])
        if not parts:
            raise FemurError("no femur in any labelled training case", expected="labels with voxels of value 1",
                             action="check the masks, convert and plan again")
        return parts
