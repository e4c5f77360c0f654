"""``femur_box_model``: make the model in the box, from label maps to a packed bundle."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from femur_nnunet.argument_types import count, names, positive_count
from femur_nnunet.command_line import CommandResult, make_parser, run_command, worker_count
from femur_nnunet.drivers.box_model import (
    BUNDLE_NAME,
    SIZES,
    BoxRun,
    box_steps,
    described_pool,
    pack_step,
    plans_name,
    results_folder,
    write_card,
)
from femur_nnunet.drivers.steps import StepRunner
from femur_nnunet.files import hold_folder
from femur_nnunet.phantom.label_maps import list_label_maps, map_name
from femur_nnunet.provenance import RunRecord
from femur_nnunet.randomised.subjects import cross_validation_group


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = make_parser(
        "femur_box_model", "Make the model in the box: render scans from label maps, convert, plan, train, pack.\n"
        "Run again, it goes on where it stopped.", "femur_box_model --label-maps hip_labels --out box_model --jobs 1",
        out="folder for everything that is made", jobs=True, device=True, seed=1)
    parser.add_argument("--label-maps", type=Path, required=True, metavar="DIR",
                        help="folder with one label map a subject (femora, hip bones, sacrum)")
    parser.add_argument("--size", choices=tuple(SIZES), help="small for a CPU, full for a GPU (default: by --device)")
    held = parser.add_mutually_exclusive_group()
    held.add_argument("--held-out", type=names, default=(), metavar="NAMES",
                      help="subjects never trained on, comma-separated")
    held.add_argument("--held-out-count", type=count, default=4, metavar="N",
                      help="hold out so many subjects, drawn by the seed (default: 4)")
    held.add_argument("--held-out-group", type=_group, metavar="I/K",
                      help="hold out the I-th of K groups of subjects: K trainings are a cross-validation")
    parser.add_argument("--fold", default="all", metavar="all|N",
                        help="train on all subjects that are not held out (default), or without those of a fold")
    for name, text in (("n", "scans of the pool"), ("epochs", "epochs"), ("iterations", "steps of an epoch")):
        parser.add_argument(f"--{name}", type=positive_count, metavar="N", help=f"{text} in place of the size's")
    parser.add_argument("--map-cache", type=Path, metavar="DIR", help="folder of prepared label maps")
    parser.add_argument("--no-pack", action="store_true", help="stop at the trained network")
    return parser


def _group(text: str) -> tuple[int, int]:
    group, _, groups = text.partition("/")
    if not (group.isdecimal() and groups.isdecimal()):
        raise argparse.ArgumentTypeError(f"needs I/K, as in 1/5; got {text!r}")
    return int(group), int(groups)


def _held_out(arguments: argparse.Namespace) -> tuple[str, ...]:
    if arguments.held_out_group is None:
        return tuple(arguments.held_out)
    names = [map_name(path) for path in list_label_maps(arguments.label_maps)]
    group, groups = arguments.held_out_group
    return cross_validation_group(names, group, groups, arguments.seed)


def shown_command(arguments: Sequence[str]) -> str:
    """Return the command line for the card, of every path its last part alone: the rest is this machine's affair."""
    return shlex.join(["femur_box_model", *(
        part if part.startswith("-") or re.fullmatch(r"\d+/\d+", part) else Path(part).name for part in arguments)])


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``femur_box_model``."""
    return run_command(build_parser(), _run, argv)


def _run(arguments: argparse.Namespace) -> CommandResult:
    started = time.monotonic()
    list_label_maps(arguments.label_maps)  # a folder without any is told before anything is made
    folder = arguments.out.resolve()
    given = {"renderings": arguments.n, "epochs": arguments.epochs, "iterations_per_epoch": arguments.iterations}
    size = replace(SIZES[arguments.size or ("small" if arguments.device == "cpu" else "full")],
                   **{name: value for name, value in given.items() if value is not None})
    run = BoxRun(arguments.label_maps.resolve(), size, arguments.seed, _held_out(arguments), arguments.held_out_count,
                 arguments.fold, arguments.map_cache.resolve() if arguments.map_cache else None)
    record = RunRecord("femur_box_model", vars(arguments), seed=arguments.seed)
    steps = box_steps(folder, run, jobs=worker_count(arguments.jobs), device=arguments.device)
    with hold_folder(folder) as lock:
        runner = StepRunner(folder, quiet=arguments.quiet, held=(lock,))
        runner.run(steps)
        # The training's own seconds, also where it was made by an earlier call.
        card = write_card(folder, run, command=shown_command(sys.argv[1:]),
                          made=datetime.now(tz=timezone.utc).isoformat(timespec="minutes"), seconds=runner.seconds)
        if not arguments.no_pack:
            runner.run([*steps, pack_step(folder, run, subjects=len(described_pool(folder)["train"]))])
            record.add_outputs([folder / BUNDLE_NAME])
        record.details = {"step_seconds": {name: round(value, 1) for name, value in runner.seconds.items()},
                          "plans_name": plans_name(size)}
        record.add_outputs([card])
        record.write(folder, exit_code=0)
    made = results_folder(folder, size) if arguments.no_pack else folder / BUNDLE_NAME
    return CommandResult(lines=[f"{made}, card {card}", f"Time: {(time.monotonic() - started) / 60:.1f} minutes"],
                         summary={"made": str(made), "card": str(card), "seconds": record.details["step_seconds"]})
