"""The site probe from trained folders to probe.csv, run.json and the picture."""

from __future__ import annotations

import contextlib
import csv
import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from numpy.typing import NDArray

from femur_nnunet.command_line import progress
from femur_nnunet.drivers.trained_arm import TrainedArm, load_arm
from femur_nnunet.errors import FemurError
from femur_nnunet.files import hold_folder, sha256_of_file, write_text
from femur_nnunet.loading.training_cases import UNLABELLED_SUFFIX
from femur_nnunet.provenance import RunRecord
from femur_nnunet.site_probe.features import scan_features
from femur_nnunet.site_probe.picture import draw_picture
from femur_nnunet.site_probe.scans import ProbeScan, ScanChoice, choose_scans
from femur_nnunet.site_probe.statistics import (
    ProbeFeatures,
    participants_by_site,
    permutation_test,
    probe_sites,
)

TABLE_NAME = "probe.csv"
PICTURE_NAME = "probe.png"


@dataclass(frozen=True)
class ProbeOptions:
    """What femur_probe is asked for; see the command's help."""

    arms: Mapping[str, Path]
    out: Path
    raw: Path | None
    preprocessed: Path | None
    fold: int = 0
    checkpoint_name: str = "checkpoint_final.pth"
    scans: ScanChoice = "auto"
    layers: tuple[str, ...] = ("bottleneck",)
    patches: int = 1
    permutations: int = 2000
    seed: int = 1
    device: str = "cpu"
    quiet: bool = False


@dataclass(frozen=True)
class ProbeRow:
    """One row of probe.csv: an arm and a layer.

    ``scans`` is ``test`` or ``fold``; ``n_unlabelled_scans`` of the scans were seen, without labels, by trainings with
    adaptation terms (0 for test scans). ``mmd_scans_each`` scans of each participant went into ``mmd2``.
    """

    arm: str
    layer: str
    scans: str
    n_sites: int
    n_participants: int
    n_scans: int
    n_unlabelled_scans: int
    accuracy: float
    ci95_low: float
    ci95_high: float
    chance: float
    folds: int
    mmd2: float
    p_value: float
    n_permutations: int
    mmd_scans_each: int
    trainer: str
    checkpoint: str


def run_probe(options: ProbeOptions) -> list[ProbeRow]:
    """Probe every arm, write probe.csv, probe.png and run.json into ``options.out``, and return the rows.

    Raises
    ------
    FemurError, UsageError
        No checkpoint, one site alone, too few participants, an unknown layer.
    """
    record = RunRecord("femur_probe", asdict(options), seed=options.seed)
    kind, scans = choose_scans(options.scans, raw=options.raw, preprocessed=options.preprocessed, fold=options.fold)
    sites, people = (np.asarray([getattr(scan, name) for scan in scans], dtype=str)
                     for name in ("site", "participant_id"))
    # Before any network runs: a cohort that is too small should not cost minutes.
    counts = participants_by_site(ProbeFeatures(np.zeros((len(scans), 1)), sites, people))
    rows, panels = [], {}
    with hold_folder(options.out):
        for name, folder in options.arms.items():
            arm = load_arm(folder, fold=options.fold, checkpoint_name=options.checkpoint_name,
                           device=torch.device(options.device))
            record.inputs[f"{name}/{arm.checkpoint.name}"] = sha256_of_file(arm.checkpoint)
            for layer, values in _features_of_arm(name, arm, scans, options).items():
                features = ProbeFeatures(values, sites, people)
                probe = probe_sites(features, seed=options.seed)
                mmd = permutation_test(features, permutations=options.permutations, seed=options.seed)
                rows.append(ProbeRow(
                    name, layer, kind, len(counts), sum(map(len, counts.values())), len(scans),
                    sum(scan.unlabelled for scan in scans), probe.accuracy, probe.ci95_low, probe.ci95_high,
                    probe.chance, probe.folds, mmd.mmd2, mmd.p_value, mmd.permutations,
                    mmd.scans_each, arm.trainer_name, arm.checkpoint.name))
                title = f"{name}, {layer}" if len(options.layers) > 1 else name
                panels[f"{title}\nprobe {probe.accuracy:.2f}, MMD p {mmd.p_value:.3g}"] = features
        write_text(options.out / TABLE_NAME, _csv(rows))
        draw_picture(options.out / PICTURE_NAME, panels)
        record.counts = {"arms": len(options.arms), "scans": len(scans),
                         **{f"participants_{site}": len(names) for site, names in counts.items()}}
        record.details = {"scans": kind, "cases": [scan.case_id for scan in scans]}
        record.add_outputs([options.out / TABLE_NAME, options.out / PICTURE_NAME])
        record.write(options.out, exit_code=0)
    return rows


def _features_of_arm(name: str, arm: TrainedArm, scans: Sequence[ProbeScan],
                     options: ProbeOptions) -> dict[str, NDArray[np.float64]]:
    found: dict[str, list[NDArray[np.float64]]] = {layer: [] for layer in options.layers}
    for scan in progress(scans, description=f"features of {name}", quiet=options.quiet):
        features = scan_features(arm.network, _image(scan, arm, options), patch_size=arm.configuration.patch_size,
                                 patches=options.patches, layers=options.layers, device=torch.device(options.device))
        for layer, values in features.items():
            found[layer].append(values)
    return {layer: np.stack(values) for layer, values in found.items()}


def _image(scan: ProbeScan, arm: TrainedArm, options: ProbeOptions) -> NDArray[np.floating]:
    """Return the scan (c, z, y, x) as nnU-Net's preprocessing of the arm's plan makes it."""
    if scan.raw_image is not None:
        # nnU-Net prints as it goes; standard output belongs to the result.
        with contextlib.redirect_stdout(sys.stderr):
            image, _, _ = arm.configuration.preprocessor_class(verbose=False).run_case(
                [str(scan.raw_image)], None, arm.plans, arm.configuration, arm.dataset)
        return np.asarray(image)
    assert options.preprocessed is not None
    identifier = arm.configuration.data_identifier + (UNLABELLED_SUFFIX if scan.unlabelled else "")
    folder = options.preprocessed / identifier
    if not (folder / f"{scan.case_id}.b2nd").is_file():
        raise FemurError(f"no preprocessed scan in {identifier}", expected="every scan of the fold, preprocessed for "
                         "the arm's plan", action="run femur_plan for that plan", subject=f"case {scan.case_id}")
    image, _, _, _ = nnUNetDatasetBlosc2(str(folder), [scan.case_id]).load_case(scan.case_id)
    return np.asarray(image[:])


def _csv(rows: Sequence[ProbeRow]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=[item.name for item in fields(ProbeRow)], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _text(value) for name, value in asdict(row).items()})
    return buffer.getvalue()


def _text(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
