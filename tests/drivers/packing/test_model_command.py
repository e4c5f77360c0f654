from __future__ import annotations

import hashlib
import json

import pytest
from tiny_bundle import write_tiny_bundle

from femur_nnunet.drivers.model_command import main


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("command") / "model.zip", family="unet", folds=("0",))


def test_pack_show_verify_and_export_in_one_go(trained, preprocessed, tmp_path, capsys):
    out = tmp_path / "new" / "model.zip"
    assert main(["pack", str(trained), "--out", str(out), "--preprocessed", str(preprocessed), "--folds", "0",
                 "--licence", "CC-BY-4.0", "--name", "femur-1", "--attribution", "A. Author", "--name-sites",
                 "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    record = json.loads((tmp_path / "new" / "model.run.json").read_text())
    assert record["outputs_sha256"] == {"model.zip": hashlib.sha256(out.read_bytes()).hexdigest()}
    assert str(trained) not in json.dumps(record)
    assert main(["show", str(out)]) == 0
    shown = capsys.readouterr().out
    for text in ("femur-1: transunet, folds 0", "CC-BY-4.0", "A. Author", "8 labelled cases, 4 participants, 1 site(s)",
                 "not validated", "Research use only", "3 x 3 x 3 mm", "proximal_femur (proximal femur)"):
        assert text in shown
    assert main(["verify", str(out), "--sha256", record["outputs_sha256"]["model.zip"]]) == 0
    assert "sound, 1 network(s)" in capsys.readouterr().out
    assert main(["export-nnunet", str(out), "--out", str(tmp_path / "export")]) == 0
    assert "they are pickles" in capsys.readouterr().out
    assert "pickles" in (tmp_path / "export" / "README.txt").read_text()
    exported = json.loads((tmp_path / "export" / "run.json").read_text())
    assert exported["inputs_sha256"] == record["outputs_sha256"]
    checkpoint = tmp_path / "export" / "fold_0" / "checkpoint_final.pth"
    assert exported["outputs_sha256"] == {
        "fold_0/checkpoint_final.pth": hashlib.sha256(checkpoint.read_bytes()).hexdigest()}


def test_show_as_json_is_the_manifest(bundle, capsys):
    assert main(["show", str(bundle), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["manifest"]["labels"] == [{"value": 1, "name": "proximal_femur", "femur": "proximal"}]
    assert shown["inference"]["patch_size"] == [16, 16, 16]
    assert shown["sha256"] == hashlib.sha256(bundle.read_bytes()).hexdigest()


def test_options_may_stand_before_the_action(bundle, capsys):
    assert main(["--json", "verify", str(bundle)]) == 0
    assert json.loads(capsys.readouterr().out)["networks"] == 1


def test_a_model_card_cannot_steer_the_terminal(bundle, tmp_path, capsys):
    from bundle_surgery import with_file

    path = with_file(bundle, tmp_path / "m.zip", "model_card.md", b"# Card\n\x1b[2Jgone\r\n")
    assert main(["show", "--card", str(path)]) == 0
    assert capsys.readouterr().out == "# Card\n?[2Jgone\n"


@pytest.mark.parametrize("arguments", [
    ["show", "missing.zip"], ["verify", "{bundle}", "--sha256", "0" * 64],
    ["export-nnunet", "missing.zip", "--out", "x"], ["pack", "missing", "--out", "x.zip"]])
def test_wrong_input_is_one_line_and_exit_code_2(bundle, arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([argument.format(bundle=bundle) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("femur_model: error: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [
    [], ["pack"], ["pack", "x", "--out", "y", "--femur", "head"], ["pack", "x", "--out", "y", "--folds", "x"],
    ["verify", "x", "--sha256", "12"], ["pack", "x", "--out", "y", "--name", "a/b"]])
def test_wrong_options_are_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
