"""From a trained folder to a bundle and back, without loss and without a word of whose scans they were."""

from __future__ import annotations

import json
import re
import shutil
import zipfile

import numpy as np
import pytest
import torch
from nnunetv2.inference import predict_from_raw_data
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from femur_nnunet import trainers
from femur_nnunet.cohort import read_scans_table
from femur_nnunet.drivers.packing.export_nnunet import export_nnunet
from femur_nnunet.drivers.packing.pack import PackOptions, pack_bundle
from femur_nnunet.drivers.trained_arm import load_arm
from femur_nnunet.errors import FemurError, UsageError
from femur_nnunet.model_bundle import load_bundle


@pytest.fixture(scope="module")
def packed(trained, preprocessed, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "model.zip"
    return pack_bundle(PackOptions(trained, path, preprocessed=preprocessed, licence="CC-BY-4.0", quiet=True))


def arm_of(trained, fold):
    return load_arm(trained, fold=fold, checkpoint_name="checkpoint_final.pth", device=torch.device("cpu"))


def test_every_fold_gives_the_logits_of_its_checkpoint(trained, packed):
    image = torch.randn(1, 1, 32, 28, 24)
    assert packed.folds == ("0", "1")
    for fold, network in enumerate(packed.build_networks()):
        assert torch.equal(network(image), arm_of(trained, fold).network(image))


def test_two_packs_give_the_same_bytes(trained, preprocessed, packed, tmp_path):
    again = pack_bundle(PackOptions(trained, tmp_path / "other_name.zip", preprocessed=preprocessed,
                                    licence="CC-BY-4.0", quiet=True))
    assert again.path.read_bytes() == packed.path.read_bytes()


def test_no_case_participant_site_or_path_stands_in_the_bundle(trained, preprocessed, packed):
    records = read_scans_table(preprocessed / "scans.tsv")
    secrets = {record.case_id for record in records} | {record.participant_id for record in records}
    secrets |= {record.participant_id[4:] for record in records} | {record.site for record in records}
    secrets |= {str(trained), str(preprocessed.parent), "Dataset501_Toy"}
    data = packed.path.read_bytes()
    assert len(secrets) > 20
    assert [secret for secret in secrets if secret.encode() in data] == []
    assert re.search(rb"(19|20)\d\d-\d\d-\d\d", data) is None


def test_the_facts_are_those_of_the_toy_dataset(packed):
    """8 labelled hips of 4 participants of one site, 4 unlabelled hips, 32 x 28 x 26 voxels of 3 mm."""
    facts = packed.manifest.training
    assert (facts.n_cases, facts.n_participants, facts.n_unlabelled_cases) == (8, 4, 4)
    assert facts.cases_by_site == (8,)
    assert facts.site_names == ()
    assert [spread.median for spread in facts.spacing_mm] == [3.0, 3.0, 3.0]
    assert [spread.maximum for spread in facts.extent_mm] == [96.0, 84.0, 78.0]
    # An ellipsoid with half axes of 12, 7 and 7 voxels of 27 mm3: 4 / 3 pi 588 x 0.027 ml = 66.5 ml.
    assert facts.femur_volume_ml is not None
    assert facts.femur_volume_ml.median == pytest.approx(66.5, rel=0.02)
    assert packed.manifest.thresholds.femur_volume_ml_low == pytest.approx(facts.femur_volume_ml.minimum / 2, rel=0.01)
    assert packed.manifest.femur_labels == {"proximal": 1}


def test_without_the_dataset_the_plans_own_facts_stand(trained, tmp_path, monkeypatch):
    monkeypatch.delenv("nnUNet_preprocessed", raising=False)
    manifest = pack_bundle(PackOptions(trained, tmp_path / "m.zip", folds=("1",), quiet=True)).manifest
    assert manifest.network.folds == ("1",)
    assert manifest.training.femur_volume_ml is None
    assert manifest.training.foreground_hu["percentile_00_5"] == -100.0
    assert not manifest.postprocessing.largest_component.validated
    assert manifest.postprocessing.largest_component.use
    assert not manifest.postprocessing.fill_holes.use


def test_another_dataset_than_the_plans_own_is_left_out(trained, preprocessed, tmp_path):
    changed = shutil.copytree(preprocessed, tmp_path / "changed")
    path = changed / "dataset_fingerprint.json"
    content = json.loads(path.read_text())
    content["foreground_intensity_properties_per_channel"]["0"]["mean"] += 5
    path.write_text(json.dumps(content))
    bundle = pack_bundle(PackOptions(trained, tmp_path / "m.zip", preprocessed=changed, quiet=True))
    assert bundle.manifest.training.spacing_mm == ()


def predict(folder, image, folds=(0, 1)):
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False, use_mirroring=True)
    predictor.initialize_from_trained_model_folder(str(folder), folds)
    return predictor.predict_logits_from_preprocessed_data(image)


def test_stock_nnunet_predicts_the_same_from_the_export(trained, packed, tmp_path, monkeypatch):
    # The look-up of a trainer imports all of nnU-Net's own and timm, many seconds; a long test runs the real command.
    monkeypatch.setattr(predict_from_raw_data, "recursive_find_trainer_class_by_name",
                        lambda name: getattr(trainers, name))
    checkpoints = export_nnunet(packed, tmp_path / "export")
    assert [path.relative_to(tmp_path).as_posix() for path in checkpoints] == [
        "export/fold_0/checkpoint_final.pth", "export/fold_1/checkpoint_final.pth"]
    image = torch.randn(1, 40, 30, 26)
    assert torch.equal(predict(tmp_path / "export", image), predict(trained, image))


def test_an_export_can_be_packed_again(packed, tmp_path):
    export_nnunet(packed, tmp_path / "export")
    again = pack_bundle(PackOptions(tmp_path / "export", tmp_path / "m.zip", quiet=True))
    assert torch.equal(again.model.weights(1)["encoder.stages.0.0.convs.0.conv.weight"],
                       packed.model.weights(1)["encoder.stages.0.0.convs.0.conv.weight"])


def test_an_export_does_not_touch_a_folder_that_holds_something(packed, tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        export_nnunet(packed, tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == ["mine"]


def test_half_precision_halves_the_weights_and_hardly_moves_logits(trained, packed, tmp_path):
    bundle = pack_bundle(PackOptions(trained, tmp_path / "m.zip", half=True, quiet=True))
    weights = sum(parameter.numel() for parameter in packed.build_networks(folds=["0"])[0].parameters())
    saved_bytes = packed.path.stat().st_size - bundle.path.stat().st_size
    assert saved_bytes == pytest.approx(2 * 2 * weights, rel=0.05)  # two folds, two bytes a weight
    image = torch.randn(1, 1, 32, 28, 24)
    full, half = packed.build_networks(folds=["0"])[0](image), bundle.build_networks(folds=["0"])[0](image)
    # Float16 keeps 11 bits: 5e-4 of each weight; logits of this network are of the order of 1.
    assert float((full - half).abs().max()) < 0.05
    assert not torch.equal(full, half)


@pytest.mark.parametrize("text", ["See tulane_00000001_v01_l", "participant sub-00000001", "of 00000001", "{folder}"])
def test_a_card_that_names_a_case_a_participant_or_a_folder_is_refused(trained, preprocessed, tmp_path, text):
    (tmp_path / "card.md").write_text(text.format(folder=trained))
    with pytest.raises(UsageError, match=r"found a (case id|participant id|folder of this machine) in model_card\.md"):
        pack_bundle(PackOptions(trained, tmp_path / "m.zip", preprocessed=preprocessed, card=tmp_path / "card.md",
                                quiet=True))
    assert not (tmp_path / "m.zip").exists()


def test_a_target_that_is_no_bundle_is_left_alone(trained, tmp_path):
    (tmp_path / "scan.nii.gz").write_bytes(b"precious")
    with pytest.raises(UsageError, match="a file or folder that is no model bundle"):
        pack_bundle(PackOptions(trained, tmp_path / "scan.nii.gz", quiet=True))
    assert (tmp_path / "scan.nii.gz").read_bytes() == b"precious"


def changed_checkpoint(trained, tmp_path, change, fold=1):
    folder = shutil.copytree(trained, tmp_path / "changed")
    path = folder / f"fold_{fold}" / "checkpoint_final.pth"
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    return folder


def test_folds_of_two_trainings_are_not_one_ensemble(trained, tmp_path):
    folder = changed_checkpoint(trained, tmp_path, lambda content: content.update(trainer_name="TransUNetDATrainer"))
    with pytest.raises(UsageError, match="fold 1 of another trainer"):
        pack_bundle(PackOptions(folder, tmp_path / "m.zip", quiet=True))


def test_weights_that_are_not_finite_are_not_packed(trained, tmp_path):
    def spoil(content):
        next(iter(content["network_weights"].values())).flatten()[0] = float("nan")

    with pytest.raises(FemurError, match="that are not finite"):
        pack_bundle(PackOptions(changed_checkpoint(trained, tmp_path, spoil), tmp_path / "m.zip", quiet=True))
    assert not (tmp_path / "m.zip").exists()


def test_mirroring_of_left_and_right_stays_out(trained, tmp_path):
    folder = changed_checkpoint(trained, tmp_path, lambda content: content.update(
        inference_allowed_mirroring_axes=(0, 1, 2)))
    bundle = pack_bundle(PackOptions(folder, tmp_path / "m.zip", folds=("1",), quiet=True))
    assert bundle.facts.mirror_axes == (0, 1)


def test_a_localiser_comes_from_a_trained_folder_of_its_own(trained, tmp_path):
    bundle = pack_bundle(PackOptions(trained, tmp_path / "m.zip", folds=("0",), localiser=str(trained), quiet=True))
    assert bundle.localiser is not None
    assert bundle.localiser.folds == ("0", "1")
    with zipfile.ZipFile(bundle.path) as archive:
        assert "localiser_fold_1.safetensors" in archive.namelist()


@pytest.mark.parametrize(("change", "message"), [
    ({"folds": ("7",)}, "no such checkpoint"), ({"checkpoint_name": "checkpoint_x.pth"}, "no fold with"),
    ({"femora": {"head": "left"}}, "no label head"), ({"localiser": "nowhere"}, "no folder nowhere"),
    ({"femora": {"proximal_femur": "left"}}, "the femora left")])
def test_what_is_not_there_is_said(trained, tmp_path, change, message):
    with pytest.raises(FemurError, match=message):
        pack_bundle(PackOptions(trained, tmp_path / "m.zip", quiet=True, **change))


def test_a_damaged_written_bundle_does_not_replace_a_good_one(trained, tmp_path, monkeypatch):
    good = pack_bundle(PackOptions(trained, tmp_path / "m.zip", folds=("0",), quiet=True)).path.read_bytes()
    monkeypatch.setattr("femur_nnunet.model_bundle.manifest.Manifest.to_bytes", lambda self: b"{}")
    with pytest.raises(FemurError):
        pack_bundle(PackOptions(trained, tmp_path / "m.zip", quiet=True))
    assert load_bundle(tmp_path / "m.zip").path.read_bytes() == good
    assert [item.name for item in tmp_path.iterdir()] == ["m.zip"]


def test_normalisation_is_nnunets_own(packed):
    from nnunetv2.preprocessing.normalization.default_normalization_schemes import CTNormalization

    image = np.linspace(-1500, 3000, 200, dtype=np.float32)
    properties = packed.model.plans["foreground_intensity_properties_per_channel"]["0"]
    stock = CTNormalization(use_mask_for_norm=False, intensityproperties=properties).run(image.copy(), None)
    assert np.allclose(packed.facts.normalisation(image), stock, atol=1e-6)


def test_what_the_model_is_for_stands_in_the_bundle(trained, tmp_path):
    bundle = pack_bundle(PackOptions(trained, tmp_path / "m.zip", intended_use="for phantoms alone", quiet=True))
    assert bundle.manifest.intended_use == "for phantoms alone"
