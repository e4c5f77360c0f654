from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from femur_nnunet.trainers.processor_threads import keep_asked_threads


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("asked", "threads"), [("1", 1), ("3", 3), ("2,1", 2), ("", 5), ("many", 5), ("0", 5)])
def test_a_cpu_gets_the_threads_that_were_asked_for(monkeypatch: pytest.MonkeyPatch, asked: str, threads: int) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    torch.set_num_threads(5)
    keep_asked_threads(torch.device("cpu"))
    assert torch.get_num_threads() == threads


def test_a_gpu_leaves_them_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(4)
    keep_asked_threads(torch.device("cuda"))
    assert torch.get_num_threads() == 4
