"""What values of options may be: each function reads one, or says what it needs and what it got."""

from __future__ import annotations

import argparse
import math

HIGHEST_DATASET_NUMBER = 999  # nnU-Net writes three digits


def count(text: str) -> int:
    """Read a whole number of 0 or more.

    Raises
    ------
    ArgumentTypeError
        It is another text; so in every function here.
    """
    return _whole_number(text, "0 or more", 0)


def positive_count(text: str) -> int:
    """Read a whole number above 0."""
    return _whole_number(text, "above 0", 1)


def dataset_number(text: str) -> int:
    """Read nnU-Net's number of a dataset, 1 to 999."""
    return _whole_number(text, f"from 1 to {HIGHEST_DATASET_NUMBER}", 1, HIGHEST_DATASET_NUMBER)


def positive_number(text: str) -> float:
    """Read a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"needs a number above 0; got {text!r}")
    return value


def names(text: str) -> tuple[str, ...]:
    """Read a list of names, comma-separated."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _whole_number(text: str, needed: str, lowest: int, highest: int | None = None) -> int:
    # isdecimal and not int(): that takes "1_000" and " 1" too.
    if not (text.isascii() and text.isdecimal()) or int(text) < lowest or (highest is not None and int(text) > highest):
        raise argparse.ArgumentTypeError(f"needs a whole number {needed}; got {text!r}")
    return int(text)
