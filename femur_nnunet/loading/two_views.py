"""A weak and a strong view of the same patch, for consistency training."""

from __future__ import annotations

from typing import Any

import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform, ImageOnlyTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.random import RandomTransform


class TwoViewsTransform(BasicTransform):
    """nnU-Net's training transforms with two results of one geometry.

    Transforms of geometry act on both views, those of the image alone (intensity, CT acquisition) on the
    strong view. The image that comes out has twice the channels: the strong view first, then the weak.

    Parameters
    ----------
    transforms : ComposeTransforms
        The training transforms.
    """

    def __init__(self, transforms: ComposeTransforms) -> None:
        super().__init__()
        self.transforms = list(transforms.transforms)
        self.acts_on_strong_alone = [changes_intensities(transform) for transform in self.transforms]

    def apply(self, data_dict: dict, **_: Any) -> dict:
        """Return the dictionary with both views under ``image``."""
        channels = len(data_dict["image"])
        # The views part where the first transform of intensities stands: before it one image does for both.
        parted = False
        for transform, strong_alone in zip(self.transforms, self.acts_on_strong_alone, strict=True):
            if not strong_alone:
                data_dict = transform(**data_dict)
                continue
            if not parted:
                data_dict["image"] = torch.cat([data_dict["image"], data_dict["image"]])
                parted = True
            strong = transform(image=data_dict["image"][:channels])["image"]
            data_dict["image"] = torch.cat([strong, data_dict["image"][channels:]])
        if not parted:
            data_dict["image"] = torch.cat([data_dict["image"], data_dict["image"]])
        return data_dict


def changes_intensities(transform: BasicTransform) -> bool:
    """Say whether a transform acts on the image alone."""
    return isinstance(transform.transform if isinstance(transform, RandomTransform) else transform, ImageOnlyTransform)
