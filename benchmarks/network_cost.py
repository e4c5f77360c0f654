"""Time and memory of the TransUNet beside nnU-Net's U-Nets of the same stages, features and patch.

    python benchmarks/network_cost.py
    python benchmarks/network_cost.py --device cuda --preset gpu24

Forward and backward of one batch with deep supervision, the networks in turn, medians of the rounds, ratios within a
round. Stored: bytes that autograd keeps for the way back. Peak: on a CPU the bytes of all tensors alive at one time,
weights and their gradients included; on a GPU torch.cuda.max_memory_allocated. Then what a training step pays for the
adaptation terms, and what a patch pays for the augmentation of CT acquisition (always on the CPU).
"""

from __future__ import annotations

import argparse
import functools
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from bench_support import RESULTS, interleaved, median_ratio, one_thread, publish
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import nn

from femur_nnunet.adaptation.site_classifier import LayerClassifiers
from femur_nnunet.adaptation.site_queue import FeatureQueues
from femur_nnunet.adaptation.terms import adaptation_terms
from femur_nnunet.augmentation.ct_acquisition import CTAcquisitionTransform, CTNormalisation
from femur_nnunet.networks.from_plan import build_transunet, transformer_sizes
from femur_nnunet.networks.memory_estimate import MIB, estimate_training_memory
from femur_nnunet.networks.memory_measurement import LiveMemory, stored_bytes
from femur_nnunet.plan_settings import AugmentationSettings, FemurPlanSettings
from femur_nnunet.planners.presets import PRESETS

BASE = "ResidualEncoderUNet"
# Residual blocks a stage of nnU-Net's ResEnc planners.
RESENC_BLOCKS = (1, 3, 4, 6, 6, 6, 6)
ImageBatch = torch.Tensor


@dataclass(frozen=True)
class Sizes:
    """What all networks of a comparison share."""

    patch: int
    batch: int
    base: int
    stages: int
    settings: FemurPlanSettings


def sizes_of(preset: str, *, quick: bool) -> Sizes:
    """Sizes that the preset's plan has at full extent; ``quick`` ones only show that the script runs."""
    settings = PRESETS[preset].settings
    if quick:
        return Sizes(16, 2, 4, 3, replace(settings, architecture=replace(
            settings.architecture, transformer_width=0, transformer_heads=4, transformer_layers=1)))
    return Sizes(48, 4, 16, 4, settings) if preset == "cpu" else Sizes(128, 2, 32, 6, settings)


def plan_of(sizes: Sizes, family: str, *, checkpointing: bool = False) -> dict[str, Any]:
    """A configuration in the form of a plan."""
    architecture = replace(sizes.settings.architecture, family=family, activation_checkpointing=checkpointing)  # type: ignore[arg-type]
    kwargs: dict[str, Any] = {
        "n_stages": sizes.stages, "features_per_stage": [min(320, sizes.base * 2**k) for k in range(sizes.stages)],
        "conv_op": "torch.nn.modules.conv.Conv3d", "kernel_sizes": [[3, 3, 3]] * sizes.stages,
        "strides": [[1, 1, 1], *([[2, 2, 2]] * (sizes.stages - 1))], "n_conv_per_stage": [2] * sizes.stages,
        "n_conv_per_stage_decoder": [2] * (sizes.stages - 1), "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d", "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None, "dropout_op_kwargs": None, "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True}}
    patch = [sizes.patch] * 3
    if family == "transunet":
        kwargs["transformer"] = transformer_sizes(architecture, kwargs, patch)
    return {"patch_size": patch, "batch_size": sizes.batch, "architecture": {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet", "arch_kwargs": kwargs,
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"]},
        "femur_nnunet": replace(sizes.settings, architecture=architecture).to_dict()}


def networks_of(sizes: Sizes) -> dict[str, nn.Module]:
    """The networks by name."""
    kwargs = dict(plan_of(sizes, "unet")["architecture"]["arch_kwargs"])
    kwargs |= {"conv_op": nn.Conv3d, "norm_op": nn.InstanceNorm3d, "nonlin": nn.LeakyReLU}
    residual = {**kwargs, "n_blocks_per_stage": RESENC_BLOCKS[:sizes.stages],
                "n_conv_per_stage_decoder": [1] * (sizes.stages - 1)}
    residual.pop("n_conv_per_stage")
    return {"PlainConvUNet": PlainConvUNet(1, num_classes=2, deep_supervision=True, **kwargs),
            BASE: ResidualEncoderUNet(1, num_classes=2, deep_supervision=True, **residual),
            "TransUNet3D": build_transunet(plan_of(sizes, "transunet"), 1, 2, deep_supervision=True),
            "TransUNet3D, checkpointing": build_transunet(plan_of(sizes, "transunet", checkpointing=True), 1, 2,
                                                          deep_supervision=True)}


class Bench:
    """Runs steps on a device, in half precision on a GPU as nnU-Net does."""

    def __init__(self, device: str, *, compiled: bool) -> None:
        self.device = torch.device(device)
        self.on_gpu = self.device.type == "cuda"
        self.compiled = compiled
        self.name = torch.cuda.get_device_name() if self.on_gpu else "cpu"

    def placed(self, network: nn.Module) -> Callable[..., Any]:
        network.to(self.device).train()
        return torch.compile(network) if self.compiled else network

    def forward_loss(self, network: Callable[..., Any], image: ImageBatch) -> torch.Tensor:
        with torch.autocast(self.device.type, enabled=self.on_gpu):
            levels = network(image)
            return torch.stack([level.float().square().mean() for level in levels]).sum()

    def step(self, network: Callable[..., Any], module: nn.Module, image: ImageBatch) -> None:
        module.zero_grad(set_to_none=True)
        self.forward_loss(network, image).backward()
        self.wait()

    def wait(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()

    def memory(self, network: Callable[..., Any], module: nn.Module, image: ImageBatch) -> tuple[float, float]:
        """MiB stored for the way back, and MiB at the peak of a step."""
        weights = {parameter.untyped_storage()._cdata for parameter in module.parameters()}
        with stored_bytes(lambda tensor: tensor.untyped_storage()._cdata in weights) as stored:
            loss = self.forward_loss(network, image)
        del loss
        module.zero_grad(set_to_none=True)
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats()
            self.step(network, module, image)
            peak = torch.cuda.max_memory_allocated()
        else:
            with LiveMemory([*module.parameters(), image]) as live:
                self.step(network, module, image)
            peak = live.peak + sum(p.nbytes for p in module.parameters()) + image.nbytes
        module.zero_grad(set_to_none=True)
        return sum(stored.values()) / MIB, peak / MIB


def network_rows(sizes: Sizes, bench: Bench, runs: int) -> list[dict[str, object]]:
    """Rows of the comparison of networks. Memory is measured with one network on the device at a time."""
    image = torch.randn(sizes.batch, 1, *([sizes.patch] * 3), device=bench.device)
    modules = networks_of(sizes)
    memory = {}
    for name, module in modules.items():
        memory[name] = bench.memory(bench.placed(module), module, image)
        module.cpu()
    steps = {name: functools.partial(bench.step, bench.placed(module), module, image)
             for name, module in modules.items()}
    seconds = interleaved(steps, runs)
    return [_row(sizes, bench, name, runs, seconds[name], median_ratio(seconds[name], seconds[BASE]),
                 parameters=sum(p.numel() for p in module.parameters()), memory=memory[name],
                 estimate=_estimate_mib(sizes, bench, name)) for name, module in modules.items()]


def _estimate_mib(sizes: Sizes, bench: Bench, name: str) -> float | None:
    if name == BASE:
        return None
    plan = plan_of(sizes, "transunet" if name.startswith("TransUNet3D") else "unet",
                   checkpointing=name.endswith("checkpointing"))
    estimate = estimate_training_memory(plan, half=bench.on_gpu)
    return (estimate.peak - estimate.optimiser_state) / MIB


def adaptation_rows(sizes: Sizes, bench: Bench, runs: int) -> list[dict[str, object]]:
    """Rows of a training step of half labelled patches: without the terms, with them, and the terms alone.

    The terms alone go from the tokens to the loss and back to the tokens: the way back through the encoder is that
    of the segmentation loss, whose gradient they only add to.
    """
    network = build_transunet(plan_of(sizes, "transunet"), 1, 2, deep_supervision=True)
    network.to(bench.device).train()
    network.return_tokens = True  # type: ignore[assignment]
    settings = sizes.settings.adaptation
    network.token_layers = settings.layers  # type: ignore[assignment]
    heads = LayerClassifiers(network.token_widths, 2, settings.head_hidden).to(bench.device)  # type: ignore[arg-type]
    queues = FeatureQueues(settings.layers, 2, patches=settings.mmd_queue_patches, tokens=settings.mmd_queue_tokens)
    optimiser = torch.optim.AdamW([*network.parameters(), *heads.parameters()], lr=1e-4)
    image = torch.randn(sizes.batch, 1, *([sizes.patch] * 3), device=bench.device)
    sites = (torch.arange(sizes.batch) % 2).to(bench.device)
    decoded = torch.nonzero(sites == 0).flatten()

    def terms_of(tokens: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return adaptation_terms({layer: values.float() for layer, values in tokens.items()}, sites, heads,
                                progress=1.0, settings=settings, queues=queues).total

    def training_step(*, with_terms: bool) -> None:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(bench.device.type, enabled=bench.on_gpu):
            levels, tokens = network(image, decoded)
            loss = torch.stack([level.float().square().mean() for level in levels]).sum()
        (loss + terms_of(tokens) if with_terms else loss).backward()
        optimiser.step()
        bench.wait()

    with torch.no_grad():
        _, example = network(image, decoded)

    def terms_alone() -> None:
        terms_of({layer: values.detach().requires_grad_(True) for layer, values in example.items()}).backward()
        bench.wait()

    plain = "training step, segmentation alone"
    seconds = interleaved({plain: functools.partial(training_step, with_terms=False),
                           "training step with adaptation terms": functools.partial(training_step, with_terms=True),
                           "adaptation terms alone": terms_alone}, runs)
    return [_row(sizes, bench, name, runs, values, median_ratio(values, seconds[plain]))
            for name, values in seconds.items()]


def augmentation_row(sizes: Sizes, runs: int) -> dict[str, object]:
    """Row of the augmentation of CT acquisition with all effects, on one patch and one thread of the CPU."""
    transform = CTAcquisitionTransform(AugmentationSettings(ct_probability=1.0),
                                       CTNormalisation(300.0, 250.0, -200.0, 1500.0), (3.0, 1.0, 1.0), 0)
    patch = torch.randn(1, *([sizes.patch] * 3))
    name = "CT augmentation of a patch, every effect"
    seconds = interleaved({name: lambda: transform(image=patch)}, max(runs, 5))[name]
    return _row(sizes, Bench("cpu", compiled=False), name, max(runs, 5), seconds, None)


def _row(sizes: Sizes, bench: Bench, name: str, runs: int, seconds: list[float], ratio: float | None, *,
         parameters: int | None = None, memory: tuple[float, float] | None = None,
         estimate: float | None = None) -> dict[str, object]:
    def shown(value: float | None, digits: int) -> object:
        return "n/a" if value is None else round(value, digits) if digits else round(value)

    return {"what": name, "patch": sizes.patch, "batch": sizes.batch, "base_features": sizes.base,
            "stages": sizes.stages, "device": bench.name, "compiled": bench.compiled, "runs": runs,
            "parameters": "n/a" if parameters is None else parameters,
            "seconds": round(statistics.median(seconds), 4), "ratio": shown(ratio, 3),
            "stored_mib": shown(memory[0] if memory else None, 0), "peak_mib": shown(memory[1] if memory else None, 0),
            "estimated_peak_mib": shown(estimate, 0)}


def main() -> None:
    """Print the table and write it as CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the CSV (default: benchmarks/results)")
    parser.add_argument("--runs", type=int, default=7, help="rounds (default: 7)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where networks run (default: cpu)")
    parser.add_argument("--preset", choices=("cpu", "gpu24"), default="cpu", help="sizes (default: cpu)")
    parser.add_argument("--compile", action="store_true", help="with torch.compile, nnU-Net's default on a GPU")
    parser.add_argument("--quick", action="store_true", help="tiny networks and one round, to see that it runs")
    options = parser.parse_args()
    sizes, runs = sizes_of(options.preset, quick=options.quick), 1 if options.quick else options.runs
    torch.set_num_threads(1)
    torch.manual_seed(0)
    bench = Bench(options.device, compiled=options.compile)
    name = "network_cost.csv" if options.preset == "cpu" else f"network_cost_{options.preset}.csv"
    with one_thread():
        publish(name, [*network_rows(sizes, bench, runs), *adaptation_rows(sizes, bench, runs),
                       augmentation_row(sizes, runs)], options.out)


if __name__ == "__main__":
    main()
