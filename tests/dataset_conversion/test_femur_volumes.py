from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from femur_nnunet.cohort import ScanRecord
from femur_nnunet.dataset_conversion import femur_volumes
from femur_nnunet.dataset_conversion.femur_volumes import VOLUMES_NAME, femur_volumes_ml
from femur_nnunet.errors import FemurError


def record(person: int, side: str = "left", role: str = "train") -> ScanRecord:
    return ScanRecord(f"tulane_{person:08x}_v01_{side[0]}", f"sub-{person:08x}", "tulane", 1, side,  # type: ignore[arg-type]
                      False, True, role)  # type: ignore[arg-type]


def write_mask(dataset: Path, case: ScanRecord, values: np.ndarray) -> None:
    folder = dataset / ("labelsTr" if case.role == "train" else "labelsTs")
    folder.mkdir(exist_ok=True)
    image = sitk.GetImageFromArray(values.astype(np.uint8))
    image.SetSpacing((0.5, 0.5, 4.0))
    sitk.WriteImage(image, str(folder / f"{case.case_id}.nii.gz"))


def box(n_voxels: int, label: int = 1) -> np.ndarray:
    values = np.zeros((4, 20, 20))
    values.ravel()[:n_voxels] = label
    return values


def test_volumes_are_voxels_times_their_size_and_of_two_femora_the_mean(tmp_path):
    one, whole, test, none = record(1), record(2, "both"), record(3, role="test"), record(4)
    write_mask(tmp_path, one, box(300))
    write_mask(tmp_path, whole, box(600) + np.flip(box(200, 2)))
    write_mask(tmp_path, test, box(100))
    # A voxel is .5 * .5 * 4 = 1 mm3.
    assert femur_volumes_ml(tmp_path, [one, whole, test, none], quiet=True) == pytest.approx(
        {one.case_id: 0.3, whole.case_id: 0.4, test.case_id: 0.1})


def test_a_mask_is_read_once_and_again_when_it_changed(tmp_path, monkeypatch):
    cases = [record(1), record(2)]
    for case in cases:
        write_mask(tmp_path, case, box(300))
    first = femur_volumes_ml(tmp_path, cases, quiet=True)
    read = []
    original = femur_volumes._mean_volume_ml
    monkeypatch.setattr(femur_volumes, "_mean_volume_ml", lambda path, case: read.append(case) or original(path, case))
    assert femur_volumes_ml(tmp_path, cases, quiet=True) == first
    assert read == []
    write_mask(tmp_path, cases[1], box(400))
    assert femur_volumes_ml(tmp_path, cases, quiet=True)[cases[1].case_id] == pytest.approx(0.4)
    assert read == [cases[1].case_id]


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"schema": 1, "cases": {"a": {"sha256": 1}}}),
                                     json.dumps({"schema": 9, "cases": {}})])
def test_a_broken_memory_is_made_anew(tmp_path, content):
    write_mask(tmp_path, record(1), box(300))
    (tmp_path / VOLUMES_NAME).write_text(content)
    assert femur_volumes_ml(tmp_path, [record(1)], quiet=True) == pytest.approx({record(1).case_id: 0.3})


def test_a_mask_that_cannot_be_read_is_named_by_its_case(tmp_path):
    (tmp_path / "labelsTr").mkdir()
    (tmp_path / "labelsTr" / f"{record(1).case_id}.nii.gz").write_bytes(b"no mask")
    with pytest.raises(FemurError, match="mask of tulane_00000001_v01_l"):
        femur_volumes_ml(tmp_path, [record(1)], quiet=True)


def test_without_masks_nothing_is_written(tmp_path):
    assert femur_volumes_ml(tmp_path, [record(1)], quiet=True) == {}
    assert not (tmp_path / VOLUMES_NAME).exists()
