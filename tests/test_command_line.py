from __future__ import annotations

import json
import logging
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from tqdm import tqdm

from femur_nnunet.command_line import (
    CommandResult,
    ExitCode,
    format_table,
    get_logger,
    make_parser,
    progress_bar,
    run_command,
    worker_count,
)
from femur_nnunet.errors import FemurError, TargetBusyError, UsageError
from femur_nnunet.provenance import RunRecord


def parser():
    return make_parser("femur_try", "Tries.", "femur_try --out DIR", out="folder", jobs=True, seed=1)


@pytest.mark.parametrize(("error", "code"), [(FemurError, 1), (UsageError, 2), (TargetBusyError, 3)])
def test_an_error_is_one_line_and_its_exit_code(error, code, capsys, tmp_path):
    def body(_):
        raise error("two", expected="one", action="remove a row.", subject="row 3")

    assert run_command(parser(), body, ["--out", str(tmp_path)]) == code
    assert capsys.readouterr().err == "femur_try: error: row 3: found two; expected one; remove a row.\n"


def test_a_full_disk_is_one_line_that_names_the_file_on_request_alone(capsys, tmp_path):
    def body(_):
        raise OSError(28, "No space left on device", "/scans/jane_doe")

    assert run_command(parser(), body, ["--out", str(tmp_path)]) == 1
    quiet = capsys.readouterr().err
    assert quiet.startswith("femur_try: error: found a failure of reading or writing (No space left on device);")
    assert "jane_doe" not in quiet
    run_command(parser(), body, ["--out", str(tmp_path), "--verbose"])
    assert "jane_doe" in capsys.readouterr().err


def test_a_full_disk_is_told_as_json_too(capsys, tmp_path):
    def body(_):
        raise OSError(28, "No space left on device")

    assert run_command(parser(), body, ["--out", str(tmp_path), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["exit_code"] == 1
    assert "No space left on device" in told["error"]


def test_a_warning_stands_in_the_commands_name_as_an_error_does(capsys, tmp_path):
    def body(_):
        get_logger("femur_nnunet.try").warning("one slice is %s", "missing")
        get_logger("femur_nnunet.try").info("said without a level")
        return CommandResult()

    run_command(parser(), body, ["--out", str(tmp_path)])
    assert capsys.readouterr().err == "femur_try: warning: one slice is missing\nfemur_try: said without a level\n"
    run_command(parser(), body, ["--out", str(tmp_path), "--quiet"])
    assert capsys.readouterr().err == "femur_try: warning: one slice is missing\n"


def test_json_hides_the_bars(tmp_path):
    seen = []

    def body(arguments):
        seen.append(arguments.quiet)
        return CommandResult()

    for options in ([], ["--json"], ["--quiet"]):
        run_command(parser(), body, ["--out", str(tmp_path), *options])
    assert seen == [False, True, True]


def test_a_stopped_command_says_so_in_json(capsys, tmp_path):
    def body(_):
        raise KeyboardInterrupt

    assert run_command(parser(), body, ["--out", str(tmp_path), "--json"]) == 130
    assert json.loads(capsys.readouterr().out)["exit_code"] == 130


def test_a_program_that_calls_a_command_keeps_its_own_log(tmp_path):
    logger, own = logging.getLogger("femur_nnunet"), logging.NullHandler()
    logger.addHandler(own)
    try:
        run_command(parser(), lambda _: CommandResult(), ["--out", str(tmp_path)])
        once = len(logger.handlers)
        run_command(parser(), lambda _: CommandResult(), ["--out", str(tmp_path)])
        assert own in logger.handlers
        assert len(logger.handlers) == once
    finally:
        logger.removeHandler(own)


def test_a_bar_that_is_not_shown_takes_none_of_tqdms_locks(monkeypatch):
    monkeypatch.setattr(tqdm, "get_lock", lambda: pytest.fail("a lock that forked processes share"))
    with progress_bar(description="steps", total=3, quiet=True) as bar:
        bar.set_description("first")
        bar.update()


def test_the_run_record_holds_no_option_of_display(tmp_path):
    """--json sets --quiet for the bars: as a record of what was asked for that would be untrue."""
    record = RunRecord("femur_try", {"n": 3, "quiet": True, "json": True, "verbose": False})
    assert json.loads(record.write(tmp_path, exit_code=0).read_text())["arguments"] == {"n": 3}


def test_a_reader_who_has_seen_enough_is_no_error(tmp_path):
    program = Path(sys.executable).parent / "femur_env"
    result = subprocess.run(f"'{program}' --root '{tmp_path}' | true", shell=True, capture_output=True, text=True,
                            check=False)
    assert result.stderr == ""


def test_json_is_all_that_stands_on_standard_output(capsys, tmp_path):
    result = CommandResult(ExitCode.SOME_FAILED, lines=["for people"], summary={"n": 3})
    assert run_command(parser(), lambda _: result, ["--out", str(tmp_path), "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {"exit_code": 1, "n": 3}


def test_wrong_options_are_exit_code_2(tmp_path):
    with pytest.raises(SystemExit) as caught:
        run_command(parser(), lambda _: CommandResult(), ["--jobs", "-2", "--out", str(tmp_path)])
    assert caught.value.code == 2


def test_an_error_survives_the_way_out_of_a_worker():
    error = UsageError("two", expected="one", action="remove a row", subject="row 3")
    copied = pickle.loads(pickle.dumps(error))
    assert type(copied) is UsageError
    assert str(copied) == str(error)


def test_zero_jobs_means_every_processor():
    assert worker_count(0) >= 1
    assert worker_count(3) == 3


def test_a_table_puts_numbers_to_the_right():
    assert format_table(("site", "n"), [("tulane", 8), ("x", 12)]) == [
        "site    n", "------  --", "tulane   8", "x       12"]


def test_the_run_record_says_what_was_run_and_can_hide_paths(tmp_path):
    record = RunRecord("femur_try", {"out": tmp_path, "n": 3}, seed=7, hide_paths=True)
    content = json.loads(record.write(tmp_path, exit_code=0).read_text())
    assert content["arguments"] == {"out": "<path>", "n": 3}
    assert content["seed"] == 7
    assert content["versions"]["femur-nnunet"] == "0.1.0"
    assert {"started", "ended", "wall_seconds", "inputs_sha256", "outputs_sha256"} <= set(content)
