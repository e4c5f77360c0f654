"""The options of ``femur_eval`` that ask for texture."""

from __future__ import annotations

import argparse

from femur_nnunet.errors import UsageError
from femur_nnunet.evaluation.texture.options import DEFAULT_BIN_WIDTH_HU, DEFAULT_SPACING_MM, TextureOptions


def add_texture_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--texture`` and what goes with it."""
    group = parser.add_argument_group("texture, with --images")
    group.add_argument("--texture", action="store_true",
                       help="123 radiomic features by IBSI's definitions: radiomics.csv, and their agreement")
    group.add_argument("--texture-spacing-mm", type=float, default=DEFAULT_SPACING_MM, metavar="MM",
                       help="side of the voxels that scans are interpolated to; 0: each scan's own grid "
                            f"(default: {DEFAULT_SPACING_MM:g})")
    grey_levels = group.add_mutually_exclusive_group()
    grey_levels.add_argument("--texture-bin-width", type=float, default=DEFAULT_BIN_WIDTH_HU, metavar="HU",
                             help=f"width of a grey level (default: {DEFAULT_BIN_WIDTH_HU:g})")
    grey_levels.add_argument("--texture-bins", type=int, metavar="N",
                             help="divide the range of each mask into N grey levels instead")


def texture_options(arguments: argparse.Namespace) -> TextureOptions | None:
    """Return how texture is to be measured, or None where it was not asked for.

    Raises
    ------
    UsageError
        ``--texture`` without ``--images``, or a value out of range.
    """
    if not arguments.texture:
        return None
    if arguments.images is None:
        raise UsageError("--texture without --images", expected="the folder of scans", action="add --images DIR")
    return TextureOptions(spacing_mm=arguments.texture_spacing_mm or None, bin_width_hu=arguments.texture_bin_width,
                          bin_number=arguments.texture_bins)
