"""Bone that is no part of a hip, drawn above the joints: what a femur is not."""

from __future__ import annotations

from femur_nnunet.phantom.anatomy import Participant
from femur_nnunet.phantom.body_shape import CENTRE_BEHIND_HEADS_MM
from femur_nnunet.phantom.foreign_bones import BoneShell, Ribs
from femur_nnunet.randomised.ranges import Drawer

# Nothing below this: the heads lie at 0 and the joint's roof ends some 40 mm above.
LOWEST_MM = 70.0
_SHELLS = (1, 2)
_RIB_PAIRS = 6


def draw_foreign_bones(drawer: Drawer, person: Participant, scan_top_mm: float) -> list[BoneShell | Ribs]:
    """Draw shells and ribs between the joints and a little above the scan's top.

    Parameters
    ----------
    drawer : Drawer
        Source of the draws; it is asked for all of them, whatever is shown.
    person : Participant
        Whose trunk they lie in.
    scan_top_mm : float
        Upper end of the scan above the heads.
    """
    shells = [shell for shell in (_draw_shell(drawer, person, scan_top_mm, number) for number in _SHELLS) if shell]
    ribs = _draw_ribs(drawer, person)
    return [*shells, *ribs]


def _draw_shell(drawer: Drawer, person: Participant, scan_top_mm: float, number: int) -> BoneShell | None:
    def draw(name: str, axis: str = "") -> float:
        noted = name.replace("shell", f"shell_{number}", 1) + (f"_{axis}" if axis else "")
        return float(drawer(name, noted))

    shown = bool(draw("shell"))
    radius = draw("shell_radius_mm")
    half = [radius * draw("shell_stretch", axis) for axis in "xyz"]
    across, deep, high = (draw("shell_at", axis) for axis in "xyz")
    cortex, cortex_hu, inner_hu = draw("shell_cortex_mm"), draw("shell_cortex_hu"), draw("shell_inner_hu")
    lowest = LOWEST_MM + half[2]
    # Half of the largest shells begin above the scan: their walls alone are seen.
    highest = max(scan_top_mm + 0.5 * half[2], lowest)
    centre = (0.8 * person.body.half_width_mm * across, CENTRE_BEHIND_HEADS_MM + 0.8 * person.body.half_depth_mm * deep,
              lowest + (highest - lowest) * (high + 1) / 2)
    visible = shown and centre[2] - half[2] < scan_top_mm
    return BoneShell(centre, (half[0], half[1], half[2]), min(cortex, 0.8 * min(half)), cortex_hu,
                     inner_hu) if visible else None


def _draw_ribs(drawer: Drawer, person: Participant) -> list[Ribs]:
    shown, radius, step, drop = drawer("ribs"), drawer("rib_radius_mm"), drawer("rib_step_mm"), drawer("rib_drop_mm")
    cortex_hu, inner_hu = drawer("rib_cortex_hu"), drawer("rib_inner_hu")
    wall = person.body.fat_mm + person.body.skin_mm + radius + 8.0
    back_end = (0.0, CENTRE_BEHIND_HEADS_MM, LOWEST_MM + radius + drop)
    return [Ribs(back_end, person.body.half_width_mm - wall, person.body.half_depth_mm - wall, _RIB_PAIRS, step, drop,
                 radius, cortex_hu, inner_hu)] if shown else []
