"""Uneven and tilted series through the whole conversion: refused, or mended and said so."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_factory import write_ct_series
from pydicom.dataset import Dataset
from qct_sites import FEMUR_HU, ORIGIN_MM, SPACING_MM_XYZ, SiteFolder, hip_scan

from femur_nnunet.cohort import read_scans_table
from femur_nnunet.dataset_conversion.convert_command import main


def irregular_site(root: Path) -> Path:
    """One scan without its fifth slice and tilted by a row a slice, packed, with a mask drawn slice by slice."""
    site = SiteFolder(root / "site", "oslo")
    row = site.add("P1", role="train", seed=9)
    site.add("P2", role="train", seed=8)
    hounsfield, labels = hip_scan(9)
    kept = [index for index in range(10) if index != 4]

    def place(dataset: Dataset, number: int) -> None:
        dataset.ImagePositionPatient = [ORIGIN_MM[0], ORIGIN_MM[1] + kept[number] * SPACING_MM_XYZ[1],
                                        ORIGIN_MM[2] + kept[number] * SPACING_MM_XYZ[2]]

    paths = write_ct_series(root / "series", (hounsfield[kept] + 1024).astype(np.uint16), spacing_mm_ijk=SPACING_MM_XYZ,
                            origin_mm=ORIGIN_MM, change=place)
    with zipfile.ZipFile(site.folder / "images" / "series.zip", "w") as archive:
        for path in paths:
            archive.write(path, path.name)
    row["image"] = "images/series.zip"
    mask = sitk.GetImageFromArray(labels[kept])
    mask.SetSpacing(SPACING_MM_XYZ)
    mask.SetOrigin(ORIGIN_MM)
    sitk.WriteImage(mask, str(site.folder / row["mask"]))
    return site.save()


@pytest.mark.parametrize("options", [[], ["--resample-irregular"], ["--correct-tilt"]])
def test_without_both_options_the_series_is_refused_and_they_are_named(tmp_path: Path, options: list[str],
                                                                       capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--manifest", str(irregular_site(tmp_path)), "--out", str(tmp_path / "raw"), "--key-seed", "1",
                 "--jobs", "1", *options])

    assert code == 1
    told = capsys.readouterr().err
    assert "10.00 mm after slice 4, 1 slice(s) missing" in told
    assert "or give --resample-irregular and --correct-tilt" in told


def test_with_both_options_image_and_mask_are_mended_and_the_tables_say_so(tmp_path: Path) -> None:
    code = main(["--manifest", str(irregular_site(tmp_path)), "--out", str(tmp_path / "raw"), "--key-seed", "1",
                 "--jobs", "1", "--quiet", "--resample-irregular", "--correct-tilt"])

    assert code == 0
    dataset = tmp_path / "raw" / "Dataset501_ProximalFemur"
    records = read_scans_table(dataset / "scans.tsv")
    mended = [record for record in records if record.resampled]
    assert len(mended) == 2
    assert len(records) == 4
    # One row of 3 mm for a slice of 5 mm.
    assert mended[0].gantry_tilt_deg == pytest.approx(np.degrees(np.arctan(3 / 5)), abs=0.01)
    assert mended[0].slice_spacing_mm == pytest.approx(5.0)
    report = (dataset / "conversion_report.csv").read_text(encoding="utf-8")
    assert report.count("resampled to 5.000 mm") == report.count("tilt corrected") == 2
    for record in mended:
        image = sitk.GetArrayFromImage(sitk.ReadImage(str(dataset / "imagesTr" / f"{record.case_id}_0000.nii.gz")))
        label = sitk.GetArrayFromImage(sitk.ReadImage(str(dataset / "labelsTr" / f"{record.case_id}.nii.gz")))
        assert image.shape == label.shape == (10, 44 + 9, image.shape[2])
        # Slice 4 is the mean of its neighbours, each slid to its own place; the femur stays in the mask elsewhere.
        for k in (0, 1, 2, 3, 5, 6, 7, 8, 9):
            assert (image[k][label[k] == 1] > FEMUR_HU - 20).all()
            assert (image[k][label[k] == 0] < FEMUR_HU - 20).all() or k == 0
        assert label[4].sum() == label[3].sum()
