"""Reading a bundle's manifest: every key by name, type and range."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_args

from femur_nnunet.model_bundle.bundle_error import BundleError
from femur_nnunet.model_bundle.manifest import (
    CONTENT_HASH_KEY,
    MANIFEST_NAME,
    MANIFEST_SCHEMA,
    Distribution,
    Evidence,
    FemurSide,
    FileEntry,
    LabelEntry,
    LocaliserKind,
    Manifest,
    NetworkEntry,
    Postprocessing,
    PostprocessingStep,
    Thresholds,
    TrainingFacts,
    content_hash,
)
from femur_nnunet.model_bundle.plan_schema import FAMILIES, NAME_PATTERN
from femur_nnunet.model_bundle.strict_json import JsonObject, parse_json

FOLD_PATTERN = r"[0-9]{1,2}|all"
_MOST_FOLDS, _MOST_ALIASES, _MOST_SITES = 20, 20_000, 1000
_HASH = r"[0-9a-f]{64}"
_KEY_OF_TENSOR = r"[A-Za-z0-9_.]{1,200}"
_HUGE = 1e12


def read_manifest(data: bytes, *, subject: str) -> Manifest:
    """Check a manifest and return it.

    Raises
    ------
    BundleError
        Another schema, a changed content, or anything unknown, missing, of another type or out of range.
    """
    where = f"{subject} {MANIFEST_NAME}"
    parsed = parse_json(data, where=where)
    content = JsonObject(parsed, where)
    schema = content.raw("schema")
    if type(schema) is not int or schema != MANIFEST_SCHEMA:
        raise BundleError("another schema of the manifest", expected=f"schema {MANIFEST_SCHEMA}",
                          action="read it with the package version that packed it, or pack it anew", subject=where)
    stated = content.text(CONTENT_HASH_KEY, pattern=_HASH)
    if content_hash({key: value for key, value in parsed.items() if key != CONTENT_HASH_KEY}) != stated:
        raise BundleError("a manifest that was changed after packing",
                          expected=f"the content of its {CONTENT_HASH_KEY}", subject=where)
    files = content.child("files")
    localiser = content.text("localiser", one_of=get_args(LocaliserKind))
    manifest = Manifest(
        package_version=content.text("package_version", longest=40), name=content.text("name", pattern=NAME_PATTERN),
        licence=content.text("licence"), attribution=content.texts("attribution", most=50),
        intended_use=content.text("intended_use"), network=_network(content.child("network")),
        labels=_labels(content, "labels"), training=_training(content.child("training")),
        postprocessing=_postprocessing(content.child("postprocessing")),
        thresholds=_thresholds(content.child("thresholds")), localiser=localiser,  # type: ignore[arg-type]
        localiser_network=None if content.is_null("localiser_network") else _network(
            content.child("localiser_network")),
        localiser_labels=_labels(content, "localiser_labels"),
        files={name: _file(files.child(name)) for name in files.keys()})  # noqa: SIM118 (an object of JSON)
    files.close()
    content.close()
    _check_femora(manifest, where)
    if (localiser == "network") != (manifest.localiser_network is not None):
        raise BundleError(f"the localiser {localiser}", expected="a network where it is one", subject=where)
    return manifest


def _check_femora(manifest: Manifest, where: str) -> None:
    femora = [label.femur for label in manifest.labels if label.femur is not None]
    values = [label.value for label in manifest.labels]
    if sorted(femora) not in (["proximal"], ["left", "right"]) or len(set(values)) < len(values):
        raise BundleError(f"the femora {', '.join(femora) or 'none'}",
                          expected="proximal, or left and right, each once", subject=where)


def _network(entry: JsonObject) -> NetworkEntry:
    aliases = entry.child("aliases")
    names = aliases.keys()
    if len(names) > _MOST_ALIASES:
        raise BundleError(f"{len(names)} aliases", expected=f"at most {_MOST_ALIASES}", subject=entry.where)
    network = NetworkEntry(
        family=entry.text("family", one_of=FAMILIES),  # type: ignore[arg-type]
        trainer=entry.text("trainer", pattern=NAME_PATTERN), plans_name=entry.text("plans_name", pattern=NAME_PATTERN),
        configuration=entry.text("configuration", pattern=NAME_PATTERN),
        checkpoint=entry.text("checkpoint", pattern=NAME_PATTERN),
        folds=entry.texts("folds", most=_MOST_FOLDS, pattern=FOLD_PATTERN),
        mirror_axes=entry.wholes("mirror_axes", 0, 2, length=(0, 3)),
        aliases={name: aliases.text(name, pattern=_KEY_OF_TENSOR) for name in names})
    entry.close()
    for what, values in (("folds", network.folds), ("mirror_axes", network.mirror_axes)):
        if len(set(values)) < len(values):  # type: ignore[arg-type]
            raise BundleError(f"{what} that repeat", expected="each once", subject=entry.where)
    if not network.folds:
        raise BundleError("no fold", expected="at least one", subject=entry.where)
    return network


def _labels(content: JsonObject, key: str) -> tuple[LabelEntry, ...]:
    labels = []
    for item in content.children(key, most=64):
        femur = None if item.is_null("femur") else item.text("femur", one_of=get_args(FemurSide))
        labels.append(LabelEntry(item.whole("value", 1, 254), item.text("name", longest=60), femur))  # type: ignore[arg-type]
        item.close()
    return tuple(labels)


def _training(item: JsonObject) -> TrainingFacts:
    hounsfield = item.child("foreground_hu")
    facts = TrainingFacts(
        n_cases=_whole_or_none(item, "n_cases"), n_participants=_whole_or_none(item, "n_participants"),
        n_unlabelled_cases=_whole_or_none(item, "n_unlabelled_cases"),
        cases_by_site=item.wholes("cases_by_site", 0, 10**9, length=(0, _MOST_SITES)),
        site_names=item.texts("site_names", most=_MOST_SITES, pattern=r"[a-z0-9]{1,60}"),
        spacing_mm=_distributions(item, "spacing_mm"), extent_mm=_distributions(item, "extent_mm"),
        shape_voxels=_distributions(item, "shape_voxels"),
        foreground_hu={key: hounsfield.number(key, -_HUGE, _HUGE) for key in sorted(hounsfield.keys())[:20]},
        femur_volume_ml=None if item.is_null("femur_volume_ml") else _distribution(item.child("femur_volume_ml")))
    hounsfield.close()
    item.close()
    if facts.site_names and len(facts.site_names) != len(facts.cases_by_site):
        raise BundleError("other numbers of site_names and cases_by_site", expected="one count a name",
                          subject=item.where)
    return facts


def _distributions(item: JsonObject, key: str) -> tuple[Distribution, ...]:
    found = tuple(_distribution(entry) for entry in item.children(key, most=3))
    if len(found) not in (0, 3):
        raise BundleError(f"{len(found)} axes for {key}", expected="three or none", subject=item.where)
    return found


def _distribution(item: JsonObject) -> Distribution:
    names = [entry.name for entry in fields(Distribution)][1:]
    values = Distribution(item.whole("n", 1, 10**9), *(item.number(name, 0, _HUGE) for name in names))
    item.close()
    return values


def _postprocessing(item: JsonObject) -> Postprocessing:
    steps = Postprocessing(*(_step(item.child(entry.name)) for entry in fields(Postprocessing)))
    item.close()
    return steps


def _step(item: JsonObject) -> PostprocessingStep:
    evidence = None if item.is_null("evidence") else _evidence(item.child("evidence"))
    step = PostprocessingStep(item.flag("use"), evidence)
    item.close()
    return step


def _evidence(item: JsonObject) -> Evidence:
    counts = {name: item.whole(name, 0, 10**9) for name in ("n_cases", "n_participants", "n_better", "n_worse")}
    values: dict[str, Any] = {name: item.number(name, -1, 1) for name in ("dice_without", "dice_with", "difference")}
    for name in ("ci95_low", "ci95_high"):
        values[name] = None if item.is_null(name) else item.number(name, -1, 1)
    item.close()
    return Evidence(**counts, **values)


def _thresholds(item: JsonObject) -> Thresholds:
    values = Thresholds(**{entry.name: item.number(entry.name, 0, 1e6) for entry in fields(Thresholds)})
    item.close()
    return values


def _whole_or_none(item: JsonObject, key: str) -> int | None:
    return None if item.is_null(key) else item.whole(key, 0, 10**9)


def _file(item: JsonObject) -> FileEntry:
    entry = FileEntry(item.whole("bytes", 0, 1 << 40), item.text("sha256", pattern=_HASH))
    item.close()
    return entry
