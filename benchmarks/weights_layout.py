"""What the order of weights in memory is worth on a CPU: a training step of the box model's U-Net, both ways in turn.

    python benchmarks/weights_layout.py --threads 1 2

Forward and backward of two patches of 48^3 with deep supervision, and the optimiser's step. `ratio` is the time with
channels first over that with channels last, the median over rounds.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from bench_support import RESULTS, interleaved, median_ratio, publish
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import nn

from femur_nnunet.trainers.processor_layout import lay_out_for

FEATURES, PATCH = (16, 32, 64, 128), 48


def training_step(*, channels_last: bool) -> Callable[[], None]:
    """Return a function that does one step of training."""
    torch.manual_seed(0)
    network = PlainConvUNet(1, len(FEATURES), FEATURES, nn.Conv3d, 3, (1, 2, 2, 2), 2, 2, 2, conv_bias=True,
                            norm_op=nn.InstanceNorm3d, norm_op_kwargs={"affine": True}, nonlin=nn.LeakyReLU,
                            nonlin_kwargs={"inplace": True}, deep_supervision=True)
    if channels_last:
        lay_out_for(network, torch.device("cpu"))
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3)
    patches = torch.randn(2, 1, PATCH, PATCH, PATCH)

    def step() -> None:
        loss = torch.stack([level.pow(2).mean() for level in network(patches)]).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def main() -> None:
    """Measure with each number of threads and publish the table."""
    parser = argparse.ArgumentParser(description="Channels last against channels first on a CPU.")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="threads of torch (default: 1 2)")
    parser.add_argument("--runs", type=int, default=7, help="rounds (default: 7)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the CSV")
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    for threads in options.threads:
        torch.set_num_threads(threads)
        seconds = interleaved({"first": training_step(channels_last=False), "last": training_step(channels_last=True)},
                              options.runs)
        rows.append({"threads_of_torch": threads, "rounds": options.runs,
                     **{f"channels_{name}_seconds": round(statistics.median(values), 3)
                        for name, values in seconds.items()},
                     "ratio": round(median_ratio(seconds["first"], seconds["last"]), 3)})
    publish("weights_layout.csv", rows, options.out, threads="see threads_of_torch")


if __name__ == "__main__":
    main()
