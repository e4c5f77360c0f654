from __future__ import annotations

import numpy as np
import pytest

from femur_nnunet.cohort import read_scans_table
from femur_nnunet.errors import FemurError
from femur_nnunet.loading.site_balanced_loader import cases_by_site
from femur_nnunet.loading.two_folder_dataset import TwoFolderDataset

DATASET = "Dataset501_Toy"


@pytest.fixture(scope="module")
def dataset(planned_toy_root):
    folder = planned_toy_root / "nnUNet_preprocessed" / DATASET
    records = [r for r in read_scans_table(folder / "scans.tsv") if r.role == "train"]
    data = str(folder / "FemurPlans_3x3x3mm_3d_fullres")
    return TwoFolderDataset(data, [r.case_id for r in records if r.labelled], data + "_unlabelled",
                            [r.case_id for r in records if not r.labelled])


def test_an_unlabelled_case_has_substitute_positions_where_femora_lie(dataset):
    case = next(c for c in dataset.identifiers if c not in dataset.labelled)
    image, _, _, properties = dataset.load_case(case)
    positions = properties["class_locations"][1]
    # The ellipsoids of every toy image lie within 12 x 7 x 7 voxels around a centre 2 voxels off the middle.
    middle = np.asarray(image.shape[1:]) / 2
    assert (positions[:, 0] == 0).all()
    assert (np.abs(positions[:, 1:] - middle) <= np.asarray([15, 10, 10])).all()
    assert len(np.unique(positions, axis=0)) > 100


def test_a_labelled_case_keeps_its_own_positions(dataset):
    case = next(iter(dataset.labelled))
    _, label_map, _, properties = dataset.load_case(case)
    positions = np.asarray(properties["class_locations"][1])
    assert (label_map[:][tuple(positions.T)] == 1).all()


def test_with_substitutes_everywhere_a_labelled_case_is_centred_as_an_unlabelled_one_is(dataset):
    labelled = sorted(dataset.labelled)
    unlabelled = next(c for c in dataset.identifiers if c not in dataset.labelled)

    def positions(source, case):
        image, _, _, properties = source.load_case(case)
        # Toy images have one size.
        assert image.shape[1:] == dataset.load_case(unlabelled)[0].shape[1:]
        return [tuple(voxel) for voxel in np.asarray(properties["class_locations"][1])]

    everywhere = dataset.with_substitutes_everywhere()
    assert positions(everywhere, unlabelled) == positions(dataset, unlabelled)
    first, second = (positions(everywhere, case) for case in labelled[:2])
    # All that unlabelled cases get, less the 100 of its own.
    assert len(first) == len(second) == len(positions(dataset, unlabelled)) - 100
    assert set(first) <= set(positions(dataset, unlabelled))
    assert first != second
    label_map = dataset.load_case(labelled[0])[1][:]
    own_share, share = (np.mean([label_map[voxel] == 1 for voxel in found])
                        for found in (positions(dataset, labelled[0]), first))
    assert own_share == 1.0
    assert 0.5 < share < 1.0


def test_an_unlabelled_case_that_is_not_preprocessed_is_named(dataset, tmp_path):
    with pytest.raises(FemurError, match="not preprocessed, the first rochester_0000000a_v01_l"):
        TwoFolderDataset(dataset.source_folder, sorted(dataset.labelled), str(tmp_path), ["rochester_0000000a_v01_l"])


def test_a_site_with_labels_draws_from_its_labelled_cases_alone():
    site_of = {"a1": "a", "a2": "a", "b1": "b"}
    assert cases_by_site(["a1"], ["a2", "b1"], ["a", "b"], site_of) == [["a1"], ["b1"]]
