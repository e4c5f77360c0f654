"""What a reader may mend in a series; by default nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReadingRules:
    """What the user has asked for; without it such a series is refused.

    Attributes
    ----------
    resample_irregular : bool
        Bring unevenly spaced slices onto the finest even spacing among them.
    correct_tilt : bool
        Bring slices that slide within their plane (gantry tilt) onto a grid with right angles.
    """

    resample_irregular: bool = False
    correct_tilt: bool = False


STRICT = ReadingRules()
