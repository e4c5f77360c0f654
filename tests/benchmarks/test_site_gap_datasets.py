from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from site_gap_arms import ARMS, CPU, Run
from site_gap_datasets import make_training_dataset, match_histograms, require_own_cohorts

from femur_nnunet import trainers
from femur_nnunet.errors import FemurError, UsageError
from femur_nnunet.plan_changes import with_changes
from femur_nnunet.plan_settings import FemurPlanSettings


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array.astype(np.int16))
    image.SetSpacing((0.8, 0.8, 3.0))
    sitk.WriteImage(image, str(path))


def read(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def hip(generator: np.random.Generator, *, scale: float = 1.0, offset: float = 0.0) -> np.ndarray:
    """Air around a body of soft tissue with a bone in it."""
    array = np.full((8, 24, 24), -1000.0)
    array[:, 4:20, 4:20] = generator.normal(40, 12, (8, 16, 16))
    array[:, 9:15, 9:15] = generator.normal(400, 60, (8, 6, 6))
    array[array > -500] = array[array > -500] * scale + offset
    return array.round()


@pytest.fixture
def dataset(tmp_path):
    generator, folder = np.random.default_rng(5), tmp_path / "Dataset512_ProximalFemur"
    for number in range(3):
        write(folder / "imagesTr" / f"tulane_{number}_0000.nii.gz", hip(generator))
        write(folder / "labelsTr" / f"tulane_{number}.nii.gz", np.ones((8, 24, 24)))
        write(folder / "imagesUn" / f"rochester_{number}_0000.nii.gz", hip(generator, scale=0.8, offset=-15))
    (folder / "dataset.json").write_text("{}")
    return folder


def test_matched_images_have_the_target_sites_median_of_tissue_and_bone(dataset, tmp_path):
    target = tmp_path / "Dataset532_ProximalFemur"
    match_histograms(dataset, target, seed=1)
    for path in sorted((target / "imagesTr").iterdir()):
        image = read(path)
        # 40 and 400 HU, times 0.8, less 15.
        assert np.median(image[:, 4:8, 4:20]) == pytest.approx(17, abs=4)
        assert np.median(image[:, 9:15, 9:15]) == pytest.approx(305, abs=12)
        before = sitk.ReadImage(str(dataset / "imagesTr" / path.name))
        assert sitk.ReadImage(str(path)).GetSpacing() == before.GetSpacing()
        assert np.median(read(dataset / "imagesTr" / path.name)[:, 9:15, 9:15]) == pytest.approx(400, abs=8)


def test_everything_but_the_training_images_is_the_same_file(dataset, tmp_path):
    target = tmp_path / "Dataset532_ProximalFemur"
    match_histograms(dataset, target, seed=1)
    files = {path.relative_to(target) for path in target.rglob("*") if path.is_file()}
    assert files == {path.relative_to(dataset) for path in dataset.rglob("*") if path.is_file()}
    same = {path for path in files if (target / path).samefile(dataset / path)}
    assert files - same == {path for path in files if path.parts[0] == "imagesTr"}
    assert not list(tmp_path.glob(".staging*"))


def test_the_seed_decides_which_image_is_matched_to_which(dataset, tmp_path):
    made = []
    for name, seed in (("a", 1), ("b", 1), ("c", 4)):
        match_histograms(dataset, tmp_path / name, seed)
        made.append(np.stack([read(path) for path in sorted((tmp_path / name / "imagesTr").iterdir())]))
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


@pytest.mark.parametrize("name", ARMS)
def test_every_arm_names_a_trainer_and_settings_that_exist(name):
    arm = ARMS[name]
    assert arm.trainer in trainers.__all__
    with_changes(FemurPlanSettings(), Run(name, "moderate", 1, CPU, Path()).changes)


def test_an_arm_with_renderings_asks_for_label_maps(tmp_path):
    with pytest.raises(UsageError, match="give --rendered-maps DIR"):
        make_training_dataset(Run("renderings_only", "moderate", 101, CPU, tmp_path))


def test_a_work_folder_of_other_tiers_or_another_kit_is_refused(tmp_path):
    root = tmp_path / "seed101"
    require_own_cohorts(root)
    require_own_cohorts(root)
    record = root / "cohorts_made_with.txt"
    own = record.read_text()
    for other in (own.replace("kit ", "kit 9"), own[:-9] + "01234567\n"):
        record.write_text(other)
        with pytest.raises(FemurError, match="cohorts of kit"):
            require_own_cohorts(root)


def test_a_work_folder_of_unknown_origin_is_refused(tmp_path):
    (tmp_path / "sites").mkdir()
    with pytest.raises(FemurError, match="nothing known"):
        require_own_cohorts(tmp_path)
