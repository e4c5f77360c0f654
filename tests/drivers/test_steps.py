from __future__ import annotations

from dataclasses import replace

import pytest

from femur_nnunet.drivers.demo_command import demo_steps
from femur_nnunet.drivers.steps import Step, StepRunner
from femur_nnunet.errors import FemurError, TargetBusyError
from femur_nnunet.files import hold_folder


def step(name: str, code: str, **options) -> Step:
    return Step(name, name.title(), ("python", "-c", code), {}, **options)


def append(path, letter: str) -> str:
    return f"open({str(path)!r}, 'a').write('{letter}')"


def test_finished_steps_are_not_run_again(tmp_path):
    out = tmp_path / "out"
    steps = [step("one", append(out, "1")), step("two", append(out, "2"))]
    StepRunner(tmp_path, quiet=True).run(steps)
    StepRunner(tmp_path, quiet=True).run(steps)
    assert out.read_text() == "12"


def test_a_changed_step_is_run_again_and_all_after_it(tmp_path):
    out = tmp_path / "out"
    StepRunner(tmp_path, quiet=True).run([step(n, append(out, n)) for n in "abc"])
    changed = [step("a", append(out, "a")), step("b", append(out, "B")), step("c", append(out, "c"))]
    StepRunner(tmp_path, quiet=True).run(changed)
    assert out.read_text() == "abcBc"


def test_a_step_with_another_number_of_processes_is_the_same_step(tmp_path):
    out = tmp_path / "out"
    for jobs in ("1", "2"):
        first = step("a", append(out, "a"))
        StepRunner(tmp_path, quiet=True).run([replace(first, command=(*first.command, "--jobs", jobs))])
    assert out.read_text() == "a"


def test_an_interrupted_step_goes_on_with_its_own_argument(tmp_path):
    out = tmp_path / "out"
    code = f"import sys; open({str(out)!r}, 'a').write(repr(sys.argv[1:])); raise SystemExit(len(sys.argv) == 1)"
    for _ in range(2):
        try:
            StepRunner(tmp_path, quiet=True).run([step("train", code, resume_argument="--c")])
        except FemurError:
            continue
    assert out.read_text() == "[]['--c']"


def test_an_accepted_exit_code_is_remembered(tmp_path):
    steps = [step("evaluate", "raise SystemExit(1)", accepted_codes=(0, 1))]
    for _ in range(2):
        runner = StepRunner(tmp_path, quiet=True)
        runner.run(steps)
        assert runner.codes == {"evaluate": 1}


def test_a_failed_step_shows_its_last_lines_and_is_tried_again(tmp_path):
    failing = step("two", "print('it broke'); raise SystemExit(4)", bar_pattern="never")
    with pytest.raises(FemurError, match=r"exit code 4\n    it broke"):
        StepRunner(tmp_path, quiet=True).run([step("one", "pass"), failing])
    runner = StepRunner(tmp_path, quiet=True)
    runner.run([step("one", "pass"), step("two", "pass")])
    assert set(runner.seconds) == {"one", "two"}


def test_output_behind_a_bar_goes_to_the_log(tmp_path):
    StepRunner(tmp_path, quiet=True).run([step("train", "print('Epoch 0')", bar_pattern="Epoch", bar_total=1)])
    assert (tmp_path / "logs" / "train.log").read_text() == "Epoch 0\n"


def test_a_command_that_outlives_its_driver_keeps_the_folder_from_a_second_one(tmp_path):
    out, go = tmp_path / "out", tmp_path / "go"
    # The command leaves a process behind, as a driver that is killed leaves its command.
    code = ("import os, pathlib, time\nif os.fork() == 0:\n    os.close(1), os.close(2)\n    for _ in range(200):\n"
            f"        pathlib.Path({str(go)!r}).exists() and os._exit(0)\n        time.sleep(0.05)\n    os._exit(0)")
    with hold_folder(out) as lock:
        StepRunner(tmp_path, quiet=True, held=(lock,)).run([step("train", code)])
    with pytest.raises(TargetBusyError), hold_folder(out):
        pass
    go.touch()


def test_the_demo_trains_and_predicts_with_nnunets_own_commands(tmp_path):
    commands = [s.command for s in demo_steps(tmp_path, seed=1, tier="moderate", jobs=2, device="cpu")]
    assert commands[3] == ("nnUNetv2_train", "501", "3d_fullres", "0", "-tr", "TransUNetDATrainer", "-device", "cpu")
    assert [command[0] for command in commands] == ["femur_phantom", "convert_qct_sites", "femur_plan",
                                                    "nnUNetv2_train", "nnUNetv2_predict", "femur_eval"]


def test_what_a_step_prints_goes_into_its_log_where_the_driver_is_quiet(tmp_path, capfd):
    StepRunner(tmp_path, quiet=True).run([step("one", "print('a table of its own')")])
    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "logs" / "one.log").read_text() == "a table of its own\n"
