"""``femur_segment``: one scan in; mask, density, picture and warnings out."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from femur_nnunet.calibration.scan_calibration import CALIBRATION_MODES
from femur_nnunet.calibration.units import DENSITY_UNITS, DensityCalibration
from femur_nnunet.command_line import CommandResult, ExitCode, format_table, get_logger, make_parser, run_command
from femur_nnunet.errors import UsageError

_logger = get_logger(__name__)


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = make_parser(
        "femur_segment", "Segment the femora of one CT scan of the hips: mask on the scan's own grid, bone density, a "
        "picture,\nand warnings where the result is not to be trusted. Research use only.",
        "femur_segment scan_folder -m model.zip --out result", out="folder for the results", device=True)
    parser.add_argument("input", type=Path, metavar="INPUT",
                        help="folder, zip or tar of one DICOM CT series, or a NIfTI, MHA or NRRD file in HU")
    parser.add_argument("-m", "--model", type=Path, metavar="MODEL",
                        help="model bundle that femur_model pack wrote (default: the model in the box)")
    parser.add_argument("--side", choices=("left", "right", "both"),
                        help="which hips (default: both where two are in view, else the one that the bone shows)")
    parser.add_argument("--fast", action="store_true", help="one fold, patches further apart, no second view")
    parser.add_argument("--force", action="store_true", help="write a mask even where nothing looks like a hip")
    outputs = parser.add_argument_group("outputs beside segmentation.nii.gz, density.csv, preview.png and run.json")
    outputs.add_argument("--dicom-seg", action="store_true",
                         help="segmentation.dcm, which refers to the DICOM series and holds its patient's identity")
    outputs.add_argument("--uncertainty", action="store_true", help="uncertainty.nii.gz: 0 certain, 1 undecided")
    outputs.add_argument("--fe-export", action="store_true",
                         help="fe_export/: isotropic mask, density, regions and closed surface (STL) of each femur")
    density = parser.add_argument_group("density")
    density.add_argument("--density-slope", type=float, metavar="X", help="mg/cc per HU")
    density.add_argument("--density-intercept", type=float, metavar="X", help="mg/cc at 0 HU")
    density.add_argument("--density-unit", choices=DENSITY_UNITS, help="material that the density is expressed in")
    density.add_argument("--calibrate", choices=CALIBRATION_MODES, default="auto",
                         help="auto: the values given, else rods found in the image; table: the values alone; rods: "
                         "rods alone; tissue: as auto, else the patient's own tissue (default: auto)")
    density.add_argument("--phantom", metavar="NAME", help="calibration phantom in the scan (docs/calibration.md)")
    density.add_argument("--phantom-table", type=Path, metavar="FILE", help="JSON table of further phantoms")
    reading = parser.add_argument_group("DICOM series that are refused otherwise")
    reading.add_argument("--resample-irregular", action="store_true",
                         help="bring unevenly spaced slices onto their finest spacing")
    reading.add_argument("--correct-tilt", action="store_true", help="bring slices sheared by gantry tilt onto a grid")
    expert = parser.add_argument_group("how the networks look")
    expert.add_argument("--step", type=_share, metavar="X",
                        help="distance of patches as a share of their edge (default: 0.5, with --fast 0.75)")
    expert.add_argument("--no-localiser", action="store_true",
                        help="search whole halves in place of the box around each femur")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``femur_segment``."""
    return run_command(build_parser(), _run, argv)


def _run(arguments: argparse.Namespace) -> CommandResult:
    given = (arguments.density_slope, arguments.density_intercept, arguments.density_unit)
    if any(value is not None for value in given) and any(value is None for value in given):
        raise UsageError("a density scale in part", expected="all of slope, intercept and unit, or none",
                         action="give --density-slope, --density-intercept and --density-unit together")
    try:
        table = None if given[0] is None else DensityCalibration(given[2], given[0], given[1])
    except ValueError as error:
        raise UsageError(str(error), expected="a density scale of a CT scanner", action="correct --density-slope and "
                         "--density-intercept") from None
    if not arguments.input.exists():
        raise UsageError("no file or folder INPUT", expected="a DICOM folder, an archive or an image file",
                         action="correct the path")
    # Imported here: it brings torch and nnU-Net, seconds that --help and a wrong option need not wait for.
    from femur_nnunet.drivers.segment_scan import ScanOptions, segment_scan

    outcome = segment_scan(ScanOptions(
        input=arguments.input, model=arguments.model, out=arguments.out, side=arguments.side, fast=arguments.fast,
        device=arguments.device, force=arguments.force, dicom_seg=arguments.dicom_seg,
        uncertainty=arguments.uncertainty, fe_export=arguments.fe_export, table=table,
        calibrate=arguments.calibrate, phantom=arguments.phantom,
        phantom_table=arguments.phantom_table, resample_irregular=arguments.resample_irregular,
        correct_tilt=arguments.correct_tilt, step=arguments.step, localise=not arguments.no_localiser,
        quiet=arguments.quiet))
    for finding in outcome.findings:
        _logger.warning("%s", finding)
    found = outcome.summary["femora"]
    rows = [(femur["side"], f"{femur['volume_ml']:.1f}", _or_none(femur["shaft_mm"], "{:.0f}"),
             _or_none(femur["agreement"], "{:.3f}"), femur["looked_at"]) for femur in found]
    lines = [outcome.heading, *(format_table(("femur", "volume ml", "shaft mm", "agreement", "looked at"), rows)
                                if rows else ["No hip in the scan: no mask was written."]),
             *outcome.lines, f"results: {arguments.out}"]
    return CommandResult(ExitCode.OK if found else ExitCode.SOME_FAILED, lines, outcome.summary)


def _or_none(value: float | None, form: str) -> str:
    return "n/a" if value is None else form.format(value)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.1 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"needs a number from 0.1 to 1; got {text!r}")
    return value
