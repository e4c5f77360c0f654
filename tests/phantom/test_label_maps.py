from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from femur_nnunet.errors import FemurError, UsageError
from femur_nnunet.phantom.label_maps import LabelNumbers, list_label_maps, read_label_map
from femur_nnunet.volume_io.volume import Grid
from femur_nnunet.volume_io.writing import write_nifti


def five_boxes() -> np.ndarray:
    """Boxes of 28 x 28 x 28 voxels of 1 mm: right femur at low x, left femur at high x, the others between."""
    labels = np.zeros((70, 40, 170), dtype=np.uint8)
    for number, (z, x) in {1: (2, 2), 2: (2, 138), 3: (38, 32), 4: (38, 108), 5: (38, 68)}.items():
        labels[z:z + 28, 4:32, x:x + 28] = number
    return labels


def write(path: Path, labels: np.ndarray, **changes: tuple[float, ...]) -> Path:
    grid = Grid(labels.shape[::-1], changes.get("spacing", (1.0, 1.0, 1.0)), (0.0, 0.0, 0.0),
                changes.get("direction", (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)))
    write_nifti(path, labels, grid)
    return path


def test_islands_go_and_holes_are_filled(tmp_path: Path) -> None:
    labels = five_boxes()
    labels[10:12, 10:12, 10:12] = 0
    labels[60:63, 2:5, 2:5] = 1
    femur = read_label_map(write(tmp_path / "a.nii.gz", labels)).femora["right"]
    assert femur.mask.shape == (28, 28, 28)
    assert femur.mask.all()
    assert femur.origin_mm_xyz == (2.0, 4.0, 2.0)


def test_a_bone_cut_by_the_image_is_known(tmp_path: Path) -> None:
    hips = read_label_map(write(tmp_path / "a.nii.gz", five_boxes()[2:]))
    assert hips.femora["left"].touches == {"bottom": True, "top": False}
    assert hips.hip_bones["left"].touches == {"bottom": False, "top": False}


def test_a_map_stored_right_to_left_reads_the_same(tmp_path: Path) -> None:
    labels = five_boxes()
    plain = read_label_map(write(tmp_path / "a.nii.gz", labels))
    image = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    sitk.WriteImage(sitk.DICOMOrient(image, "RAS"), str(tmp_path / "b.nii.gz"))
    turned = read_label_map(tmp_path / "b.nii.gz")
    assert turned.femora["left"].origin_mm_xyz == pytest.approx(plain.femora["left"].origin_mm_xyz)
    assert (turned.femora["left"].mask == plain.femora["left"].mask).all()


def test_a_missing_bone_is_named(tmp_path: Path) -> None:
    labels = five_boxes()
    labels[labels == 5] = 0
    with pytest.raises(FemurError, match=r"no voxel of sacrum \(label 5\)") as caught:
        read_label_map(write(tmp_path / "a.nii.gz", labels))
    # Two commands read maps and call the option differently, so the message names none.
    assert "--" not in str(caught.value)


def test_swapped_sides_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii.gz", five_boxes())
    with pytest.raises(FemurError, match="right femur on the patient's left") as caught:
        read_label_map(path, LabelNumbers.parse("right_femur=2,left_femur=1"))
    assert "--" not in str(caught.value)


def test_oblique_and_coarse_maps_are_refused(tmp_path: Path) -> None:
    c, s = np.cos(0.2), np.sin(0.2)
    with pytest.raises(FemurError, match="oblique"):
        read_label_map(write(tmp_path / "a.nii.gz", five_boxes(), direction=(1.0, 0, 0, 0, c, -s, 0, s, c)))
    with pytest.raises(FemurError, match=r"5\.00 mm"):
        read_label_map(write(tmp_path / "b.nii.gz", five_boxes(), spacing=(1.0, 1.0, 5.0)))


def test_other_label_numbers_can_be_named(tmp_path: Path) -> None:
    labels = np.where(five_boxes() > 0, five_boxes() + 10, 0).astype(np.uint8)
    text = "right_femur=11,left_femur=12,right_hip_bone=13,left_hip_bone=14,sacrum=15"
    assert read_label_map(write(tmp_path / "a.nii.gz", labels), LabelNumbers.parse(text)).sacrum.mask.all()


@pytest.mark.parametrize("text", ["femur=1", "right_femur=x", "right_femur=\u00b2", "right_femur=0", "right_femur=2"])
def test_label_numbers_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        LabelNumbers.parse(text)


def test_an_empty_or_missing_folder_and_an_unknown_subject_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder"):
        list_label_maps(tmp_path / "absent")
    with pytest.raises(UsageError, match="no label map"):
        list_label_maps(tmp_path)
    write(tmp_path / "a.nii.gz", five_boxes())
    (tmp_path / "notes.txt").write_text("nothing", encoding="utf-8")
    assert [path.name for path in list_label_maps(tmp_path)] == ["a.nii.gz"]
    with pytest.raises(UsageError, match="no label map named b"):
        list_label_maps(tmp_path, ["a", "b"])
