"""What all commands have in common: options, examples, the form of errors, exit codes. Called in this process."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import shlex
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from command_parsers import actions_of, console_scripts, parser_of

from femur_nnunet._version import __version__
from femur_nnunet.files import hold_folder

ROOT = Path(__file__).resolve().parents[1]
OUTPUT_OPTIONS = {"--quiet", "--verbose", "--json"}
ERROR = re.compile(r"(?P<prog>\w+): error: (\S.*: )?found .+; expected .+; .+\.\n")

# The same option means the same everywhere. These alone differ, for a reason.
DIFFERING = {
    "--n": "scans of two sites, or renderings",
    "--out": "femur_model packs into a file",
    "--scans": "a table, or the choice of those that are probed",
    "--fold": "a label in a table, a number, or 'all'",
    "--card": "shown, or read from a file",
    "--preset": "of a cohort, or of a plan",
    "--size": "of scans, or of a network",
    "--fe-export": "into a folder of its own, or beside the mask",
}

# A call that cannot be, and its exit code. {there} is an empty folder, {file} a file.
BAD_CALLS = {
    "convert_qct_sites": (["--manifest", "{there}/absent.csv", "--test-fraction", "1", "--out", "{there}/out"], 2),
    "femur_splits": (["-d", "501", "--raw", "{there}"], 2),
    "femur_plan": (["-d", "501"], 2),
    "femur_eval": (["{there}/p", "{there}/r", "--scans", "{there}/absent.tsv", "--out", "{there}/out"], 2),
    "femur_phantom": (["--second-visit-share", "2", "--out", "{there}/out"], 2),
    "femur_renderings": (["--label-maps", "{there}/absent", "--n", "1", "--out", "{there}/out"], 2),
    "femur_env": (["--root", "{file}"], 1),
    "femur_demo": (["--out", "{file}"], 1),
    "femur_box_model": (["--label-maps", "{there}/absent", "--out", "{there}/out"], 2),
    "femur_study": (["-d", "501", "--out", "{there}/out"], 2),
    "femur_probe": (["{there}/absent", "-d", "501", "--out", "{there}/out"], 2),
    "femur_segment": (["{there}/absent", "-m", "{there}/absent.zip", "--out", "{there}/out"], 2),
    "femur_model": (["show", "{there}/absent.zip"], 2),
}
# They take nothing that could be found wrong later than by the parser.
WITHOUT_BAD_CALL = {"femur_doctor", "femur_completion"}
# Commands that reach their target without data, and write into a folder.
HELD_CALLS = {
    "femur_demo": [],
    "femur_phantom": ["--preset", "tiny"],
}


COMMANDS = tuple(console_scripts())


def module_of(command):
    return importlib.import_module(console_scripts()[command].split(":")[0])


def parsers(command):
    """Yield the command's parser and those of its actions."""
    yield parser_of(command)
    yield from actions_of(parser_of(command)).values()


def options(parser):
    return [action for action in parser._actions
            if not isinstance(action, argparse._HelpAction | argparse._VersionAction | argparse._SubParsersAction)]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_parser_has_its_commands_name_and_the_options_of_all_commands(command):
    for parser in parsers(command):
        assert parser.prog.split()[0] == command
        assert set(parser._option_string_actions) >= OUTPUT_OPTIONS
        assert re.match("[A-Z].*[.]$", parser.description, flags=re.DOTALL) or " " in parser.prog
    assert "--version" in next(parsers(command))._option_string_actions


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("option", "told"), [("--help", "example:\n  "), ("--version", f" {__version__}\n")])
def test_help_and_version_are_printed_and_all_is_well(command, option, told, capsys):
    with pytest.raises(SystemExit) as ended:
        module_of(command).main([option])
    assert ended.value.code == 0
    printed = capsys.readouterr()
    assert command in printed.out
    assert told in printed.out
    assert printed.err == ""


def test_no_command_loads_networks_to_read_its_arguments():
    modules = [target.split(":")[0] for target in console_scripts().values()]
    code = (f"import importlib, sys; [importlib.import_module(name).build_parser() for name in {modules!r}]; "
            "sys.exit(any(name in sys.modules for name in ('torch', 'nnunetv2', 'matplotlib.pyplot')))")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_the_example_in_the_help_is_one_that_the_command_takes(command):
    for parser in parsers(command):
        example = parser.epilog.removeprefix("example:\n").replace("\\\n", " ")
        line = re.sub(r'^\s*eval "\$\((.*?)\)"(; )?', lambda found: "" if found[2] else found[1], example)
        words = shlex.split(re.sub(r"\$\(.*\)", "0" * 64, line))
        assert words[:len(parser.prog.split())] == parser.prog.split()
        next(parsers(command)).parse_args(words[1:])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_says_what_it_does_and_what_holds_without_it(command):
    for parser in parsers(command):
        for action in options(parser):
            name = (action.option_strings or [action.dest])[-1]
            assert action.help, name
            assert not action.help.endswith("."), name
            for option in action.option_strings:
                assert re.fullmatch(r"--[a-z0-9]+(-[a-z0-9]+)*|-[a-z]|-chk|-num_gpus", option), option
            if action.default not in (None, False, "", argparse.SUPPRESS) and action.default not in ([], ()):
                assert "default" in action.help, f"{name}: default {action.default}"


def test_an_option_of_several_commands_takes_the_same_values_in_each():
    forms = defaultdict(set)
    for command in COMMANDS:
        for parser in parsers(command):
            for action in options(parser):
                for option in action.option_strings:
                    choices = tuple(action.choices) if action.choices else None
                    forms[option].add((action.nargs, action.metavar, choices, type(action).__name__))
    assert {option for option, found in forms.items() if len(found) > 1} == set(DIFFERING)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_option_that_there_is_not_is_exit_code_2_and_told_in_the_commands_name(command, capsys):
    with pytest.raises(SystemExit) as ended:
        module_of(command).main(["--no-such-option"])
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines()[-1].startswith(f"{command}: error: ")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("words", [["--json", "--no-such-option"], ["--no-such-option", "--json"]])
def test_a_refused_option_is_json_on_request(command, words, capsys):
    with pytest.raises(SystemExit) as ended:
        module_of(command).main(words)
    assert ended.value.code == 2
    told = capsys.readouterr()
    answer = json.loads(told.out)
    assert answer["exit_code"] == 2
    assert told.err.splitlines()[-1] == f"{command}: error: {answer['error']}"


def test_an_action_refuses_in_json_wherever_the_option_stands_and_only_then(capsys):
    parser = parser_of("femur_model")
    told = []
    for words in (["--json", "show"], ["show"], ["show", "--json"], ["show"]):
        with pytest.raises(SystemExit):
            parser.parse_args(words)
        told.append(capsys.readouterr().out.startswith("{"))
    assert told == [True, False, True, False]


@pytest.mark.parametrize("command", BAD_CALLS)
def test_what_cannot_be_is_one_line_on_standard_error_and_json_on_request(command, tmp_path, monkeypatch, capsys):
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "file").write_text("x", encoding="utf-8")
    (tmp_path / "there").mkdir()
    words, code = BAD_CALLS[command]
    words = [word.format(there=tmp_path / "there", file=tmp_path / "file") for word in words]
    monkeypatch.setattr(sys, "argv", [command, *words])
    assert module_of(command).main([*words, "--json"]) == code
    told = capsys.readouterr()
    line = ERROR.fullmatch(told.err)
    assert line is not None, told.err
    assert line["prog"] == command
    assert json.loads(told.out) == {"exit_code": code, "error": told.err.partition(": error: ")[2].rstrip("\n")}
    assert not list((tmp_path / "there").iterdir())


def test_every_command_has_a_bad_call():
    assert set(BAD_CALLS) == set(COMMANDS) - WITHOUT_BAD_CALL


@pytest.mark.parametrize("command", HELD_CALLS)
def test_a_target_that_another_run_holds_is_exit_code_3(command, tmp_path, capsys):
    with hold_folder(tmp_path):
        assert module_of(command).main(["--out", str(tmp_path), *HELD_CALLS[command]]) == 3
    assert ERROR.fullmatch(capsys.readouterr().err)
