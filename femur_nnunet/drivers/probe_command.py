"""``femur_probe``: what trained networks still know of the site of a scan."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from femur_nnunet.argument_types import count, positive_count
from femur_nnunet.command_line import CommandResult, add_dataset_id, format_table, make_parser, run_command
from femur_nnunet.errors import UsageError
from femur_nnunet.nnunet_folders import find_dataset, require_folder

_SHOWN = ("arm", "layer", "participants", "accuracy", "95 % interval", "chance", "MMD^2", "p")


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    results = "$nnUNet_results/Dataset501_ProximalFemur"
    parser = make_parser(
        "femur_probe", "Probe the frozen features of trained networks for the site: accuracy of a linear classifier\n"
        "with participants held out, a permutation test of MMD over participants, and a picture.",
        f"femur_probe {results}/TransUNetTrainer__nnUNetPlans__3d_fullres \\\n"
        f"              {results}/TransUNetDATrainer__nnUNetPlans__3d_fullres -d 501 --fold 0 --out probe",
        out="folder for probe.csv, probe.png and run.json", device=True, seed=1)
    parser.add_argument("arms", type=_arm, nargs="+", metavar="[ARM=]DIR",
                        help="trained folders TRAINER__PLANS__CONFIGURATION, with a name for the table where given")
    add_dataset_id(parser)
    parser.add_argument("--fold", type=count, default=0, metavar="N", help="fold of the networks (default: 0)")
    parser.add_argument("-chk", "--checkpoint", default="checkpoint_final.pth", metavar="NAME",
                        help="checkpoint of the fold (default: checkpoint_final.pth)")
    parser.add_argument("--scans", choices=("auto", "test", "fold"), default="auto",
                        help="test: the locked test set, which no training saw; fold: validation scans and unlabelled "
                             "training scans; auto: test where two sites have three participants each (default: auto)")
    parser.add_argument("--layers", nargs="+", default=["bottleneck"], metavar="NAME",
                        help="bottleneck, encoder_K or decoder_K, K = 0 the finest stage (default: bottleneck)")
    parser.add_argument("--patches", type=int, choices=range(1, 8), default=1, metavar="1..7",
                        help="patches a scan, centred alike in every scan (default: 1, the middle)")
    parser.add_argument("--permutations", type=positive_count, default=2000, metavar="N",
                        help="permutations of participants (default: 2000)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``femur_probe``."""
    return run_command(build_parser(), _run, argv)


def _run(arguments: argparse.Namespace) -> CommandResult:
    arms = dict(arguments.arms)
    if len(arms) < len(arguments.arms):
        raise UsageError("two arms of one name", expected="a name of its own for each",
                         action="write NAME=DIR in place of DIR")
    for folder in arms.values():
        if not folder.is_dir():
            raise UsageError(f"no folder {folder}", expected="a trained folder TRAINER__PLANS__CONFIGURATION",
                             action="train first, or correct the path")
    raw, preprocessed = (_dataset_folder(variable, arguments.dataset_id)
                         for variable in ("nnUNet_raw", "nnUNet_preprocessed"))
    if raw is None and preprocessed is None:
        find_dataset(require_folder("nnUNet_raw"), arguments.dataset_id)
    # Imported here: it brings torch and nnU-Net, seconds that --help and a wrong option need not wait for.
    from femur_nnunet.drivers.probe import PICTURE_NAME, TABLE_NAME, ProbeOptions, run_probe

    rows = run_probe(ProbeOptions(
        arms=arms, out=arguments.out, raw=raw, preprocessed=preprocessed, fold=arguments.fold,
        checkpoint_name=arguments.checkpoint, scans=arguments.scans, layers=tuple(arguments.layers),
        patches=arguments.patches, permutations=arguments.permutations, seed=arguments.seed, device=arguments.device,
        quiet=arguments.quiet))
    body = [(row.arm, row.layer, row.n_participants, f"{row.accuracy:.3f}",
             f"{row.ci95_low:.3f} to {row.ci95_high:.3f}", f"{row.chance:.3f}", f"{row.mmd2:.4f}",
             f"{row.p_value:.4f}") for row in rows]
    seen = {"test": "the locked test set, seen by no training",
            "fold": "validation scans and unlabelled training scans; trainings with adaptation terms saw the latter"}
    return CommandResult(
        lines=[*format_table(_SHOWN, body), f"scans: {seen[rows[0].scans]} ({rows[0].n_scans})",
               f"table and picture: {arguments.out / TABLE_NAME}, {arguments.out / PICTURE_NAME}"],
        summary={"scans": rows[0].scans, "rows": [asdict(row) for row in rows], "out": str(arguments.out)})


def _dataset_folder(variable: str, dataset_id: int) -> Path | None:
    """Return the dataset's folder below one of nnU-Net's, None where either is absent: one of two is enough."""
    try:
        return find_dataset(require_folder(variable), dataset_id)
    except UsageError:
        return None


def _arm(text: str) -> tuple[str, Path]:
    name, separator, folder = text.rpartition("=")
    path = Path(folder)
    return (name if separator and name else path.resolve().name.split("__")[0] or str(path)), path
