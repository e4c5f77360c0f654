"""``femur_model``: pack a trained network into one safe file, look into it, verify it, give it back to nnU-Net."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from femur_nnunet.command_line import CommandResult, add_action, make_parser, run_command
from femur_nnunet.files import sha256_of_file
from femur_nnunet.provenance import RunRecord

if TYPE_CHECKING:
    from femur_nnunet.model_bundle import ModelBundle

_RESULTS = "$nnUNet_results/Dataset501_ProximalFemur/TransUNetDATrainer__nnUNetPlans__3d_fullres"


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = make_parser(
        "femur_model", "Pack a trained network into one file of numbers and text that is loaded without executing\n"
        "anything, look into such a bundle, verify it, or give it back to nnU-Net.",
        f"femur_model pack {_RESULTS} --out model.zip")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_pack(actions)
    show = add_action(actions, "show", "say what a bundle is: data, labels, thresholds, licence",
                      "femur_model show model.zip")
    show.add_argument("--card", action="store_true", help="print the model card instead")
    verify = add_action(actions, "verify", "check a bundle in full, weights included",
                        "femur_model verify model.zip --sha256 $(cut -d' ' -f1 model.zip.sha256)")
    verify.add_argument("--sha256", type=_sha256, metavar="HEX",
                        help="SHA-256 of the file that its publisher states: hashes inside of a bundle show damage, "
                             "not who made it")
    export = add_action(actions, "export-nnunet", "write the folder that nnUNetv2_predict_from_modelfolder takes\n"
                        "Its checkpoints are pickles, as all of nnU-Net's: reading one can run commands. Share the\n"
                        "bundle, not the folder.",
                        "femur_model export-nnunet model.zip --out model_folder")
    export.add_argument("--out", type=Path, required=True, metavar="DIR", help="new folder")
    for action in (show, verify, export):
        action.add_argument("bundle", type=Path, metavar="MODEL.zip", help="model bundle")
    return parser


def _add_pack(actions: Any) -> None:
    pack = add_action(
        actions, "pack", "pack a folder that nnUNetv2_train wrote into a bundle\n"
        "Counts and ranges of the training set are taken from nnUNet_preprocessed where it is there; no case,\n"
        "participant or path goes into the bundle. The same input gives the same bytes.",
        f"femur_model pack {_RESULTS} --out model.zip --licence CC-BY-4.0")
    pack.add_argument("results", type=Path, metavar="RESULTS_DIR",
                      help="trained folder TRAINER__PLANS__CONFIGURATION")
    pack.add_argument("--out", type=Path, required=True, metavar="MODEL.zip", help="the bundle to write")
    pack.add_argument("--folds", nargs="+", type=_fold, default=(), metavar="N",
                      help="folds of the ensemble (default: every finished one)")
    pack.add_argument("-chk", "--checkpoint", default="checkpoint_final.pth", metavar="NAME",
                      help="checkpoint of each fold (default: checkpoint_final.pth)")
    pack.add_argument("--preprocessed", type=Path, metavar="DIR",
                      help="the dataset's folder in nnUNet_preprocessed (default: as that variable says)")
    pack.add_argument("--localiser", default="geometric", metavar="none|geometric|DIR",
                      help="how hips are found in a whole pelvis: by rules, or by a coarse network trained in DIR "
                           "(default: geometric)")
    pack.add_argument("--name", type=_name, help="short name (default: trainer and plan)")
    pack.add_argument("--licence", default="", metavar="TEXT", help="licence of the weights, as CC-BY-4.0")
    pack.add_argument("--intended-use", metavar="TEXT", help="what the model is for, and what not "
                                                              "(default: research, no medical device)")
    pack.add_argument("--attribution", action="append", default=[], metavar="TEXT",
                      help="whom to name; may be repeated")
    pack.add_argument("--card", type=Path, metavar="FILE", help="model card in Markdown (default: a short one)")
    pack.add_argument("--femur", action="append", default=[], type=_femur, metavar="LABEL=SIDE",
                      help="which label is a femur: proximal for one hip a case, or left and right (default: by name)")
    pack.add_argument("--name-sites", action="store_true", help="give the sites' names beside their counts")
    pack.add_argument("--half", action="store_true", help="store weights in float16: half the size, nearly the same "
                                                          "logits")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``femur_model``."""
    return run_command(build_parser(), _run, argv)


def _run(arguments: argparse.Namespace) -> CommandResult:
    actions: dict[str, Callable[[argparse.Namespace], CommandResult]] = {
        "pack": _pack, "show": _show, "verify": _verify, "export-nnunet": _export}
    return actions[arguments.action](arguments)


def _pack(arguments: argparse.Namespace) -> CommandResult:
    # Imported here: it brings torch and nnU-Net, seconds that --help and a wrong option need not wait for.
    from femur_nnunet.drivers.packing.pack import LICENCE_NOT_STATED, PackOptions, pack_bundle
    from femur_nnunet.model_bundle.manifest import INTENDED_USE

    record = RunRecord("femur_model pack", vars(arguments), hide_paths=True)
    bundle = pack_bundle(PackOptions(
        results=arguments.results, out=arguments.out, folds=tuple(arguments.folds),
        checkpoint_name=arguments.checkpoint, preprocessed=arguments.preprocessed, localiser=arguments.localiser,
        name=arguments.name or "", licence=arguments.licence or LICENCE_NOT_STATED,
        intended_use=arguments.intended_use or INTENDED_USE,
        attribution=tuple(arguments.attribution), card=arguments.card, femora=dict(arguments.femur),
        name_sites=arguments.name_sites, half=arguments.half, quiet=arguments.quiet))
    record.add_outputs([arguments.out])
    record.counts = {"folds": len(bundle.folds), "bytes": arguments.out.stat().st_size}
    record.write(arguments.out.parent, exit_code=0, name=f"{arguments.out.stem}.run.json")
    notes = [] if arguments.licence else ["no licence is stated: give --licence before you pass the bundle on"]
    return CommandResult(lines=[*_lines(bundle), *notes], summary=_summary(bundle))


def _show(arguments: argparse.Namespace) -> CommandResult:
    from femur_nnunet.model_bundle import load_bundle

    bundle = load_bundle(arguments.bundle)
    lines = _printable(bundle.model_card) if arguments.card else _lines(bundle)
    return CommandResult(lines=lines, summary=_summary(bundle) | {"model_card": bundle.model_card}, essential=True)


def _verify(arguments: argparse.Namespace) -> CommandResult:
    from femur_nnunet.model_bundle import load_bundle

    bundle = load_bundle(arguments.bundle, expected_sha256=arguments.sha256)
    networks = [bundle.model, *([bundle.localiser] if bundle.localiser else [])]
    count = sum(1 for network in networks for fold in network.folds if network.weights(fold))
    line = f"{arguments.bundle.name}: sound, {count} network(s), SHA-256 {bundle.sha256}"
    known = [] if arguments.sha256 else ["who made it is not checked: give --sha256 with the value of its publisher"]
    return CommandResult(lines=[line, *known], summary={"sha256": bundle.sha256, "networks": count})


def _export(arguments: argparse.Namespace) -> CommandResult:
    from femur_nnunet.drivers.packing.export_nnunet import export_nnunet
    from femur_nnunet.model_bundle import load_bundle

    record = RunRecord("femur_model export-nnunet", vars(arguments), hide_paths=True)
    bundle = load_bundle(arguments.bundle)
    record.inputs = {arguments.bundle.name: bundle.sha256}
    checkpoints = export_nnunet(bundle, arguments.out)
    record.outputs = {path.relative_to(arguments.out).as_posix(): sha256_of_file(path) for path in checkpoints}
    record.counts = {"folds": len(checkpoints)}
    record.write(arguments.out, exit_code=0)
    return CommandResult(lines=[
        f"{len(checkpoints)} checkpoint(s) in {arguments.out}; they are pickles: share the bundle, not this folder",
        'predict: eval "$(femur_env --root DIR)"; nnUNetv2_predict_from_modelfolder -i IMAGES -o PREDICTIONS '
        f"-m {arguments.out} -f {' '.join(path.parent.name.removeprefix('fold_') for path in checkpoints)}"],
        summary={"checkpoints": [str(path) for path in checkpoints]})


def _lines(bundle: ModelBundle) -> list[str]:
    from femur_nnunet.drivers.packing.model_card import describe_step

    manifest, facts = bundle.manifest, bundle.facts
    steps, limits = manifest.postprocessing, manifest.thresholds
    femora = ", ".join(f"{label.name} ({label.femur} femur)" if label.femur else label.name
                       for label in manifest.labels)
    counts = ", ".join(f"{number} {what}" for number, what in (
        (manifest.training.n_cases, "labelled cases"), (manifest.training.n_participants, "participants"),
        (len(manifest.training.cases_by_site) or None, "site(s)")) if number) or "not recorded"
    return [
        f"{manifest.name}: {manifest.network.family}, folds {', '.join(bundle.folds)}, trained by "
        f"{manifest.network.trainer} on {manifest.network.plans_name}",
        f"intended use    {manifest.intended_use}",
        f"licence         {manifest.licence}", *(f"attribution     {text}" for text in manifest.attribution),
        f"labels          {femora}",
        f"training        {counts}",
        f"spacing         {' x '.join(f'{value:g}' for value in facts.spacing_mm)} mm, patch "
        f"{' x '.join(str(value) for value in facts.patch_size)}, mirrored axes {list(facts.mirror_axes) or 'none'}",
        f"localiser       {manifest.localiser}",
        f"largest part    {describe_step(steps.largest_component)}",
        f"holes           {describe_step(steps.fill_holes)}",
        f"warns about     a femur below {limits.femur_volume_ml_low:g} or above {limits.femur_volume_ml_high:g} ml; "
        f"folds that agree below Dice {limits.fold_agreement_dice:g}",
        f"packed by       femur-nnunet {manifest.package_version}",
        f"SHA-256         {bundle.sha256}"]


def _summary(bundle: ModelBundle) -> dict[str, Any]:
    content = asdict(bundle.manifest)
    for network in (content["network"], content["localiser_network"] or {}):
        network.pop("aliases", None)
    return {"sha256": bundle.sha256, "manifest": content, "inference": asdict(bundle.facts)}


def _printable(text: str) -> list[str]:
    """Return lines without characters that could steer a terminal: the text comes from somebody else."""
    return ["".join(letter if letter.isprintable() else "?" for letter in line.expandtabs())
            for line in text.splitlines()]


def _fold(text: str) -> str:
    if not re.fullmatch("[0-9]{1,2}|all", text):
        raise argparse.ArgumentTypeError(f"needs a number or all; got {text!r}")
    return text if text == "all" else str(int(text))


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}", text):
        raise argparse.ArgumentTypeError(f"needs letters, digits, '_', '-' and '.'; got {text!r}")
    return text


def _sha256(text: str) -> str:
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError("needs 64 hexadecimal digits")
    return text.lower()


def _femur(text: str) -> tuple[str, str]:
    label, _, side = text.rpartition("=")
    if not label or side not in ("proximal", "left", "right"):
        raise argparse.ArgumentTypeError(f"needs LABEL=proximal, =left or =right; got {text!r}")
    return label, side
