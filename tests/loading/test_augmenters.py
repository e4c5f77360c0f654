from __future__ import annotations

import pytest

from femur_nnunet.loading import augmenters


@pytest.fixture
def seeds_of(monkeypatch):
    monkeypatch.setenv("nnUNet_n_proc_DA", "2")
    made = []

    class Recorder:
        def __init__(self, *, seeds, **_):
            made.append(tuple(seeds))

        def __next__(self):
            return {}

    monkeypatch.setattr(augmenters, "NonDetMultiThreadedAugmenter", Recorder)

    def seeds(*stream):
        augmenters.seeded_augmenter(None, stream=stream, pin_memory=False)
        return made[-1]

    return seeds


def test_the_same_stream_gives_the_same_workers(seeds_of):
    assert seeds_of(1, 0, 0, 0) == seeds_of(1, 0, 0, 0)


def test_seeds_ranks_epochs_and_purposes_share_no_worker(seeds_of):
    streams = [(1, 0, 0, 0), (2, 0, 0, 0), (1, 1, 0, 0), (1, 0, 7, 0), (1, 0, 0, 1)]
    workers = [seed for stream in streams for seed in seeds_of(*stream)]
    assert len(set(workers)) == 2 * len(streams)
