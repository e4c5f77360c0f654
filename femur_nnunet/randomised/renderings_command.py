"""``femur_renderings``: a growing pool of randomised renderings of real hips, ready for ``convert_qct_sites``."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from femur_nnunet.argument_types import count, names, positive_count
from femur_nnunet.command_line import CommandResult, ExitCode, format_table, make_parser, run_command
from femur_nnunet.errors import UsageError
from femur_nnunet.phantom.label_maps import list_label_maps, map_name
from femur_nnunet.provenance import RunRecord
from femur_nnunet.randomised.contact_sheet import write_contact_sheet
from femur_nnunet.randomised.pool import POOL_FILE_NAME, TRAINING_MM, PoolSpec, grow_pool
from femur_nnunet.randomised.ranges import ranges_hash
from femur_nnunet.randomised.subjects import Subjects, draw_held_out


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``femur_renderings`` and return its exit code."""
    return run_command(build_parser(), _body, argv)


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = make_parser(
        "femur_renderings",
        "Render CT scans of the hips in label maps with everything about the image drawn at random, and masks with\n"
        "them. A pool grows: the same command with a larger --n adds renderings and leaves the others as they are.",
        "femur_renderings --label-maps hip_labels --n 400 --seed 1 --jobs 2 --out pool",
        out="folder of the pool, with manifest.csv for convert_qct_sites", jobs=True, seed=1)
    maps = parser.add_argument_group("anatomy")
    maps.add_argument("--label-maps", type=Path, required=True, metavar="DIR",
                      help="folder with one label map a subject (femora, hip bones, sacrum)")
    maps.add_argument("--label-map-numbers", default="", metavar="LIST",
                      help="label numbers, e.g. right_femur=1,left_femur=2 (the default)")
    maps.add_argument("--subjects", type=names, metavar="NAMES",
                      help="train on these maps alone: file names without suffix, comma-separated")
    held = maps.add_mutually_exclusive_group()
    held.add_argument("--held-out", type=names, default=(), metavar="NAMES",
                      help="maps whose renderings get the role test")
    held.add_argument("--held-out-count", type=count, default=0, metavar="N",
                      help="hold out so many maps, drawn by the seed")
    parser.add_argument("--n", type=positive_count, required=True, metavar="N", help="renderings of the whole pool")
    parser.add_argument("--finest", type=float, default=TRAINING_MM, metavar="MM",
                        help=f"render no voxel smaller than this (default: {TRAINING_MM:g}); finer scans are rendered "
                        "as a network of that spacing sees them")
    parser.add_argument("--map-cache", type=Path, metavar="DIR",
                        help="folder of prepared label maps (default: in the pool)")
    parser.add_argument("--preview", type=Path, metavar="FILE.png", help="also draw renderings into a picture")
    parser.add_argument("--preview-count", type=positive_count, default=20, metavar="N",
                        help="how many, the first by subject and number (default: 20)")
    return parser


def _body(arguments: argparse.Namespace) -> CommandResult:
    if not 0.5 <= arguments.finest <= 5.0:
        raise UsageError(f"--finest {arguments.finest:g}", expected="0.5 to 5 mm", action="change it")
    present = [map_name(path) for path in list_label_maps(arguments.label_maps)]
    held_out = arguments.held_out or draw_held_out(arguments.subjects or present, arguments.held_out_count,
                                                   arguments.seed)
    wanted = arguments.subjects and tuple(name for name in arguments.subjects
                                          if arguments.held_out or name not in held_out)
    spec = PoolSpec(arguments.label_maps, Subjects.choose(present, wanted=wanted, held_out=held_out), arguments.seed,
                    arguments.finest, arguments.label_map_numbers)
    record = RunRecord("femur_renderings", vars(arguments), seed=arguments.seed)
    summary = grow_pool(spec, arguments.n, arguments.out, jobs=arguments.jobs, quiet=arguments.quiet,
                        map_cache=arguments.map_cache)
    record.add_outputs([arguments.out / POOL_FILE_NAME, summary.manifest])
    record.counts = {"renderings": arguments.n, "rendered_now": summary.rendered,
                     "without_femur": summary.without_femur}
    record.details = {"ranges_sha256": ranges_hash(), "train": list(spec.subjects.train),
                      "held_out": list(spec.subjects.held_out)}
    if arguments.preview is not None:
        write_contact_sheet(arguments.out, arguments.preview, count=arguments.preview_count)
        record.add_outputs([arguments.preview])
    record.write(arguments.out, exit_code=ExitCode.OK)
    roles = Counter(row["role"] for row in summary.rows)
    lines = format_table(["role", "subjects", "renderings"], [
        ["train", len(spec.subjects.train), roles["train"]], ["test", len(spec.subjects.held_out), roles["test"]]])
    lines.append(f"{summary.rendered} rendered now, {summary.without_femur} without a femur that has a mask; "
                 f"next: convert_qct_sites --manifest {summary.manifest} --calibrate table --out nnUNet_raw")
    return CommandResult(ExitCode.OK, lines, {
        "out": str(arguments.out), "manifest": str(summary.manifest), "renderings": arguments.n,
        "rendered_now": summary.rendered, "rows": len(summary.rows), "ranges_sha256": ranges_hash()})
