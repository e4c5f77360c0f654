from __future__ import annotations

import torch

from femur_nnunet.adaptation.site_queue import FeatureQueues, SiteQueue

LIKE = torch.zeros(1, 2)


def test_the_oldest_rows_of_each_site_leave_first():
    queue = SiteQueue(2, 3)
    for step in range(4):
        queue.push(torch.full((3, 2), float(step)), torch.tensor([0, 1, 0]))
    own, rest = queue.own_and_rest(0, like=LIKE)
    assert own[:, 0].tolist() == [2, 3, 3]
    assert rest[:, 0].tolist() == [1, 2, 3]


def test_a_queue_of_size_zero_stays_empty():
    queue = SiteQueue(2, 0)
    queue.push(torch.ones(2, 2), torch.tensor([0, 1]))
    assert [len(rows) for rows in queue.own_and_rest(0, like=LIKE)] == [0, 0]


def test_rows_are_kept_in_float32_without_gradient_and_do_not_follow_the_batch():
    rows = torch.ones(2, 2, dtype=torch.float16, requires_grad=True)
    queue = SiteQueue(2, 4)
    queue.push(rows, torch.tensor([0, 1]))
    with torch.no_grad():
        rows += 1
    own, _ = queue.own_and_rest(0, like=LIKE)
    assert own.dtype == torch.float32
    assert not own.requires_grad
    assert own.tolist() == [[1, 1]]


def test_a_checkpoint_brings_back_every_row_of_every_layer():
    queues = FeatureQueues(("bottleneck", "encoder_1"), 2, patches=3, tokens=5)
    for layer in ("bottleneck", "encoder_1"):
        queues.pooled[layer].push(torch.randn(4, 2), torch.tensor([0, 1, 0, 1]))
        queues.tokens[layer].push(torch.randn(4, 2), torch.tensor([0, 1, 0, 1]))
    restored = FeatureQueues(("bottleneck", "encoder_1"), 2, patches=3, tokens=5)
    restored.load_state(queues.state(), torch.device("cpu"))
    for kind in ("pooled", "tokens"):
        for layer in ("bottleneck", "encoder_1"):
            pairs = zip(getattr(queues, kind)[layer].own_and_rest(0, like=LIKE),
                        getattr(restored, kind)[layer].own_and_rest(0, like=LIKE), strict=True)
            assert all(torch.equal(before, after) and len(before) == 2 for before, after in pairs)
