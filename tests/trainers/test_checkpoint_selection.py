from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toy_dataset import case_id
from two_ranks import free_port, run_selected_final, selecting_stand_in

from femur_nnunet.adaptation.target_score import TargetScore
from femur_nnunet.cohort import read_scans_table, write_scans_table
from femur_nnunet.errors import FemurError
from femur_nnunet.loading.fixed_patches import fixed_patches
from femur_nnunet.trainers import TransUNetMMDTrainer
from femur_nnunet.trainers.selected_weights import make_selected_final

ONE_STEP = {"epochs": 1, "iterations_per_epoch": 1}


def rows_of_csv(trainer):
    with (Path(trainer.output_folder) / "adaptation.csv").open() as handle:
        return list(csv.DictReader(handle))


def test_the_chosen_state_is_kept_named_and_made_final_when_the_plan_says_so(make_trainer, monkeypatch):
    trainer = make_trainer(TransUNetMMDTrainer, schedule={"epochs": 3, "iterations_per_epoch": 1},
                           selection={"becomes_final": True, "source_weight": 0.0, "every_epochs": 1})
    # The second epoch is the best; the third must not replace it.
    scores = iter([0.2, 0.9, 0.5])
    monkeypatch.setattr("femur_nnunet.trainers.target_scoring.target_score",
                        lambda *_: TargetScore(next(scores), 1.0))
    weights = {}
    end = trainer.on_epoch_end

    def remember():
        weights[trainer.current_epoch] = {k: v.clone() for k, v in trainer.bare_network().state_dict().items()}
        end()

    monkeypatch.setattr(trainer, "on_epoch_end", remember)
    trainer.run_training()
    folder = Path(trainer.output_folder)
    selected, final = (torch.load(folder / f"checkpoint_{name}.pth", weights_only=False)
                       for name in ("selected", "final"))
    for state in (selected["network_weights"], final["network_weights"], trainer.bare_network().state_dict()):
        assert all(torch.equal(state[key], value) for key, value in weights[1].items())
    assert selected["current_epoch"] == 2
    # The number of the last epoch, so that --c does not train again.
    assert final["current_epoch"] == 3
    said = json.loads((folder / "checkpoint_selection.json").read_text())
    assert said["epoch"] == 1
    assert said["combined_score"] == pytest.approx(0.9)
    assert said["checkpoint_final_holds"] == "selected epoch"
    assert "Chosen without target labels: epoch 1" in Path(trainer.log_file).read_text()


def test_by_default_the_last_state_stays_final_beside_the_chosen_one(make_trainer):
    trainer = make_trainer(TransUNetMMDTrainer, schedule=ONE_STEP)
    trainer.run_training()
    folder = Path(trainer.output_folder)
    assert (folder / "checkpoint_selected.pth").exists()
    assert json.loads((folder / "checkpoint_selection.json").read_text())["checkpoint_final_holds"] == "last epoch"
    row = rows_of_csv(trainer)[0]
    combined = 0.5 * float(row["source_dice"]) + 0.5 * float(row["target_agreement"]) * float(
        row["target_plausibility"])
    assert float(row["selection_score"]) == pytest.approx(combined, abs=1e-4)


@pytest.mark.parametrize(("iterations", "every_epochs", "expected"), [(20, 0, 4), (250, 0, 1), (20, 2, 2)])
def test_scores_are_taken_as_often_as_they_cost_little(make_trainer, iterations, every_epochs, expected):
    # 8 passes for 4 patches in two views, 3 * 4 passes a step: 20 steps have 240, of which 1 % is 2.4.
    trainer = make_trainer(TransUNetMMDTrainer, schedule={"iterations_per_epoch": iterations},
                           selection={"every_epochs": every_epochs, "target_patches": 4})
    trainer.initialize()
    assert trainer.epochs_between_scores == expected


def test_the_choice_can_be_turned_off(make_trainer):
    trainer = make_trainer(TransUNetMMDTrainer, schedule=ONE_STEP, selection={"target_patches": 0})
    trainer.run_training()
    assert not (Path(trainer.output_folder) / "checkpoint_selected.pth").exists()
    assert rows_of_csv(trainer)[0]["selection_score"] == ""


def test_the_choice_of_an_earlier_training_in_the_same_folder_is_not_taken_over(make_trainer, monkeypatch):
    trainer = make_trainer(TransUNetMMDTrainer, schedule=ONE_STEP, selection={"becomes_final": True})
    folder = Path(trainer.output_folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "checkpoint_selected.pth").write_bytes(b"of an earlier training")
    (folder / "checkpoint_selection.json").write_text("{}")
    # No score is taken, so that nothing is chosen by this training.
    monkeypatch.setattr(trainer, "score_target", lambda: None)
    trainer.run_training()
    assert not (folder / "checkpoint_selected.pth").exists()
    assert not (folder / "checkpoint_selection.json").exists()
    final = torch.load(folder / "checkpoint_final.pth", weights_only=False)
    assert "selected_epoch" not in final["femur_nnunet"]


def stopped_after_a_choice(make_trainer, monkeypatch):
    """A training whose last checkpoint, of epoch 0, knows nothing of the choice made in epoch 1."""
    schedule = {"epochs": 3, "iterations_per_epoch": 1, "save_every": 100}
    scores = iter([0.2, 0.9, 0.5])
    monkeypatch.setattr("femur_nnunet.trainers.target_scoring.target_score",
                        lambda *_: TargetScore(next(scores), 1.0))
    options = {"schedule": schedule, "selection": {"source_weight": 0.0, "every_epochs": 1, "becomes_final": True}}
    trainer = make_trainer(TransUNetMMDTrainer, **options)
    end = trainer.on_epoch_end

    def save_in_the_first_epoch():
        end()
        if trainer.current_epoch == 1:
            trainer.current_epoch -= 1
            trainer.save_checkpoint(str(Path(trainer.output_folder) / "checkpoint_latest.pth"))
            trainer.current_epoch += 1
        else:
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "on_epoch_end", save_in_the_first_epoch)
    with pytest.raises(KeyboardInterrupt):
        trainer.run_training()
    resumed = make_trainer(TransUNetMMDTrainer, **options)
    resumed.load_checkpoint(str(Path(resumed.output_folder) / "checkpoint_latest.pth"))
    return resumed


def test_a_resumed_training_knows_of_a_choice_that_its_checkpoint_does_not(make_trainer, monkeypatch):
    resumed = stopped_after_a_choice(make_trainer, monkeypatch)
    assert resumed.best_selection["epoch"] == 0
    monkeypatch.setattr("femur_nnunet.trainers.target_scoring.target_score", lambda *_: TargetScore(0.5, 1.0))
    resumed.run_training()
    # Epochs 1 and 2, trained anew, score less than the epoch 1 of before the stop.
    assert resumed.best_selection["combined_score"] == pytest.approx(0.9)
    folder = Path(resumed.output_folder)
    selected, final = (torch.load(folder / f"checkpoint_{name}.pth", weights_only=False)
                       for name in ("selected", "final"))
    assert all(torch.equal(selected["network_weights"][key], value) for key, value in final["network_weights"].items())
    assert final["femur_nnunet"]["selected_epoch"] == 1


def test_a_resumed_training_whose_chosen_file_is_gone_chooses_anew(make_trainer, monkeypatch):
    resumed = stopped_after_a_choice(make_trainer, monkeypatch)
    (Path(resumed.output_folder) / "checkpoint_selected.pth").unlink()
    resumed.on_train_start()
    assert resumed.best_selection is None
    assert "checkpoint_selected.pth is gone" in Path(resumed.log_file).read_text()


def test_a_file_of_another_epoch_than_was_chosen_is_refused_and_nothing_changed(tmp_path):
    trainer = selecting_stand_in(tmp_path, rank=0, ranks=False)
    before = trainer.network.weight.clone()
    trainer.best_selection["epoch"] = 5
    with pytest.raises(FemurError, match=r"the weights of epoch 3; expected those of epoch 5"):
        make_selected_final(trainer)
    assert torch.equal(trainer.network.weight, before)
    (tmp_path / "checkpoint_selected.pth").unlink()
    with pytest.raises(FemurError, match=r"no checkpoint_selected\.pth"):
        make_selected_final(trainer)


def test_every_rank_gets_the_chosen_weights_from_the_one_that_wrote_them(tmp_path):
    # Rank 1 sees neither the choice nor the file, as when it is ahead of the rank that writes.
    torch.multiprocessing.spawn(run_selected_final, args=(free_port(), str(tmp_path)), nprocs=2)
    weights = [torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1)]
    assert [value.tolist() for value in weights] == [[[7.0, 7.0]]] * 2
    final = torch.load(tmp_path / "0" / "checkpoint_final.pth", weights_only=False)
    assert final["network_weights"]["weight"].tolist() == [[7.0, 7.0]]
    assert final["current_epoch"] == 9


@pytest.mark.parametrize(("becomes_final", "kept_out"), [(False, 0), (True, 1)])
def test_participants_are_kept_out_of_training_only_for_a_choice_that_becomes_final(make_trainer, toy_root,
                                                                                   becomes_final, kept_out):
    table = toy_root / "nnUNet_preprocessed" / "Dataset501_Toy" / "scans.tsv"
    records = read_scans_table(table)
    pattern = next(r for r in records if not r.labelled)
    extra = [replace(pattern, case_id=case_id("rochester", number), participant_id=f"sub-{number:08x}")
             for number in range(0x50, 0x58)]
    write_scans_table(table, [*records, *extra])
    trainer = make_trainer(TransUNetMMDTrainer, selection={"becomes_final": becomes_final})
    trainer.initialize()
    # A tenth of ten participants.
    everyone = {r.participant_id for r in (*records, *extra) if r.role == "train" and not r.labelled}
    assert len(everyone) == 10
    assert len({case.split("_")[1] for case in trainer.cases.unlabelled}) == 10 - kept_out
    assert len({case.split("_")[1] for case in trainer.scoring_cases}) == kept_out


def test_unlabelled_scans_of_a_labelled_site_are_neither_trained_on_nor_scored(make_trainer, toy_root):
    table = toy_root / "nnUNet_preprocessed" / "Dataset501_Toy" / "scans.tsv"
    records = read_scans_table(table)
    pattern = next(r for r in records if not r.labelled)
    # As many participants as a site needs for some to be held out.
    extra = [replace(pattern, case_id=case_id("tulane", number), participant_id=f"sub-{number:08x}", site="tulane")
             for number in range(0x50, 0x5a)]
    write_scans_table(table, [*records, *extra])
    trainer = make_trainer(TransUNetMMDTrainer, selection={"becomes_final": True})
    trainer.initialize()
    assert {case.split("_")[0] for case in trainer.cases.unlabelled} == {"rochester"}
    assert trainer.scoring_cases == []
    said = Path(trainer.log_file).read_text()
    assert "10 unlabelled scans of sites that have labelled ones are left out" in said


def test_the_expected_share_of_femur_is_that_at_the_places_of_unlabelled_patches(make_trainer):
    trainer = make_trainer(TransUNetMMDTrainer)
    trainer.initialize()
    trainer.on_train_start()
    dataset = trainer.two_folder_dataset(trainer.cases.train, trainer.cases.unlabelled)
    size = trainer.configuration_manager.patch_size
    own, substitute = (float(fixed_patches(source, trainer.cases.train, 32, size)[1].mean())
                       for source in (dataset, dataset.with_substitutes_everywhere()))
    assert trainer._target[2] == pytest.approx(substitute)
    assert substitute != pytest.approx(own)
    assert len(trainer._target[0]) == 8
