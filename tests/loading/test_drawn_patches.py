from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader

from femur_nnunet.adaptation.batch_statistics import take_statistics
from femur_nnunet.loading.drawn_patches import drawn_patches

# Smaller than the patch along z, larger along y and x.
SHAPE, PATCH = (5, 9, 10), (6, 4, 4)
BORDERS = [(0, 0, 0), (4, 8, 9), (2, 5, 5)]


class Cases:
    """Images whose voxels count up from 1, so that a patch tells where it was taken from."""

    identifiers = ("case1", "case2")

    def __init__(self, shape=SHAPE, femur=BORDERS):
        self.shape, self.femur, self.loaded = shape, femur, []

    def load_case(self, case):
        self.loaded.append(case)
        image = np.arange(1, np.prod(self.shape) + 1, dtype=np.float32).reshape(1, *self.shape)
        locations = np.array([(0, *voxel) for voxel in self.femur])
        return image, np.zeros(image.shape, dtype=np.int16), None, {"class_locations": {1: locations}}


def corners(patches, shape):
    """Where each patch's first voxel lies in the image; padding is 0."""
    found = []
    for patch in patches[:, 0].numpy():
        inside = np.argwhere(patch > 0)[0]
        found.append(np.unravel_index(int(patch[tuple(inside)]) - 1, shape) - inside)
    return np.array(found)


def nnunets_loader(cases, patch, *, foreground_fraction=0.0, batch_size=4):
    labels = SimpleNamespace(all_labels=[0, 1], has_ignore_label=False)
    return nnUNetDataLoader(cases, batch_size, patch, patch, labels, probabilistic_oversampling=True,
                            oversample_foreground_percent=foreground_fraction)


@pytest.mark.parametrize("centred", [False, True])
def test_patches_lie_where_nnunets_loader_takes_them_from(centred):
    cases = Cases()
    loader = nnunets_loader(cases, PATCH)
    locations = cases.load_case("case1")[3]["class_locations"]
    expected = {tuple(loader.get_bbox(SHAPE, centred, locations)[0]) for _ in range(2000)}
    patches = drawn_patches(cases, cases.identifiers, 2000, PATCH, foreground_fraction=float(centred), seed=1)
    assert patches.shape == (2000, 1, *PATCH)
    assert patches.dtype == torch.float32
    assert {tuple(corner) for corner in corners(patches, SHAPE)} == expected
    # Two places along z, six along y, seven along x, of which a voxel's patch has one.
    assert len(expected) == (len(BORDERS) if centred else 2 * 6 * 7)


def test_the_share_of_centred_patches_is_the_plans_and_the_others_lie_anywhere():
    shape, count = (24, 24, 24), 900
    patches = drawn_patches(Cases(shape, [(12, 12, 12)]), ["case1"], count, (4, 4, 4), foreground_fraction=0.33, seed=1)
    found = corners(patches, shape)
    centred = (found == 10).all(axis=1)
    # Four standard errors of a share; of the 21^3 other places one is the femur's.
    assert abs(centred.mean() - 0.33) < 4 * np.sqrt(0.33 * 0.67 / count)
    # Places from 0 to 20 have the mean 10 and the variance (21^2 - 1) / 12.
    anywhere = found[~centred]
    assert np.abs(anywhere.mean(axis=0) - 10).max() < 4 * np.sqrt(440 / 12 / len(anywhere))
    assert (anywhere.min(axis=0) == 0).all()
    assert (anywhere.max(axis=0) == 20).all()


def test_the_seed_decides_over_the_patches_and_no_global_generator_does():
    found = []
    for seed, state in ((1, 1), (1, 2), (2, 1)):
        np.random.seed(state)  # noqa: NPY002
        cases = Cases()
        found.append(drawn_patches(cases, cases.identifiers, 6, PATCH, foreground_fraction=0.5, seed=seed))
        assert np.random.get_state()[2] == 624  # noqa: NPY002
        assert sorted(cases.loaded) == ["case1"] * 3 + ["case2"] * 3
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_a_case_without_a_femur_has_patches_anywhere():
    cases = Cases()
    cases.femur = []
    patches = drawn_patches(cases, cases.identifiers, 50, PATCH, foreground_fraction=1.0, seed=1)
    assert len(np.unique(corners(patches, SHAPE), axis=0)) > 20


class BoneInWater(Cases):
    """Water at 0 with noise, and in it a cube of bone of 1/64 of the volume at 10."""

    def load_case(self, case):
        image = np.random.default_rng(int(case[-1])).normal(size=(1, 16, 16, 16)).astype(np.float32)
        image[0, 6:10, 6:10, 6:10] += 10.0
        bone = np.argwhere(image[0] > 5.0)
        return image, np.zeros(image.shape, dtype=np.int16), None, {
            "class_locations": {1: np.c_[np.zeros(len(bone), dtype=int), bone]}}


def test_statistics_of_the_scans_trained_on_are_those_that_training_keeps():
    cases, patch = BoneInWater(), (8, 8, 8)
    np.random.seed(3)  # noqa: NPY002
    loader = nnunets_loader(cases, patch, foreground_fraction=0.33)
    kept, taken, centred = (torch.nn.BatchNorm3d(1, momentum=None) for _ in range(3))
    for _ in range(100):
        kept(loader.generate_train_batch()["data"])
    for layer, fraction in ((taken, 0.33), (centred, 1.0)):
        take_statistics(layer, drawn_patches(cases, cases.identifiers, 400, patch, foreground_fraction=fraction,
                                             seed=1), 4)
    # Patches that are all centred on bone hold more of it.
    for key in ("running_mean", "running_var"):
        found, expected, wrong = (float(getattr(layer, key)) for layer in (taken, kept, centred))
        assert found == pytest.approx(expected, rel=0.1)
        assert wrong > 1.2 * expected
