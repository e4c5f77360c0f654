"""A model bundle as an object: facts for inference, networks by fold; nothing of the file is ever executed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from femur_nnunet.files import sha256_of_file
from femur_nnunet.model_bundle.archive import LARGEST_JSON_BYTES, BundleArchive
from femur_nnunet.model_bundle.bundle_error import BundleError
from femur_nnunet.model_bundle.empty_network import empty_network
from femur_nnunet.model_bundle.manifest import MANIFEST_NAME, LabelEntry, Manifest, NetworkEntry
from femur_nnunet.model_bundle.manifest_reading import read_manifest
from femur_nnunet.model_bundle.plan_schema import InferenceFacts, read_inference_facts
from femur_nnunet.model_bundle.strict_json import parse_json
from femur_nnunet.model_bundle.weights import unpack_weights

if TYPE_CHECKING:
    import torch
    from torch import nn

MODEL_CARD_NAME = "model_card.md"
LOCALISER_PREFIX = "localiser_"
_LONGEST_CARD_BYTES = 1 << 20


@dataclass(frozen=True)
class PackedNetwork:
    """One network of a bundle, the model or its localiser, with the weights of its folds still in the file.

    Attributes
    ----------
    archive : BundleArchive
        The file.
    entry : NetworkEntry
        From the manifest: family, trainer, folds.
    facts : InferenceFacts
        Spacing, patch, normalisation and the rest of what prediction needs.
    plans, dataset : dict
        The checked plans.json and dataset.json, such as nnU-Net's ``PlansManager`` takes them: the names in them are
        of nnU-Net's own functions.
    prefix : str
        How the network's files begin in the archive.
    """

    archive: BundleArchive
    entry: NetworkEntry
    facts: InferenceFacts
    plans: dict[str, Any]
    dataset: dict[str, Any]
    file_hashes: dict[str, str]
    prefix: str = ""

    @property
    def folds(self) -> tuple[str, ...]:
        """Folds that weights are there for."""
        return self.entry.folds

    @property
    def configuration(self) -> dict[str, Any]:
        """The plan's one configuration."""
        return self.plans["configurations"][self.facts.configuration]  # type: ignore[no-any-return]

    def weights(self, fold: str | int) -> dict[str, torch.Tensor]:
        """Return the state_dict of a fold on the CPU in float32, as ``nnUNetPredictor`` takes it.

        Raises
        ------
        BundleError
            No such fold, a changed file, or weights that do not fit the network or are not finite.
        """
        return self._weights(str(fold), self._empty_network())

    def build_network(self, fold: str | int, device: torch.device | str = "cpu") -> nn.Module:
        """Return the network of a fold on a device, in evaluation mode and without deep supervision.

        Raises
        ------
        BundleError
            As :meth:`weights`.
        """
        import torch

        network = self._empty_network()
        network.load_state_dict(self._weights(str(fold), network), assign=True)
        return network.to(torch.device(device)).eval().requires_grad_(False)

    def iterate_networks(self, device: torch.device | str = "cpu", folds: Sequence[str | int] | None = None
                         ) -> Iterator[nn.Module]:
        """Yield the networks of folds one after another, so that one is in memory at a time."""
        for fold in self.folds if folds is None else folds:
            yield self.build_network(fold, device)

    def _weights(self, fold: str, network: nn.Module) -> dict[str, torch.Tensor]:
        if fold not in self.folds:
            raise BundleError(f"no fold {fold}", expected=f"one of {', '.join(self.folds)}",
                              action="choose one of these", subject=self.archive.subject)
        name = weights_name(fold, self.prefix)
        data = self.archive.read(name)
        _check_hash(data, self.file_hashes[name], name, self.archive.subject)
        return unpack_weights(data, network, self.entry.aliases, subject=f"{self.archive.subject} {name}")

    def _empty_network(self) -> nn.Module:
        """Return the network without memory for its weights, on torch's device ``meta``."""
        return empty_network(self.entry.family, self.configuration, self.facts.n_classes, self.archive.subject)


@dataclass(frozen=True)
class ModelBundle:
    """A model bundle whose manifest, plans and file hashes were checked.

    Attributes
    ----------
    path : Path
        The file; it has to stay where it is until the networks are built.
    manifest : Manifest
        Labels, training facts, postprocessing, thresholds, licence.
    model : PackedNetwork
        The segmentation network with its folds.
    localiser : PackedNetwork or None
        The coarse network that finds the hips, where ``manifest.localiser`` is ``network``.
    model_card : str
        model_card.md.
    """

    path: Path
    manifest: Manifest
    model: PackedNetwork
    localiser: PackedNetwork | None
    model_card: str

    @property
    def facts(self) -> InferenceFacts:
        """Spacing, patch, normalisation, labels and mirroring of the segmentation network."""
        return self.model.facts

    @property
    def folds(self) -> tuple[str, ...]:
        """Folds of the ensemble."""
        return self.model.folds

    @property
    def sha256(self) -> str:
        """SHA-256 of the whole file, to compare with what its publisher states; the file is read for it."""
        return sha256_of_file(self.path)

    def build_networks(self, device: torch.device | str = "cpu", folds: Sequence[str | int] | None = None
                       ) -> list[nn.Module]:
        """Return the networks of the folds (all of them without ``folds``), as :meth:`PackedNetwork.build_network`."""
        return list(self.model.iterate_networks(device, folds))


def weights_name(fold: str, prefix: str = "") -> str:
    """Return the name of a fold's weights in a bundle."""
    return f"{prefix}fold_{fold}.safetensors"


def load_bundle(path: Path | str, *, expected_sha256: str | None = None) -> ModelBundle:
    """Open a model bundle without executing or unpacking anything.

    Checked are: the form of the zip, the hash of every file, that no file is missing or unknown, every key of manifest
    and plans, and that the plan's network can be built (on no memory). Weights are checked as networks are built.

    A hash inside of a file shows that it was damaged or edited, not who made it: for that, ``expected_sha256`` is the
    hash of the whole file from a source that you trust.

    Parameters
    ----------
    path : Path or str
        The zip.
    expected_sha256 : str, optional
        SHA-256 of the whole file.

    Raises
    ------
    BundleError
        Any of these does not hold.
    """
    path = Path(path)
    archive = BundleArchive(path)
    if expected_sha256 is not None and sha256_of_file(path) != expected_sha256.lower():
        raise BundleError("a file of another SHA-256", expected=expected_sha256, subject=archive.subject)
    manifest = read_manifest(archive.read(MANIFEST_NAME, most_bytes=LARGEST_JSON_BYTES), subject=archive.subject)
    _check_files(archive, manifest)
    model = _read_network(archive, manifest, manifest.network, manifest.labels, prefix="")
    localiser = None if manifest.localiser_network is None else _read_network(
        archive, manifest, manifest.localiser_network, manifest.localiser_labels, prefix=LOCALISER_PREFIX)
    try:
        card = archive.read(MODEL_CARD_NAME, most_bytes=_LONGEST_CARD_BYTES).decode("utf-8")
    except UnicodeDecodeError:
        raise BundleError("a model card that is no text", expected="UTF-8", subject=archive.subject) from None
    return ModelBundle(path, manifest, model, localiser, card)


def bundle_files(manifest: Manifest) -> list[str]:
    """Return the names of the files that a bundle of this manifest holds, the manifest left out."""
    names = [MODEL_CARD_NAME]
    for network, prefix in ((manifest.network, ""), (manifest.localiser_network, LOCALISER_PREFIX)):
        if network is not None:
            names += [f"{prefix}plans.json", f"{prefix}dataset.json",
                      *(weights_name(fold, prefix) for fold in network.folds)]
    return sorted(names)


def _check_files(archive: BundleArchive, manifest: Manifest) -> None:
    wanted = set(bundle_files(manifest))
    for given, what in ((set(manifest.files), "listed"), (set(archive.sizes) - {MANIFEST_NAME}, "present")):
        for names, kind in ((given - wanted, "unknown"), (wanted - given, "missing")):
            if names:
                raise BundleError(f"{kind} {ascii(min(names))[1:-1][:80]}, of the files {what}",
                                  expected=", ".join(sorted(wanted)), subject=archive.subject)
    for name, entry in manifest.files.items():
        if archive.sizes[name] != entry.bytes or archive.sha256(name) != entry.sha256:
            raise BundleError(f"{name} with another content than when it was packed", expected="its SHA-256",
                              subject=archive.subject)


def _check_hash(data: bytes, expected: str, name: str, subject: str) -> None:
    # Again, since the file may have been replaced after it was opened.
    if hashlib.sha256(data).hexdigest() != expected:
        raise BundleError(f"{name} with another content than when it was packed", expected="its SHA-256",
                          subject=subject)


def _read_network(archive: BundleArchive, manifest: Manifest, entry: NetworkEntry, labels: Sequence[LabelEntry],
                  prefix: str) -> PackedNetwork:
    subject = archive.subject
    plans, dataset = (parse_json(archive.read(f"{prefix}{name}", most_bytes=LARGEST_JSON_BYTES),
                                 where=f"{subject} {prefix}{name}") for name in ("plans.json", "dataset.json"))
    facts = read_inference_facts(plans, dataset, family=entry.family, mirror_axes=entry.mirror_axes,
                                 subject=f"{subject} {prefix}".rstrip())
    if {label.name: label.value for label in labels} | {"background": 0} != facts.labels or (
            entry.configuration != facts.configuration):
        raise BundleError("other labels or another configuration in the manifest than in its plan",
                          expected="the same", subject=subject)
    network = PackedNetwork(archive, entry, facts, plans, dataset,
                            {name: item.sha256 for name, item in manifest.files.items()}, prefix)
    empty_network(entry.family, network.configuration, facts.n_classes, subject)
    return network
