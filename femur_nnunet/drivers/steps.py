"""Running the commands of a driver one after the other: logged, timed, with a bar, and resumable."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from femur_nnunet._version import __version__
from femur_nnunet.command_line import progress_bar
from femur_nnunet.errors import FemurError
from femur_nnunet.files import canonical_json, read_json, sha256_of_text, write_json

_LINES_SHOWN_ON_FAILURE = 15


@dataclass(frozen=True)
class Step:
    """One command of a driver.

    Attributes
    ----------
    name : str
        Short name; also that of its log file.
    title : str
        What is shown to the user.
    command : tuple of str
        Program (of this environment) and arguments.
    environment : mapping
        Variables for this command alone.
    bar_pattern, bar_total : str, int
        With a pattern, output goes to the log file alone and a bar counts the lines that match it (of
        ``bar_total``, where that is known); without, the command shows its own bars.
    accepted_codes : tuple of int
        Exit codes with which the way goes on: 1 where a command has said which cases failed and has
        written the rest.
    resume_argument : str
        Argument with which an interrupted run of the same step goes on.
    """

    name: str
    title: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    bar_pattern: str = ""
    bar_total: int = 0
    accepted_codes: tuple[int, ...] = (0,)
    resume_argument: str = ""

    @property
    def identity(self) -> str:
        """Hash of what the step does, and with which version: a changed step is run again."""
        command = list(self.command)
        # How many processes work changes no result.
        if "--jobs" in command:
            at = command.index("--jobs")
            del command[at:at + 2]
        return sha256_of_text(canonical_json([__version__, *command]))


class StepRunner:
    """Runs steps in a folder and remembers which are done.

    Parameters
    ----------
    folder : Path
        Holds the logs and the file of finished steps.
    quiet : bool
        No bars.
    held : sequence of int
        File descriptors that the commands hold as well. With that of a lock among them, a command that outlives a
        killed driver keeps its folder from a second one.
    """

    def __init__(self, folder: Path, *, quiet: bool, held: Sequence[int] = ()) -> None:
        self.logs = folder / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.state_path = folder / "steps_done.json"
        self.quiet = quiet
        self.held = tuple(held)
        self.seconds: dict[str, float] = {}
        self.codes: dict[str, int] = {}

    def run(self, steps: list[Step]) -> None:
        """Run the steps that are not done; once one runs, all after it run too.

        Raises
        ------
        FemurError
            A command ended with another exit code than 0; its log is named.
        """
        done = (read_json(self.state_path, what="the driver's list of finished steps", action="delete it")
                if self.state_path.exists() else {})
        stale = False
        for number, step in enumerate(steps, start=1):
            heading = f"[{number}/{len(steps)}] {step.title}"
            recorded = done.get(step.name, {})
            if not stale and recorded.get("identity") == step.identity and "seconds" in recorded:
                self.seconds[step.name] = recorded["seconds"]
                self.codes[step.name] = recorded.get("code", 0)
                self._say(f"{heading}: done before")
                continue
            interrupted = not stale and recorded.get("identity") == step.identity
            stale = True
            extra = (step.resume_argument,) if interrupted and step.resume_argument else ()
            self._say(f"{heading}\n    {shlex.join((*step.command, *extra))}")
            done = {name: entry for name, entry in done.items() if name in self.seconds}
            write_json(self.state_path, {**done, step.name: {"identity": step.identity}})
            self.seconds[step.name] = self._run_one(step, extra)
            done[step.name] = {"identity": step.identity, "seconds": round(self.seconds[step.name], 1),
                               "code": self.codes[step.name]}
            write_json(self.state_path, done)

    def _run_one(self, step: Step, extra: tuple[str, ...]) -> float:
        started = time.monotonic()
        log = self.logs / f"{step.name}.log"
        command = [_program(step.command[0]), *step.command[1:], *extra]
        # Programs of this environment find each other, whether or not it is activated.
        environment = {**os.environ, **step.environment, "PYTHONUNBUFFERED": "1",
                       "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])}
        # Under --quiet and --json the step's own tables and bars go into its log.
        if not step.bar_pattern and not self.quiet:
            code = subprocess.run(command, env=environment, pass_fds=self.held, check=False).returncode
            tail: list[str] = []
        else:
            code, tail = self._run_behind_bar(step, command, environment, log)
        self.codes[step.name] = code
        if code not in step.accepted_codes:
            shown = "".join(f"\n    {line}" for line in tail)
            where = f"the messages above and {log}" if tail else "the messages above"
            raise FemurError(f"exit code {code}{shown}", expected="exit code 0",
                             action=f"read {where}, mend the cause, and run the driver again: finished steps are "
                             "not repeated", subject=step.command[0])
        return time.monotonic() - started

    def _run_behind_bar(self, step: Step, command: list[str], environment: dict[str, str],
                        log: Path) -> tuple[int, list[str]]:
        pattern = re.compile(step.bar_pattern)
        tail: deque[str] = deque(maxlen=_LINES_SHOWN_ON_FAILURE)
        with (log.open("w", encoding="utf-8") as handle,
              progress_bar(description=f"    {step.name}", total=step.bar_total or None, quiet=self.quiet) as bar,
              subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               pass_fds=self.held, text=True, errors="replace") as process):
            assert process.stdout is not None
            for line in process.stdout:
                handle.write(line)
                handle.flush()
                tail.append(line.rstrip())
                if pattern.search(line):
                    bar.update()
        return process.returncode, list(tail)

    def _say(self, text: str) -> None:
        if not self.quiet:
            tqdm.write(text, file=sys.stderr)


def _program(name: str) -> str:
    """Return the program of this environment; what lies first on PATH may be another installation."""
    own = Path(sys.executable).parent / name
    return str(own) if own.exists() else name
