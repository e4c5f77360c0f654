"""The fingerprint: spacings, shapes and intensities of labelled training cases, and of nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor

from femur_nnunet.cohort import SCANS_TABLE_NAME, read_scans_table
from femur_nnunet.errors import FemurError


class FemurFingerprintExtractor(DatasetFingerprintExtractor):
    """nnU-Net's extractor on the labelled cases of role ``train``.

    The cases are filtered here, in the constructor: nnU-Net calls its static methods by class name, so
    overriding them would be ignored without a word.

    Raises
    ------
    FemurError
        There is no such case.
    """

    def __init__(self, dataset_name_or_id: Any, num_processes: int = 8, verbose: bool = False) -> None:
        super().__init__(dataset_name_or_id, num_processes, verbose)
        records = read_scans_table(Path(self.input_folder) / SCANS_TABLE_NAME)
        wanted = {record.case_id for record in records if record.labelled and record.role == "train"}
        listed: dict[str, Any] = self.dataset
        self.dataset: dict[str, Any] = {case: files for case, files in listed.items() if case in wanted}
        if not self.dataset:
            raise FemurError("no labelled training case", expected="labelled scans with the role train",
                             action="convert scans with masks", subject=self.dataset_name)
