from __future__ import annotations

import shutil
import subprocess

import pytest

from femur_nnunet.drivers.completion_command import SHELLS, completion_script, main
from femur_nnunet.drivers.model_command import build_parser as model_parser
from femur_nnunet.planners.plan_command import build_parser as plan_parser

# What is typed up to the Tab key, and what the shell then offers. The folder holds scans/ and scan.txt.
OFFERED = {
    "femur_plan --arch": {"--architecture"},
    "femur_plan --preset ": {"cpu", "gpu24", "gpu80"},
    "femur_model ": {"pack", "show", "verify", "export-nnunet"},
    "femur_model pack --fo": {"--folds"},
    "femur_model pack --preprocessed sc": {"scans"},
    "femur_model show sc": {"scans", "scan.txt"},
}
_ASK_BASH = """source ./completion
line=$1
read -r -a COMP_WORDS <<< "$line"
[[ $line == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
"_shtab_${COMP_WORDS[0]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "scans").mkdir()
    (tmp_path / "scan.txt").touch()
    return tmp_path


def write_script(folder, shell):
    text = "\n".join(completion_script(parser, shell) for parser in (plan_parser(), model_parser()))
    (folder / "completion").write_text(text, encoding="utf-8")


def offered(command, folder):
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert result.stderr == ""
    return {line.split("\t")[0].rstrip("/") for line in result.stdout.splitlines()}


@pytest.mark.parametrize("line", OFFERED)
def test_bash_offers_options_choices_actions_and_paths(line, folder):
    write_script(folder, "bash")
    assert offered(["bash", "-c", _ASK_BASH, "bash", line], folder) == OFFERED[line]


# Machines without these shells have no use of their scripts.
@pytest.mark.parametrize("line", [line for line in OFFERED if shutil.which("fish")])
def test_fish_offers_options_choices_actions_and_paths(line, folder):
    write_script(folder, "fish")
    assert offered(["fish", "-c", f"source ./completion; complete -C {line!r}"], folder) == OFFERED[line]


@pytest.mark.parametrize("shell", [name for name in ("zsh",) if shutil.which(name)])
def test_zsh_knows_the_commands_after_an_eval(shell, folder):
    write_script(folder, "zsh")
    ask = ('autoload -U compinit; compinit -D -u; eval "$(cat completion)"; '
           "print -l ${_comps[femur_plan]} ${_comps[femur_model]}")
    assert offered([shell, "-fc", ask], folder) == {"_shtab_femur_plan", "_shtab_femur_model"}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_command_prints_the_script_of_every_command(shell, capsys):
    assert main([shell, "--quiet"]) == 0
    printed = capsys.readouterr().out
    for command in ("convert_qct_sites", "femur_splits", "femur_plan", "femur_eval", "femur_segment", "femur_env"):
        assert f"_shtab_{command}" in printed
