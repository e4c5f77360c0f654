from __future__ import annotations

import json
import shutil

import pytest
import SimpleITK as sitk
from toy_dataset import write_toy_dataset

from femur_nnunet.cohort import read_scans_table
from femur_nnunet.env_command import nnunet_environment
from femur_nnunet.errors import FemurError, UsageError
from femur_nnunet.loading.preprocessed_data import files_side, is_up_to_date, write_record
from femur_nnunet.planners.femur_planner import largest_fitting_patch
from femur_nnunet.planners.plan import make_plan
from femur_nnunet.planners.plan_command import main
from femur_nnunet.planners.plan_options import PlanOptions
from femur_nnunet.splits import read_splits

DATASET = "Dataset501_Toy"


@pytest.fixture(scope="module")
def preprocessed(planned_toy_root):
    return planned_toy_root / "nnUNet_preprocessed" / DATASET


def test_the_plan_has_3d_fullres_alone(preprocessed):
    plan = json.loads((preprocessed / "FemurPlans_cpu.json").read_text())
    assert list(plan["configurations"]) == ["3d_fullres"]
    configuration = plan["configurations"]["3d_fullres"]
    assert configuration["batch_dice"] is False
    assert configuration["normalization_schemes"] == ["CTNormalization"]
    assert configuration["architecture"]["network_class_name"] == "femur_nnunet.networks.transunet.TransUNet3D"
    assert configuration["femur_nnunet"]["schema"] == 1


def test_the_patch_fits_the_median_shape(preprocessed):
    configuration = json.loads((preprocessed / "FemurPlans_cpu.json").read_text())["configurations"]["3d_fullres"]
    assert all(p <= m for p, m in zip(configuration["patch_size"], configuration["median_image_size_in_voxels"],
                                      strict=True))


def test_the_same_plan_stands_under_nnunets_name(preprocessed):
    own = json.loads((preprocessed / "FemurPlans_cpu.json").read_text())
    stock = json.loads((preprocessed / "nnUNetPlans.json").read_text())
    assert {**own, "plans_name": "nnUNetPlans", "femur_nnunet_copy_of": "FemurPlans_cpu"} == stock


def test_up_to_date_data_stay_and_another_plan_leaves_nnunets_name_alone(planned_toy_root, tmp_path, monkeypatch):
    shutil.copytree(planned_toy_root / "nnUNet_raw", tmp_path / "nnUNet_raw")
    shutil.copytree(planned_toy_root / "nnUNet_preprocessed", tmp_path / "nnUNet_preprocessed")
    for name, value in nnunet_environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "nnUNet_preprocessed" / DATASET
    stock = (folder / "nnUNetPlans.json").read_text()
    marker = next((folder / "FemurPlans_3x3x3mm_3d_fullres").glob("*.b2nd"))
    before = marker.stat().st_mtime_ns
    plan = make_plan(PlanOptions(501, architecture="unet", preset="cpu", jobs=1, quiet=True,
                                 changes=("architecture.normalisation=batch",)))
    architecture = plan["configurations"]["3d_fullres"]["architecture"]
    assert architecture["network_class_name"].endswith("PlainConvUNet")
    assert architecture["arch_kwargs"]["norm_op"] == "torch.nn.modules.batchnorm.BatchNorm3d"
    assert marker.stat().st_mtime_ns == before
    assert (folder / "nnUNetPlans.json").read_text() == stock
    assert json.loads((folder / "run.json").read_text())["preprocessed_data"] == "up to date"


def test_a_mask_that_was_drawn_anew_is_not_up_to_date(tmp_path):
    raw = write_toy_dataset(tmp_path, shape_zyx=(8, 8, 8))
    folder = tmp_path / "data"
    folder.mkdir()
    write_record(folder, {"spacing_mm": [3.0]}, files_side(raw))
    assert is_up_to_date(folder, {"spacing_mm": [3.0]}, files_side(raw))
    assert not is_up_to_date(folder, {"spacing_mm": [1.0]}, files_side(raw))
    mask = sorted((raw / "labelsTr").glob("*.nii.gz"))[0]
    redrawn = sitk.ReadImage(str(mask)) * 0
    sitk.WriteImage(redrawn, str(mask))
    assert not is_up_to_date(folder, {"spacing_mm": [3.0]}, files_side(raw))


def test_labelled_and_unlabelled_scans_lie_apart_and_test_scans_nowhere(preprocessed):
    records = read_scans_table(preprocessed / "scans.tsv")
    configuration = json.loads((preprocessed / "FemurPlans_cpu.json").read_text())["configurations"]["3d_fullres"]
    folder = preprocessed / configuration["data_identifier"]
    unlabelled = folder.with_name(folder.name + "_unlabelled")
    for path, wanted in ((folder, True), (unlabelled, False)):
        expected = {r.case_id for r in records if r.role == "train" and r.labelled is wanted}
        assert {p.stem for p in path.glob("*.b2nd") if not p.stem.endswith("_seg")} == expected


def test_the_fingerprint_is_of_labelled_training_cases_alone(preprocessed):
    fingerprint = json.loads((preprocessed / "dataset_fingerprint.json").read_text())
    assert len(fingerprint["spacings"]) == 8
    # Ellipsoids of -50 + 400 HU at the labelled site; the other site would pull the median to about 330.
    assert fingerprint["foreground_intensity_properties_per_channel"]["0"]["median"] == pytest.approx(350, abs=3)


def test_folds_are_put_in_place_with_their_hash(preprocessed, planned_toy_root):
    placed = read_splits(preprocessed, nnunet_name=True)
    assert placed == read_splits(planned_toy_root / "nnUNet_raw" / DATASET)


@pytest.mark.parametrize(("largest", "expected"), [([60, 60, 60], [56, 56, 56]), ([48, 48, 48], [48, 48, 48]),
                                                   ([33, 64, 50], [32, 64, 48]), ([9, 9, 9], [8, 8, 8])])
def test_the_largest_fitting_patch_never_exceeds_the_image(largest, expected):
    fitting = largest_fitting_patch((1.0, 1.0, 1.0), largest)
    assert fitting == expected


def test_images_too_small_for_any_network_are_refused():
    with pytest.raises(FemurError, match="images of 6x40x40 voxels"):
        largest_fitting_patch((1.0, 1.0, 1.0), [6, 40, 40])


def test_an_unset_folder_is_named_with_the_mend(monkeypatch, capsys):
    monkeypatch.delenv("nnUNet_raw", raising=False)
    assert main(["-d", "501"]) == 2
    assert "nnUNet_raw=None" in capsys.readouterr().err


def test_an_unknown_dataset_is_a_usage_error(monkeypatch, tmp_path):
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, str(tmp_path))
    with pytest.raises(UsageError, match="none for dataset 7"):
        make_plan(PlanOptions(7))


def test_changed_settings_stand_in_a_plan_of_their_own_name_on_the_same_data(planned_toy_root, tmp_path, monkeypatch):
    shutil.copytree(planned_toy_root / "nnUNet_raw", tmp_path / "nnUNet_raw")
    shutil.copytree(planned_toy_root / "nnUNet_preprocessed", tmp_path / "nnUNet_preprocessed")
    for name, value in nnunet_environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    assert main(["-d", "501", "--preset", "cpu", "--name", "plain", "--set", "augmentation.nnunet_intensity=false",
                 "--jobs", "1", "--quiet"]) == 0
    folder = tmp_path / "nnUNet_preprocessed" / DATASET
    changed, before = (json.loads((folder / f"{name}.json").read_text())["configurations"]["3d_fullres"]
                       for name in ("FemurPlans_cpu_plain", "FemurPlans_cpu"))
    assert changed["femur_nnunet"]["augmentation"]["nnunet_intensity"] is False
    assert before["femur_nnunet"]["augmentation"]["nnunet_intensity"] is True
    assert changed["data_identifier"] == before["data_identifier"]


def test_an_unknown_setting_ends_with_exit_code_two(planned_toy_root, monkeypatch, capsys):
    for name, value in nnunet_environment(planned_toy_root).items():
        monkeypatch.setenv(name, value)
    assert main(["-d", "501", "--preset", "cpu", "--set", "adaptation.weight=1", "--quiet"]) == 2
    assert "adaptation.mmd_weight" in capsys.readouterr().err
