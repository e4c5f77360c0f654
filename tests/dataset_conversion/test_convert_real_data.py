from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from real_data import real_data

from femur_nnunet.dataset_conversion.conversion_options import ConversionOptions
from femur_nnunet.dataset_conversion.convert import convert
from femur_nnunet.files import read_json
from femur_nnunet.volume_io import GeometryRecord


def write_manifest(folder: Path, *images: Path) -> Path:
    rows = [f"real,P{number},{image}" for number, image in enumerate(images)]
    path = folder / "manifest.csv"
    path.write_text("\n".join(["site,participant_id,image", *rows]) + "\n", encoding="utf-8")
    return path


def test_the_real_pelvis_goes_through_as_two_unlabelled_hips(tmp_path: Path) -> None:
    source = real_data("ct", "pelvis_3mm_left_nail.nii.gz")
    summary = convert(ConversionOptions(tmp_path / "raw", manifest=write_manifest(tmp_path, source), key_seed=1,
                                        jobs=1, quiet=True))
    assert summary.exit_code == 0
    assert [(r.side, r.labelled, r.role) for r in summary.records] == [("left", False, "train"),
                                                                      ("right", False, "train")]
    restored = None
    metal = []
    for record in summary.records:
        image = sitk.ReadImage(str(summary.dataset_folder / "imagesUn" / f"{record.case_id}_0000.nii.gz"))
        assert image.GetSpacing() == pytest.approx((3, 3, 3))
        geometry = GeometryRecord.from_json(read_json(
            summary.dataset_folder / "geometry" / f"{record.case_id}.json", what="", action=""))
        array = sitk.GetArrayFromImage(image)
        metal.append(int((array > 2200).sum()))
        part = geometry.backward(array.astype(np.int32))
        restored = part if restored is None else restored + part
    np.testing.assert_array_equal(restored, sitk.GetArrayFromImage(sitk.ReadImage(str(source))))
    assert metal[0] > 10 * max(metal[1], 1)  # the nail is in the left femur


@pytest.mark.parametrize(("series", "reason"), [
    ("irregular/notavolume/001", "position"),
    ("irregular/sliceincrement/001", "spacing"),
    ("irregular/slicecount/001", "MR"),
    ("irregular/sliceorientation/001", "MR"),
    ("irregular/gantrytilting/001", "tilt"),
    ("head_gantry_tilt_uneven_spacing", "tilt"),
])
def test_irregular_real_series_are_refused_with_the_reason(series: str, reason: str, tmp_path: Path) -> None:
    source = real_data("dicom", series)
    summary = convert(ConversionOptions(tmp_path / "raw", manifest=write_manifest(tmp_path, source), key_seed=1,
                                        jobs=1, quiet=True))
    assert summary.exit_code == 1
    (line,) = summary.errors
    assert line.startswith("manifest row 2 (real_")
    assert reason in line
    assert not summary.records


def test_a_mask_on_the_real_pelvis_goes_through_the_whole_conversion_and_back_without_a_changed_bit(
        tmp_path: Path) -> None:
    source = real_data("ct", "pelvis_3mm_left_nail.nii.gz")
    pelvis = sitk.ReadImage(str(source))
    array = sitk.GetArrayFromImage(pelvis)
    # Bone of the lowest 30 slices beside the midline; the file's first axis runs from the patient's right (RAS).
    assert pelvis.GetDirection() == (-1, 0, 0, 0, -1, 0, 0, 0, 1)
    drawn = np.zeros(array.shape, np.uint8)
    n_x = array.shape[2]
    drawn[:30, :, : n_x // 2 - 12] = array[:30, :, : n_x // 2 - 12] > 250
    drawn[:30, :, n_x // 2 + 12:] = 2 * (array[:30, :, n_x // 2 + 12:] > 250)
    left, right = (1, 2) if pelvis.TransformIndexToPhysicalPoint((0, 0, 0))[0] > 0 else (2, 1)
    mask = sitk.GetImageFromArray(drawn)
    mask.CopyInformation(pelvis)
    sitk.WriteImage(mask, str(tmp_path / "mask.nrrd"))
    manifest = tmp_path / "m.csv"
    manifest.write_text(f"site,participant_id,image,mask,role\nreal,P1,{source},mask.nrrd,train\n", encoding="utf-8")

    summary = convert(ConversionOptions(tmp_path / "raw", manifest=manifest, key_seed=1, jobs=1, quiet=True,
                                        mask_labels=tuple(sorted(((left, "left"), (right, "right"))))))

    assert summary.errors == []
    restored = np.zeros_like(drawn)
    for record in summary.records:
        geometry = GeometryRecord.from_json(read_json(
            summary.dataset_folder / "geometry" / f"{record.case_id}.json", what="", action=""))
        label = sitk.GetArrayFromImage(sitk.ReadImage(
            str(summary.dataset_folder / "labelsTr" / f"{record.case_id}.nii.gz")))
        restored += geometry.backward(label) * np.uint8(left if record.side == "left" else right)
    np.testing.assert_array_equal(restored, drawn)
