"""A bundle that was changed: by accident, and by somebody who also corrects the hashes."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import struct
import zipfile

import pytest
import torch
from bundle_surgery import files_of, sealed, with_file, with_manifest, with_plan, write_zip
from safetensors.torch import load, save
from tiny_bundle import write_tiny_bundle

from femur_nnunet.errors import FemurError
from femur_nnunet.model_bundle import BundleError, load_bundle

WEIGHTS = "fold_0.safetensors"


def network_arguments(plans):
    return plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]


def test_one_flipped_bit_of_the_weights_is_refused(tmp_path, bundle_path):
    files = files_of(bundle_path)
    weights = bytearray(files[WEIGHTS])
    weights[-7] ^= 1
    path = write_zip(tmp_path / "m.zip", {**files, WEIGHTS: bytes(weights)})
    with pytest.raises(BundleError, match="with another content than when it was packed"):
        load_bundle(path)


def test_weights_that_change_after_opening_are_refused(tmp_path):
    bundle = load_bundle(write_tiny_bundle(tmp_path / "m.zip", family="unet", folds=("0",)))
    files = files_of(tmp_path / "m.zip")
    changed = {name: tensor + 1 for name, tensor in load(files[WEIGHTS]).items()}
    write_zip(tmp_path / "m.zip", {**files, WEIGHTS: save(changed)})
    with pytest.raises(FemurError, match=r"another content|broken zip|another length"):
        bundle.build_networks()


@pytest.mark.parametrize("change", [{"licence": "public domain"}, {"intended_use": "diagnosis"}, {"extra": 1}])
def test_an_edited_manifest_is_refused(tmp_path, bundle_path, change):
    files = files_of(bundle_path)
    manifest = {**json.loads(files["manifest.json"]), **change}
    path = write_zip(tmp_path / "m.zip", {**files, "manifest.json": json.dumps(manifest).encode()})
    with pytest.raises(BundleError, match="a manifest that was changed after packing"):
        load_bundle(path)


def test_the_publishers_hash_tells_a_forgery_whose_own_hashes_are_right(tmp_path, bundle_path):
    published = hashlib.sha256(bundle_path.read_bytes()).hexdigest()
    assert load_bundle(bundle_path, expected_sha256=published).sha256 == published
    forged = with_manifest(bundle_path, tmp_path / "m.zip", lambda manifest: manifest.update(licence="other"))
    assert load_bundle(forged).manifest.licence == "other"
    with pytest.raises(BundleError, match="a file of another SHA-256"):
        load_bundle(forged, expected_sha256=published)


@pytest.mark.parametrize("schema", [2, "1", True, None, [1]])
def test_another_schema_is_refused(tmp_path, bundle_path, schema):
    with pytest.raises(BundleError, match="another schema"):
        load_bundle(with_manifest(bundle_path, tmp_path / "m.zip", lambda manifest: manifest.update(schema=schema)))


@pytest.mark.parametrize(("key", "value"), [
    ("licence", "x\x1b[2J"), ("licence", "two\nlines"), ("name", "../x"), ("labels", []), ("labels", [{"value": 1}]),
    ("localiser", "network"), ("localiser", "script"), ("network", None), ("thresholds", {}), ("training", []),
    ("attribution", "me"), ("files", {})])
def test_a_manifest_of_another_form_is_refused(tmp_path, bundle_path, key, value):
    with pytest.raises(BundleError) as caught:
        load_bundle(with_manifest(bundle_path, tmp_path / "m.zip", lambda manifest: manifest.update({key: value})))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(("key", "value"), [
    ("folds", []), ("folds", ["0", "0"]), ("folds", ["../0"]), ("folds", [0]), ("mirror_axes", [2]),
    ("mirror_axes", [0, 0]), ("mirror_axes", [-1]), ("family", "resnet"), ("family", "vnet"), ("aliases", {}),
    ("aliases", {"a": "b"}), ("configuration", "3d_lowres"), ("checkpoint", "../../x.pth"), ("trainer", "a b")])
def test_a_network_entry_that_does_not_fit_is_refused(tmp_path, bundle_path, key, value):
    path = with_manifest(bundle_path, tmp_path / "m.zip", lambda manifest: manifest["network"].update({key: value}))
    with pytest.raises(FemurError):
        load_bundle(path).build_networks()


@pytest.mark.parametrize("weights", [b"", b"\0" * 8, struct.pack("<Q", 1 << 62) + b"{}", struct.pack("<Q", 2) + b"[]",
                                     struct.pack("<Q", 4) + b"null", pickle.dumps({"a": 1}), b"PK\3\4" + b"\0" * 100])
def test_what_is_no_safetensors_is_refused(tmp_path, bundle_path, weights, executed):
    bundle = load_bundle(with_file(bundle_path, tmp_path / "m.zip", WEIGHTS, weights))
    with pytest.raises(BundleError, match=r"no safetensors|unreadable JSON"):
        bundle.build_networks()
    assert executed == []


class TouchesAFile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_a_checkpoint_in_place_of_safetensors_is_not_read_as_one(tmp_path, bundle_path):
    mark = tmp_path / "executed"
    torch.save({"network_weights": TouchesAFile(mark)}, tmp_path / "c.pth")
    path = with_file(bundle_path, tmp_path / "m.zip", WEIGHTS, (tmp_path / "c.pth").read_bytes())
    with pytest.raises(BundleError, match="no safetensors"):
        load_bundle(path).build_networks()
    assert not mark.exists()


def changed_weights(path, change):
    tensors = load(files_of(path)[WEIGHTS])
    change(tensors, sorted(tensors)[0])
    return save(tensors)


@pytest.mark.parametrize(("change", "message"), [
    (lambda all_, name: all_[name].flatten()[:1].fill_(float("nan")), "that are not finite"),
    (lambda all_, name: all_[name].flatten()[:1].fill_(float("inf")), "that are not finite"),
    (lambda all_, name: all_.pop(name), "1 tensors that lack"),
    (lambda all_, name: all_.update(more=torch.zeros(1)), "1 tensors that are of another network, as 'more'"),
    (lambda all_, name: all_.update({name: torch.zeros(3, 3)}), "of another type or shape"),
    (lambda all_, name: all_.update({name: all_[name].double()}), "of another type or shape"),
    (lambda all_, name: all_.update({name: all_[name].int()}), "of another type or shape")])
def test_weights_of_another_network_or_without_sense_are_refused(tmp_path, bundle_path, change, message):
    path = with_file(bundle_path, tmp_path / "m.zip", WEIGHTS, changed_weights(bundle_path, change))
    with pytest.raises(BundleError, match=message):
        load_bundle(path).build_networks()


def test_half_precision_is_taken_and_becomes_float32(tmp_path, bundle_path):
    def halve(tensors, _):
        for name in tensors:
            tensors[name] = tensors[name].half()

    path = with_file(bundle_path, tmp_path / "m.zip", WEIGHTS, changed_weights(bundle_path, halve))
    network = load_bundle(path).build_networks()[0]
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_a_plan_that_names_a_command_runs_nothing(tmp_path, bundle_path, executed):
    mark = tmp_path / "executed"

    def name_it(plans):
        network_arguments(plans).update(nonlin="os.system", nonlin_kwargs={"command": f"touch {mark}"})

    with pytest.raises(BundleError, match=r"os\.system for nonlin"):
        load_bundle(with_plan(bundle_path, tmp_path / "m.zip", name_it))
    assert executed == []
    assert not mark.exists()


def test_hashes_hold_for_files_of_a_localiser_too(tmp_path):
    path = write_tiny_bundle(tmp_path / "a.zip", family="unet", folds=("0",), localiser=True)
    files = files_of(path)
    files["localiser_plans.json"] += b" "
    with pytest.raises(BundleError, match=r"localiser_plans\.json with another content"):
        load_bundle(write_zip(tmp_path / "b.zip", files))
    del files["localiser_fold_0.safetensors"]
    with pytest.raises(BundleError, match=r"missing localiser_fold_0\.safetensors"):
        load_bundle(write_zip(tmp_path / "c.zip", sealed(files)))


def test_a_model_card_that_is_no_text_is_refused(tmp_path, bundle_path):
    with pytest.raises(BundleError, match="a model card that is no text"):
        load_bundle(with_file(bundle_path, tmp_path / "m.zip", "model_card.md", b"\xff\xfe\x00"))


def test_a_compressed_copy_says_how_bundles_are_stored(tmp_path, bundle_path):
    with zipfile.ZipFile(tmp_path / "m.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files_of(bundle_path).items():
            archive.writestr(name, data)
    with pytest.raises(BundleError, match="stored files, as femur_model pack writes them"):
        load_bundle(tmp_path / "m.zip")
