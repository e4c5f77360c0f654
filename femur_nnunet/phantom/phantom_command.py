"""``femur_phantom``: write a synthetic two-site QCT cohort, or a picture of one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from femur_nnunet.command_line import CommandResult, ExitCode, format_table, make_parser, run_command
from femur_nnunet.errors import UsageError
from femur_nnunet.files import sha256_of_file
from femur_nnunet.phantom.cohort_plan import PRESETS, SITES, CohortSpec, with_scan_counts
from femur_nnunet.phantom.cohort_writing import write_cohort
from femur_nnunet.phantom.preview import write_preview
from femur_nnunet.phantom.scan_grid import SCAN_SIZES
from femur_nnunet.phantom.tiers import AXIS_NAMES, TIER_NAMES, tier_hash
from femur_nnunet.provenance import RunRecord

_COUNTS = ("n_tulane", "n_rochester", "n_test_tulane", "n_test_rochester")
_SHARES = ("share_women", "unlabelled_share_tulane", "unlabelled_share_rochester")


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``femur_phantom`` and return its exit code."""
    return run_command(build_parser(), _body, argv)


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = make_parser(
        "femur_phantom",
        "Write a synthetic two-site cohort of bilateral hip QCT scans: DICOM, NIfTI and MHA images, masks, "
        "metadata tables and full truth. Tulane is the source site; Rochester differs by tier.",
        "femur_phantom --out phantom_cohort --preset tiny --seed 1 --jobs 2",
        out="folder for the site folders tulane/ and rochester/", jobs=True, seed=1)
    cohort = parser.add_argument_group("cohort")
    cohort.add_argument("--preset", choices=sorted(PRESETS), default="demo",
                        help="named cohort that the other options change (default: demo)")
    cohort.add_argument("--n", type=int, nargs=2, metavar=("TULANE", "ROCHESTER"),
                        help="scans of each site, second visits included; the preset's make-up is kept")
    for name in _COUNTS:
        cohort.add_argument(_option(name), type=int, metavar="N", help=_COUNT_HELP[name])
    for name in _SHARES:
        cohort.add_argument(_option(name), type=float, metavar="X", help=f"{_SHARE_HELP[name]}, 0 to 1")
    cohort.add_argument("--second-visit-share", type=float, metavar="X",
                        help="share of participants scanned twice, 0 to 1")
    cohort.add_argument("--size", choices=sorted(SCAN_SIZES), help="matrix and spacing of the scans")
    maps = parser.add_argument_group("bones of real hips instead of the analytic ones")
    maps.add_argument("--label-maps", metavar="DIR", help="folder with one label map a subject (femora, hip bones, "
                      "sacrum); sites and roles share no subject")
    maps.add_argument("--label-map-subjects", metavar="NAMES",
                      help="use these maps alone: file names without suffix, comma-separated")
    maps.add_argument("--label-map-numbers", metavar="LIST",
                      help="label numbers, e.g. right_femur=1,left_femur=2,right_hip_bone=3,left_hip_bone=4,sacrum=5 "
                      "(the default)")
    shift = parser.add_argument_group("shift of Rochester against Tulane")
    shift.add_argument("--tier", choices=TIER_NAMES, help="tier on all three axes (default: moderate)")
    for axis in AXIS_NAMES:
        shift.add_argument(f"--{axis}-tier", choices=TIER_NAMES, help=f"tier on the {axis} axis alone")
    parser.add_argument("--preview", type=Path, metavar="FILE.png",
                        help="also draw the first scan of each site into a picture")
    return parser


_COUNT_HELP = {"n_tulane": "participants of Tulane", "n_rochester": "participants of Rochester",
               "n_test_tulane": "test participants among those of Tulane",
               "n_test_rochester": "test participants among those of Rochester"}
_SHARE_HELP = {"share_women": "share of women",
               "unlabelled_share_tulane": "share of Tulane's training participants without a mask",
               "unlabelled_share_rochester": "share of Rochester's training participants without a mask"}


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _spec(arguments: argparse.Namespace) -> CohortSpec:
    changes: dict[str, Any] = {"seed": arguments.seed}
    for name in (*_COUNTS, *_SHARES, "size", "label_maps", "label_map_subjects", "label_map_numbers"):
        if getattr(arguments, name) is not None:
            changes[name] = getattr(arguments, name)
    for axis in AXIS_NAMES:
        tier = getattr(arguments, f"{axis}_tier") or arguments.tier
        if tier is not None:
            changes[f"{axis}_tier"] = tier
    base = PRESETS[arguments.preset]
    if arguments.n is not None:
        base = with_scan_counts(base, *arguments.n)
    spec = replace(base, **changes)
    if spec.n_rochester == 0 and any(f"{axis}_tier" in changes for axis in AXIS_NAMES):
        raise UsageError("a tier for a cohort without scans of Rochester", expected="scans that it describes",
                         action="give --n-rochester, or leave the tier out: Tulane is the source, tier none")
    share = arguments.second_visit_share
    if share is None:
        return spec
    if not 0.0 <= share <= 1.0:
        raise UsageError(f"a share of second visits of {share}", expected="a share from 0 to 1",
                         action="change --second-visit-share")
    return replace(spec, **{f"second_visits_{site}": round(share * spec.count(site)) for site in SITES})


def _body(arguments: argparse.Namespace) -> CommandResult:
    spec = _spec(arguments)
    record = RunRecord("femur_phantom", vars(arguments), seed=arguments.seed)
    summary = write_cohort(spec, arguments.out, jobs=arguments.jobs, quiet=arguments.quiet)
    if arguments.preview is not None:
        write_preview(spec, arguments.preview)
        record.add_outputs([arguments.preview])
    # Both tables have the same file name, so they are recorded with their site.
    record.outputs.update({f"{site}/{path.name}": sha256_of_file(path)
                           for site, path in summary.metadata.items()})
    record.counts = {"scans": summary.scans, "participants": summary.participants}
    record.details = {"tiers_sha256": tier_hash(), "reused": summary.reused}
    if not summary.reused:
        record.write(arguments.out, exit_code=ExitCode.OK)
    rows = []
    for site in SITES:
        members = summary.rows[site]
        rows.append([site, len(members), len({row["participant_id"] for row in members}),
                     sum(row["role"] == "test" for row in members), sum(bool(row["mask"]) for row in members),
                     sum(row["sex"] == "F" for row in members), summary.metadata[site]])
    lines = format_table(
        ["site", "scans", "participants", "test scans", "with mask", "of women", "table"], rows)
    if summary.reused:
        lines.append("The folder already held exactly this cohort; nothing was rendered.")
    return CommandResult(ExitCode.OK, lines, {
        "out": str(arguments.out), "scans": summary.scans, "participants": summary.participants,
        "tiers_sha256": summary.tier_sha256, "reused": summary.reused,
        "metadata": {site: str(path) for site, path in summary.metadata.items()}})
