"""The frozen ranges of everything that is drawn, and the drawing itself, noted value by value."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

RANGES_FILE = Path(__file__).with_name("ranges_v3.json")


@dataclass(frozen=True)
class Range:
    """Where one value is drawn from.

    Attributes
    ----------
    kind : {"uniform", "log", "share", "choice"}
        Evenly between ``low`` and ``high``, evenly on a logarithmic scale, true with probability
        ``share``, or one of ``values``.
    why : str
        Reason of the range.
    """

    kind: Literal["uniform", "log", "share", "choice"]
    why: str
    low: float = 0.0
    high: float = 1.0
    share: float = 0.0
    values: tuple[Any, ...] = ()

    def holds(self, value: Any) -> bool:
        """Say whether a value lies in the range."""
        if self.kind == "share":
            return isinstance(value, bool)
        return value in self.values if self.kind == "choice" else bool(self.low <= value <= self.high)

    def draw(self, rng: np.random.Generator) -> Any:
        """Draw a value; every kind takes one number of the generator, so that ranges can change alone."""
        at = float(rng.random())
        if self.kind == "share":
            return at < self.share
        if self.kind == "choice":
            return self.values[int(at * len(self.values))]
        if self.kind == "log":
            return round(float(np.clip(self.low * (self.high / self.low) ** at, self.low, self.high)), 6)
        return round(self.low + at * (self.high - self.low), 6)


@lru_cache(maxsize=1)
def load_ranges() -> dict[str, Range]:
    """Return the ranges by the name of the drawn quantity."""
    content = json.loads(RANGES_FILE.read_text(encoding="utf-8"))
    return {name: Range(**{**entry, "values": tuple(entry.get("values", ()))})
            for name, entry in content["draws"].items()}


def ranges_hash() -> str:
    """Return the SHA-256 of the file's bytes; it stands in every record."""
    return hashlib.sha256(RANGES_FILE.read_bytes()).hexdigest()


@dataclass
class Drawer:
    """Draws from the ranges and notes what came out.

    Attributes
    ----------
    rng : numpy.random.Generator
        Source of every number.
    ranges : dict
        By name.
    fixed : dict
        Values that are given instead of drawn, as an evaluation by one factor needs them. The number is
        drawn all the same, so that all else stays as it was.
    drawn : dict
        What came out, by name.
    """

    rng: np.random.Generator
    ranges: dict[str, Range] = field(default_factory=load_ranges)
    fixed: dict[str, Any] = field(default_factory=dict)
    drawn: dict[str, Any] = field(default_factory=dict)

    def __call__(self, name: str, noted_as: str | None = None) -> Any:
        """Draw one quantity; ``noted_as`` tells draws of the same range apart, as of both legs."""
        value = self.ranges[name].draw(self.rng)
        key = noted_as or name
        value = self.fixed.get(key, value)
        self.drawn[key] = value
        return value
