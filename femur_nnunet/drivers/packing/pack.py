"""Packing a trained folder into a model bundle."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from femur_nnunet._version import __version__
from femur_nnunet.drivers.packing.identities import refuse_identities
from femur_nnunet.drivers.packing.model_card import write_card
from femur_nnunet.drivers.packing.results_folder import ReadResults, read_results
from femur_nnunet.drivers.packing.training_facts import cohort_of, thresholds_of, training_facts
from femur_nnunet.drivers.packing.validated_steps import validated_postprocessing
from femur_nnunet.errors import UsageError
from femur_nnunet.model_bundle import BundleError, ModelBundle, load_bundle
from femur_nnunet.model_bundle.bundle import LOCALISER_PREFIX, MODEL_CARD_NAME
from femur_nnunet.model_bundle.manifest import INTENDED_USE, MANIFEST_NAME, FemurSide, LabelEntry, Manifest
from femur_nnunet.model_bundle.writing import write_bundle

LICENCE_NOT_STATED = "not stated: ask whoever gave you this file before you pass it on"
# Labels that are known for femora without being told.
_FEMUR_NAMES: Mapping[str, FemurSide] = {
    "proximal_femur": "proximal", "femur": "proximal", "left": "left", "right": "right", "left_femur": "left",
    "right_femur": "right", "femur_left": "left", "femur_right": "right"}


@dataclass(frozen=True)
class PackOptions:
    """What is packed, from where and under which name.

    Attributes
    ----------
    results : Path
        Trained folder ``TRAINER__PLANS__CONFIGURATION``.
    out : Path
        The bundle.
    folds : tuple of str
        Folds; every finished one without.
    checkpoint_name : str
        File in each fold.
    preprocessed : Path, optional
        The dataset's folder in nnUNet_preprocessed; without it, where that variable points.
    localiser : str
        ``none``, ``geometric``, or the trained folder of a coarse network.
    name, licence, intended_use, attribution : str, tuple of str
        For the manifest; the name is that of trainer and plan where it is empty.
    card : Path, optional
        Model card in Markdown; a short one is written without it.
    femora : dict of str to str
        Which femur a label is (proximal, left or right), beside the names that are known.
    name_sites, half, quiet : bool
        Give sites by name; store float16; no progress bars.
    """

    results: Path
    out: Path
    folds: tuple[str, ...] = ()
    checkpoint_name: str = "checkpoint_final.pth"
    preprocessed: Path | None = None
    localiser: str = "geometric"
    name: str = ""
    licence: str = LICENCE_NOT_STATED
    intended_use: str = INTENDED_USE
    attribution: tuple[str, ...] = ()
    card: Path | None = None
    femora: dict[str, FemurSide] = field(default_factory=dict)
    name_sites: bool = False
    half: bool = False
    quiet: bool = False


def pack_bundle(options: PackOptions) -> ModelBundle:
    """Pack a trained folder and return the bundle as read back.

    Raises
    ------
    UsageError
        The folder, a fold, the target or a label will not do, or a text names a case, a participant or a folder.
    FemurError
        A file is broken or unsafe.
    """
    _check_target(options.out)
    results = read_results(options.results, folds=options.folds, checkpoint_name=options.checkpoint_name,
                           half=options.half, quiet=options.quiet)
    labels = label_entries(results.dataset["labels"], options.femora)
    values = [label.value for label in labels if label.femur is not None]
    preprocessed = _preprocessed_folder(options, results)
    facts = training_facts(results.plans, results.dataset, preprocessed, values, name_sites=options.name_sites,
                           quiet=options.quiet)
    manifest = Manifest(
        package_version=__version__, name=options.name or f"{results.entry.trainer}-{results.entry.plans_name}",
        licence=options.licence, intended_use=options.intended_use, attribution=options.attribution,
        network=results.entry, labels=labels,
        training=facts, thresholds=thresholds_of(facts), postprocessing=validated_postprocessing(
            options.results, results.entry.folds, preprocessed, values,
            file_ending=str(results.dataset["file_ending"]), quiet=options.quiet))
    files = dict(results.files)
    if options.localiser in ("none", "geometric"):
        manifest = replace(manifest, localiser=options.localiser)  # type: ignore[arg-type]
    else:
        coarse = read_results(Path(options.localiser), prefix=LOCALISER_PREFIX, half=options.half, quiet=options.quiet)
        files |= coarse.files
        manifest = replace(manifest, localiser="network", localiser_network=coarse.entry,
                           localiser_labels=label_entries(coarse.dataset["labels"], options.femora))
    files[MODEL_CARD_NAME] = _card(options, manifest)
    texts = {name: data for name, data in files.items() if not name.endswith(".safetensors")}
    refuse_identities({**texts, MANIFEST_NAME: manifest.to_bytes()}, cohort_of(preprocessed),
                      [options.results, *([preprocessed] if preprocessed else [])])
    return write_bundle(options.out, manifest, files)


def label_entries(labels: Mapping[str, int], femora: Mapping[str, FemurSide]) -> tuple[LabelEntry, ...]:
    """Return a dataset's classes with the femur that each is.

    Raises
    ------
    UsageError
        ``femora`` names a label that is not there, or no label is known for a femur.
    """
    unknown = sorted(set(femora) - set(labels))
    if unknown or not all(type(value) is int for value in labels.values()):
        raise UsageError(f"no label {unknown[0]}" if unknown else "regions as labels",
                         expected=f"plain labels, here {', '.join(labels)}", action="correct --femur")
    known = {**_FEMUR_NAMES, **femora}
    entries = tuple(LabelEntry(value, name, known.get(name)) for name, value in sorted(
        labels.items(), key=lambda item: item[1]) if value > 0)
    if not any(entry.femur for entry in entries):
        raise UsageError(f"labels {', '.join(entry.name for entry in entries)}", expected="one that is a femur",
                         action="say which with --femur LABEL=proximal (or =left and =right)")
    return entries


def _check_target(out: Path) -> None:
    """Refuse a target that exists and is no bundle: a mistaken --out must not cost another file."""
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        return
    try:
        load_bundle(out)
    except BundleError:
        raise UsageError("a file or folder that is no model bundle", expected="a new name, or a bundle to replace",
                         action="choose another --out", subject=str(out)) from None


def _preprocessed_folder(options: PackOptions, results: ReadResults) -> Path | None:
    if options.preprocessed is not None:
        if not options.preprocessed.is_dir():
            raise UsageError(f"no folder {options.preprocessed}",
                             expected="the dataset's folder in nnUNet_preprocessed", action="correct --preprocessed")
        return options.preprocessed
    root = os.environ.get("nnUNet_preprocessed")
    folder = Path(root, results.dataset_name) if root else None
    return folder if folder is not None and folder.is_dir() else None


def _card(options: PackOptions, manifest: Manifest) -> bytes:
    if options.card is None:
        return write_card(manifest).encode("utf-8")
    try:
        text = options.card.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise UsageError("no readable text", expected="a model card in Markdown, UTF-8", action="correct --card",
                         subject=str(options.card)) from None
    return text.encode("utf-8")
