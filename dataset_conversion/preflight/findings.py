"""What a check says of a scan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

# In the order in which pages and tables show them; docs/preflight.md describes each one.
CHECKS: tuple[str, ...] = (
    "table row", "modality", "series", "rescale", "units", "slice positions", "slice thickness", "gantry tilt",
    "orientation", "reading", "voxel spacing", "hounsfield", "hip in view", "field of view", "laterality", "metal",
    "calibration", "mask", "mask components", "mask volume", "mask holes", "mask on bone", "mask extent",
    "same pixels")


class Verdict(IntEnum):
    """How bad it is; the larger, the worse."""

    GO = 0
    LOOK = 1
    STOP = 2

    @property
    def word(self) -> str:
        """The verdict in lower case, as tables write it."""
        return self.name.lower()


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes
    ----------
    check : str
        One of ``CHECKS``.
    verdict : Verdict
        Go, look (a person should look at the scan) or stop (the scan cannot be converted, or must not be).
    reason : str
        What was found and what was expected; no names of files or people. May be empty for ``GO``.
    mend : str
        What to do, as an imperative sentence; empty for ``GO``.

    Raises
    ------
    ValueError
        The check is none of ``CHECKS``.
    """

    check: str
    verdict: Verdict
    reason: str = ""
    mend: str = ""

    def __post_init__(self) -> None:
        if self.check not in CHECKS:
            raise ValueError(f"the check must be one of {CHECKS}, got {self.check!r}")


def go(check: str, reason: str = "") -> Finding:
    """Return a finding without anything to do."""
    return Finding(check, Verdict.GO, reason)


def look(check: str, reason: str, mend: str) -> Finding:
    """Return a finding that a person should look at."""
    return Finding(check, Verdict.LOOK, reason, mend)


def stop(check: str, reason: str, mend: str) -> Finding:
    """Return a finding that must be mended before the conversion."""
    return Finding(check, Verdict.STOP, reason, mend)


def worst(findings: Iterable[Finding]) -> Verdict:
    """Return the worst verdict; ``GO`` of nothing."""
    return max((finding.verdict for finding in findings), default=Verdict.GO)
