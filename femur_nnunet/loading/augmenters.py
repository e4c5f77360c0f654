"""Seeded augmenters around nnU-Net's data loaders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
from batchgeneratorsv2.transforms.intensity.contrast import ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA

_INTENSITY_TRANSFORMS = (MultiplicativeBrightnessTransform, ContrastTransform, GammaTransform, GaussianNoiseTransform,
                         GaussianBlurTransform, SimulateLowResolutionTransform)


def seeded_augmenter(loader: Any, *, stream: Sequence[int], pin_memory: bool, share: float = 1.0) -> Any:
    """Return an augmenter in this process (``nnUNet_n_proc_DA=0``) or with worker processes.

    Parameters
    ----------
    loader : nnUNetDataLoader
        Makes batches, transforms included.
    stream : sequence of int
        What tells this stream of batches from every other: seed, rank, first epoch, purpose. The
        workers' seeds are drawn from it, so that neither two seeds nor a resumed training share
        batches; nnU-Net passes no seeds, and its forked workers would share one state of torch's
        generator. In this process the caller's state is used.
    pin_memory : bool
        For a GPU.
    share : float
        Share of nnU-Net's worker processes that this augmenter gets.
    """
    allowed = get_allowed_n_proc_DA()
    if allowed == 0:
        return SingleThreadedAugmenter(loader, None)
    workers = max(1, round(allowed * share))
    seeds = [int(seed) for seed in np.random.SeedSequence(list(stream)).generate_state(workers)]
    augmenter = NonDetMultiThreadedAugmenter(
        data_loader=loader, transform=None, num_processes=workers, num_cached=max(3, workers // 2), seeds=seeds,
        pin_memory=pin_memory, wait_time=0.002)
    # Workers start with the first batch: now, before CUDA and its threads are there to be forked.
    next(augmenter)
    return augmenter


def without_intensity_augmentation(transforms: ComposeTransforms) -> ComposeTransforms:
    """Return nnU-Net's training transforms without those that change intensities."""
    return ComposeTransforms([
        transform for transform in transforms.transforms
        if not (isinstance(transform, RandomTransform) and isinstance(transform.transform, _INTENSITY_TRANSFORMS))])
