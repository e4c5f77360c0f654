"""The whole way, as a user goes it. FEMUR_DEMO_DIR names a demo run to go on with in place of a new one."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import SimpleITK as sitk
from real_data import real_data

from femur_nnunet.cohort import read_scans_table
from femur_nnunet.env_command import nnunet_environment

pytestmark = pytest.mark.long
DATASET = "Dataset501_ProximalFemur"


def run(*command: str, root: Path | None = None) -> subprocess.CompletedProcess:
    program = Path(sys.executable).parent / command[0]
    environment = {**os.environ, **(nnunet_environment(root) if root else {})}
    return subprocess.run([program, *command[1:]], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory):
    folder = Path(os.environ.get("FEMUR_DEMO_DIR") or tmp_path_factory.mktemp("demo"))
    result = run("femur_demo", "--out", str(folder))
    assert result.returncode == 0, result.stderr[-3000:]
    return folder


def test_unseen_tulane_hips_are_segmented_above_090(demo_folder):
    with (demo_folder / "evaluation" / "sites.csv").open() as handle:
        (row,) = [r for r in csv.DictReader(handle) if (r["site"], r["sex"], r["metric"]) == ("tulane", "all", "dice")]
    with (demo_folder / "evaluation" / "cases.csv").open() as handle:
        cases = [r for r in csv.DictReader(handle) if r["site"] == "tulane"]
    assert len(cases) >= 8
    assert len({r["participant_id"] for r in cases}) >= 4
    assert row["n_missed"] == "0"
    assert float(row["mean"]) > 0.90


def test_no_evaluated_scan_was_seen_in_training(demo_folder):
    records = {r.case_id: r for r in read_scans_table(demo_folder / "nnUNet_raw" / DATASET / "scans.tsv")}
    with (demo_folder / "evaluation" / "cases.csv").open() as handle:
        evaluated = {r["case_id"] for r in csv.DictReader(handle)}
    trained = {r.participant_id for r in records.values() if r.role == "train"}
    assert {records[case].role for case in evaluated} == {"test"}
    assert not {records[case].participant_id for case in evaluated} & trained


def test_a_real_scan_goes_through_converter_and_model(demo_folder, tmp_path):
    scan = real_data("ct", "pelvis_3mm_left_nail.nii.gz")
    table = tmp_path / "manifest.csv"
    table.write_text(f"site,participant_id,image,side\npublic,P1,{scan},both\n")
    sites = demo_folder / "sites"
    converted = run("convert_qct_sites", "--tulane", str(sites / "tulane"), "--rochester", str(sites / "rochester"),
                    "--unlabelled-site", "rochester", "--manifest", str(table), "--out", str(tmp_path / "nnUNet_raw"),
                    "--key-seed", "1")
    assert converted.returncode == 0, converted.stderr
    dataset = tmp_path / "nnUNet_raw" / DATASET
    hips = [r for r in read_scans_table(dataset / "scans.tsv") if r.site == "public"]
    assert sorted((r.side, r.labelled) for r in hips) == [("left", False), ("right", False)]
    check = ("import sys; from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity\n"
             "if __name__ == '__main__': verify_dataset_integrity(sys.argv[1], 1)")
    (tmp_path / "verify.py").write_text(check)
    assert subprocess.run([sys.executable, str(tmp_path / "verify.py"), str(dataset)], check=False).returncode == 0

    images = tmp_path / "images"
    images.mkdir()
    for record in hips:
        shutil.copy(dataset / "imagesUn" / f"{record.case_id}_0000.nii.gz", images)
    predicted = run("nnUNetv2_predict", "-i", str(images), "-o", str(tmp_path / "out"), "-d", "501", "-c",
                    "3d_fullres", "-f", "0", "-tr", "TransUNetDATrainer", "-device", "cpu", "-npp", "0", "-nps", "0",
                    root=demo_folder)
    assert predicted.returncode == 0, predicted.stderr[-3000:]
    for record in hips:
        image = sitk.ReadImage(str(images / f"{record.case_id}_0000.nii.gz"))
        mask = sitk.ReadImage(str(tmp_path / "out" / f"{record.case_id}.nii.gz"))
        assert mask.GetSize() == image.GetSize()
        assert mask.GetSpacing() == pytest.approx(image.GetSpacing())
        assert set(map(int, set(sitk.GetArrayFromImage(mask).ravel()))) <= {0, 1}
