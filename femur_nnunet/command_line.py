"""What all commands share: options, exit codes, logging, progress bars and the form of errors."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from femur_nnunet._version import __version__
from femur_nnunet.argument_types import count, dataset_number
from femur_nnunet.errors import FemurError

LOGGER_NAME = "femur_nnunet"
# Of a command that the user stopped, as shells have it.
STOPPED = 130
Item = TypeVar("Item")
_BAR_FORM = {"dynamic_ncols": True, "mininterval": 0.5}


class ExitCode(IntEnum):
    """Exit codes of every command."""

    OK = 0
    SOME_FAILED = 1
    USAGE = 2
    BUSY = 3


@dataclass
class CommandResult:
    """What a command hands back: its exit code, lines for people, and a summary for ``--json``.

    ``essential`` lines are the command's very product and are printed under ``--quiet`` too.
    """

    exit_code: ExitCode = ExitCode.OK
    lines: list[str] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    essential: bool = False


class CommandParser(argparse.ArgumentParser):
    """A parser whose refusals are JSON too where ``--json`` is among the words; so are those of its actions."""

    _words: Sequence[str] = ()
    _is_action = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, and remember the words for a refusal."""
        # An action's parser sees the words after its name alone: it has those of the whole command from above.
        if not self._is_action:
            self._words = list(sys.argv[1:] if args is None else args)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                for parser in action.choices.values():
                    parser._is_action, parser._words = True, self._words
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Tell what is wrong and end with exit code 2.

        Raises
        ------
        SystemExit
            Always.
        """
        if "--json" in self._words:
            print(json.dumps({"exit_code": int(ExitCode.USAGE), "error": message}, indent=2))
        super().error(message)


def make_parser(prog: str, description: str, example: str, *, out: str | None = None, jobs: bool = False,
                device: bool = False, seed: int | None = None) -> argparse.ArgumentParser:
    """Return a parser with the options that all commands share.

    Parameters
    ----------
    prog : str
        Name of the command.
    description : str
        What it does, in one or two sentences.
    example : str
        A command line that works, shown below the options.
    out : str, optional
        Help of ``--out``; without it the command has no such option.
    jobs, device : bool
        Whether the command has ``--jobs`` (0 means all processors) or ``--device``.
    seed : int, optional
        Default of ``--seed``; without it the command has no such option.
    """
    parser = CommandParser(
        prog=prog, description=description, epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter)
    common = parser.add_argument_group("common options")
    if out is not None:
        common.add_argument("--out", type=Path, required=True, metavar="DIR", help=out)
    if jobs:
        common.add_argument("--jobs", type=count, default=0, metavar="N",
                            help="worker processes; 0 means one for each processor (default: 0)")
    if device:
        common.add_argument("--device", choices=("cpu", "cuda", "mps"), default="cpu",
                            help="where networks run (default: cpu)")
    if seed is not None:
        common.add_argument("--seed", type=count, default=seed, metavar="N",
                            help=f"seed of every random choice (default: {seed})")
    _add_output_options(common)
    common.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def add_dataset_id(group: argparse._ActionsContainer, default: int | None = None) -> None:
    """Add ``-d``, ``--dataset-id``; without a default it has to be given."""
    group.add_argument("-d", "--dataset-id", type=dataset_number, default=default, required=default is None,
                       metavar="N", help="nnU-Net's number of the dataset"
                       + ("" if default is None else f" (default: {default})"))


def add_action(actions: Any, name: str, description: str, example: str) -> argparse.ArgumentParser:
    """Return the parser of one action of a command that has several, as ``femur_model show``.

    Parameters
    ----------
    actions : object
        What the command's parser returned from ``add_subparsers``.
    name, description, example : str
        As in :func:`make_parser`; the description's first line stands in the command's list of actions.
    """
    parser: argparse.ArgumentParser = actions.add_parser(
        name, help=description.splitlines()[0], description=description, epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter)
    # The command itself has these options too: what is not given here must not undo what was given before the action.
    _add_output_options(parser.add_argument_group("common options"), default=argparse.SUPPRESS)
    return parser


def _add_output_options(group: Any, default: Any = False) -> None:
    noise = group.add_mutually_exclusive_group()
    noise.add_argument("--quiet", action="store_true", default=default,
                       help="no progress bars, warnings and errors alone")
    noise.add_argument("--verbose", action="store_true", default=default, help="say more of what is done")
    group.add_argument("--json", action="store_true", default=default,
                       help="print the result as JSON on standard output")


def run_command(parser: argparse.ArgumentParser, body: Callable[[argparse.Namespace], CommandResult],
                argv: Sequence[str] | None = None) -> int:
    """Parse arguments, run ``body``, print its result and return the exit code.

    A :class:`FemurError` becomes one line on standard error; anything else is a defect and keeps its
    traceback.
    """
    arguments = parser.parse_args(argv)
    configure_logging(parser.prog, quiet=arguments.quiet, verbose=arguments.verbose)
    # Bars are for people. The log keeps its level: --json takes nothing away from standard error that tells of a fault.
    arguments.quiet = arguments.quiet or arguments.json
    try:
        with logging_redirect_tqdm(loggers=[logging.getLogger(LOGGER_NAME)]):
            result = body(arguments)
    except FemurError as error:
        return _tell_failure(parser.prog, error, as_json=arguments.json)
    except KeyboardInterrupt:
        stopped = "stopped; run the same command again to go on"
        print(f"{parser.prog}: {stopped}", file=sys.stderr)
        if arguments.json:
            print(json.dumps({"exit_code": STOPPED, "error": stopped}, indent=2))
        return STOPPED
    except OSError as error:
        # Names of files may be names of patients: they are told on request alone.
        where = f" at {error.filename}" if arguments.verbose and error.filename else ""
        failure = FemurError(f"a failure of reading or writing ({error.strerror or type(error).__name__}{where})",
                             expected="readable inputs and room on a writable disk",
                             action="mend it (--verbose names the file) and run the same command again")
        return _tell_failure(parser.prog, failure, as_json=arguments.json)
    shown = [json.dumps({"exit_code": int(result.exit_code), **result.summary}, indent=2)] if arguments.json else (
        result.lines if result.essential or not arguments.quiet else [])
    try:
        for line in shown:
            print(line)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough, as "| head" does; Python would complain again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return int(result.exit_code)


def _tell_failure(prog: str, failure: FemurError, *, as_json: bool) -> int:
    print(f"{prog}: error: {failure}", file=sys.stderr)
    if as_json:
        print(json.dumps({"exit_code": failure.exit_code, "error": str(failure)}, indent=2))
    return failure.exit_code


class _CommandHandler(logging.StreamHandler[Any]):
    """The handler of the command that runs; those of a program that calls commands stay beside it."""


class _LineFormatter(logging.Formatter):
    """One form for what commands tell: ``femur_eval: warning: ...``, as errors have it."""

    def __init__(self, prog: str) -> None:
        super().__init__()
        self.prog = prog

    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        return f"{self.prog}: {level}{super().format(record)}"


def configure_logging(prog: str, *, quiet: bool = False, verbose: bool = False) -> None:
    """Send this package's log to standard error, in the name of the command; the root logger is left alone."""
    logger = logging.getLogger(LOGGER_NAME)
    logger.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False
    handler = _CommandHandler()
    handler.setFormatter(_LineFormatter(prog))
    logger.handlers = [*(other for other in logger.handlers if not isinstance(other, _CommandHandler)), handler]


def get_logger(name: str) -> logging.Logger:
    """Return the logger of a module, below the package's own: ``get_logger(__name__)``."""
    return logging.getLogger(name if name.startswith(LOGGER_NAME) else f"{LOGGER_NAME}.{name}")


def progress(items: Iterable[Item], *, description: str, total: int | None = None,
             quiet: bool = False) -> Iterable[Item]:
    """Wrap ``items`` in a progress bar on standard error; no bar when ``quiet``."""
    if quiet:
        # Without a bar there must be none of its locks either: they are shared with forked processes, and one that is
        # killed while it holds them would stop this one for ever.
        return items
    return tqdm(items, desc=description, total=total, **_BAR_FORM)


def progress_bar(*, description: str, total: int | None = None, unit: str = "it", quiet: bool = False) -> Any:
    """Return a bar like that of :func:`progress` that is moved by hand; without ``total`` it counts alone."""
    return NoBar() if quiet else tqdm(desc=description, total=total, unit=unit, **_BAR_FORM)


class NoBar:
    """What stands for a bar that is not shown, without tqdm's locks (see :func:`progress`)."""

    def __enter__(self) -> NoBar:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, by: float = 1) -> None:
        """Take a step and show nothing."""

    def set_description(self, text: str) -> None:
        """Take a description and show nothing."""


def worker_count(jobs: int) -> int:
    """Return the number of workers that ``--jobs`` asks for; 0 means every processor of this process."""
    if jobs > 0:
        return jobs
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS has no affinity
        return os.cpu_count() or 1


def format_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Return the lines of a plain-text table, numbers to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max([len(title), *(len(row[column]) for row in cells)]) for column, title in enumerate(header)]

    def line(row: Sequence[str]) -> str:
        return "  ".join(cell.rjust(width) if _is_number(cell) else cell.ljust(width)
                         for cell, width in zip(row, widths, strict=True)).rstrip()

    return [line(list(header)), "  ".join("-" * width for width in widths), *(line(row) for row in cells)]


def _is_number(text: str) -> bool:
    return bool(text) and (text[0].isdigit() or (text[0] in "+-." and len(text) > 1))
