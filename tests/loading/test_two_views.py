from __future__ import annotations

import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform, ImageOnlyTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.random import RandomTransform

from femur_nnunet.loading.two_views import TwoViewsTransform


class Brighter(ImageOnlyTransform):
    def _apply_to_image(self, img, **params):
        return img + 10.0


class Flip(BasicTransform):
    def _apply_to_image(self, img, **params):
        return img.flip(1)

    def _apply_to_segmentation(self, segmentation, **params):
        return segmentation.flip(1)


PATCH = torch.arange(8.0).view(1, 2, 2, 2)


def views(*transforms):
    result = TwoViewsTransform(ComposeTransforms(list(transforms)))(image=PATCH.clone(), segmentation=PATCH.clone())
    return result["image"][:1], result["image"][1:], result["segmentation"]


def test_intensity_changes_the_strong_view_alone():
    strong, weak, label = views(Brighter())
    assert torch.equal(strong, PATCH + 10)
    assert torch.equal(weak, PATCH)
    assert torch.equal(label, PATCH)


def test_geometry_before_and_after_is_the_same_in_both_views_and_the_label():
    strong, weak, label = views(Flip(), RandomTransform(Brighter(), 1.0), Flip(), Brighter(), Flip())
    assert torch.equal(strong, PATCH.flip(1) + 20)
    assert torch.equal(weak, PATCH.flip(1))
    assert torch.equal(label, PATCH.flip(1))


def test_without_intensity_transforms_both_views_are_equal():
    strong, weak, _ = views(Flip())
    assert torch.equal(strong, weak)
