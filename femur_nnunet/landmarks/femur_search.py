"""How the landmarks of a femur are searched, one after another, in a left femur's frame."""

from __future__ import annotations

from typing import Any

import numpy as np

from femur_nnunet.landmarks.head_sphere import LEAST_CAP_SHARE, HeadSphere, direction_of_neck, find_head
from femur_nnunet.landmarks.sections import BoneVolume, Section, Vector, cross_section, fit_line
from femur_nnunet.regions import REFERENCE_HEAD_RADIUS_MM, SHAFT_BEGINS_BELOW_MM

# Doubts about what was found.
HEAD_INCOMPLETE = "head incomplete or not round"
NECK_NOT_SETTLED = "neck axis did not settle"
NO_WHOLE_NECK_SECTION = "no whole section of the neck"
NARROWEST_AT_THE_END = "narrowest section at the end of the neck"
SHAFT_AXIS_ASSUMED = "shaft axis assumed"
LEAST_SHAFT_MM = 25.0
# The axis is that of the upper shaft: further down the bow turns it, by a degree for each 17 mm.
AXIS_LENGTH_MM = 60.0
LEAST_BOW_MM = 80.0
SHAFT_STEP_MM = 2.0
_LOWEST_MM = 10.0
_LEAST_FOR_CURVATURE = 8
_TOO_SHORT = f"less than {LEAST_SHAFT_MM:.0f} mm of shaft below the lesser trochanter"
_ON_SHAFT = ("shaft_axis", "shaft_point_mm", "neck_shaft_angle_deg", "anteversion_deg", "offset_mm", "neck_length_mm",
             "trochanter_height_mm", "trochanter_width_mm", "lesser_trochanter_below_mm",
             "lesser_trochanter_reach_mm")


class FemurSearch:
    """Search in one femur, seen as a left one.

    Parameters
    ----------
    bone : BoneVolume
        The femur.
    surface_mm : ndarray
        Points on its surface, shape (n, 3); neither has a surface where the image cuts the shaft.
    line : ndarray
        Shape (3,), the direction to the lateral side that anteversion refers to.
    assumed_axis : ndarray or None
        Shaft axis to fall back on, a unit vector.
    """

    def __init__(self, bone: BoneVolume, surface_mm: Vector, line: Vector, assumed_axis: Vector | None,
                 subject: str) -> None:
        self.bone, self.surface, self.line, self.assumed = bone, surface_mm, line, assumed_axis
        self.lowest_mm = float(surface_mm[:, 2].min())
        self.missing: dict[str, str] = {}
        self.flags: list[str] = []
        self.head: HeadSphere = find_head(bone, surface_mm, subject)
        self.scale = self.head.radius_mm / REFERENCE_HEAD_RADIUS_MM

    def run(self) -> dict[str, Any]:
        """Return every quantity by its name in ``FemurLandmarks``."""
        head = self.head
        if head.cap_share < LEAST_CAP_SHARE:
            self.flags.append(HEAD_INCOMPLETE)
        neck_axis, narrowest_mm, section = self._neck()
        found: dict[str, Any] = {
            "head_centre_mm": head.centre_mm, "head_radius_mm": head.radius_mm,
            "head_residual_mm": head.residual_mm, "head_cap_share": head.cap_share, "neck_axis": neck_axis,
            "neck_narrowest_mm": narrowest_mm, "neck_half_minor_mm": section.half_minor_mm,
            "neck_half_major_mm": section.half_major_mm}
        found.update(self._shaft())
        if found["shaft_axis"] is not None:
            found.update(self._angles(neck_axis, found["shaft_axis"], found["shaft_point_mm"]))
        else:
            self.missing.update({name: _TOO_SHORT for name in _ON_SHAFT})
        return {**found, "missing": self.missing, "flags": tuple(self.flags)}

    def _neck(self) -> tuple[Vector, float, Section]:
        """Turn the axis until it runs from the head centre through the middle of the narrowest section."""
        centre, radius = self.head.centre_mm, self.head.radius_mm
        axis = direction_of_neck(self.bone, centre, radius)
        at_mm, narrowest = 0.0, None
        for _ in range(12):
            along = np.arange(0.85 * radius, 2.1 * radius, 1.0)
            cuts = [(t, cross_section(self.bone, centre + t * axis, axis, reach_mm=1.9 * radius)) for t in along]
            whole = [(t, cut) for t, cut in cuts if cut is not None and not cut.reaches_edge]
            if not whole:
                break
            at_mm, narrowest = min(whole, key=lambda pair: pair[1].area_mm2)
            # The mean of neighbouring sections: the narrowest one jumps back and forth where the neck is even.
            nearby = [cut.centroid_mm for t, cut in whole if abs(t - at_mm) < 2.5]
            turned = np.mean(nearby, axis=0) - centre
            turned /= np.linalg.norm(turned)
            change = float(np.degrees(np.arccos(np.clip(turned @ axis, -1, 1))))
            axis = axis + 0.7 * (turned - axis)
            axis /= np.linalg.norm(axis)
            if change < 0.15:
                break
        else:
            self.flags.append(NECK_NOT_SETTLED)
        if narrowest is None:
            self.flags.append(NO_WHOLE_NECK_SECTION)
            narrowest = Section(float("nan"), centre + axis, float("nan"), float("nan"), True)
        elif at_mm > 2.0 * radius or at_mm < 0.85 * radius + 0.5:
            self.flags.append(NARROWEST_AT_THE_END)
        return axis, float(at_mm), narrowest

    def _shaft(self) -> dict[str, Any]:
        begins = float(self.head.centre_mm[2]) - SHAFT_BEGINS_BELOW_MM * self.scale
        length = max(0.0, begins - self.lowest_mm)
        if length < LEAST_SHAFT_MM:
            self.missing["shaft_radius_mm"] = self.missing["bow_radius_mm"] = _TOO_SHORT
            axis = point = None
            if self.assumed is not None:
                self.flags.append(SHAFT_AXIS_ASSUMED)
                axis = self.assumed / np.linalg.norm(self.assumed)
                point = self._nearest_to_head(self._lowest_centroid(), axis)
            return {"shaft_length_mm": length, "shaft_axis": axis, "shaft_point_mm": point}
        axis = np.array([0.0, 0.0, -1.0])
        start = self._centroid_at(begins)
        sections: list[Section] = []
        for _ in range(3):
            sections = self._shaft_sections(start, axis, length)
            middles = np.array([cut.centroid_mm for cut in sections])
            start_on_axis, axis = fit_line(middles[:round(AXIS_LENGTH_MM / SHAFT_STEP_MM)])
            start = start_on_axis + axis * ((begins - start_on_axis[2]) / axis[2])
        areas = np.sort([cut.area_mm2 for cut in sections])[:max(3, len(sections) // 2)]
        return {"shaft_length_mm": length, "shaft_axis": axis, "shaft_point_mm": self._nearest_to_head(start, axis),
                "shaft_curvature_per_mm": _curvature(middles[:round(AXIS_LENGTH_MM / SHAFT_STEP_MM)], axis),
                "shaft_radius_mm": float(np.sqrt(areas.mean() / np.pi)),
                "bow_radius_mm": self._bow(middles, axis, length)}

    def _shaft_sections(self, start: Vector, axis: Vector, length: float) -> list[Section]:
        cuts = []
        for t in np.arange(0.0, length / abs(axis[2]) - 1.0, SHAFT_STEP_MM):
            cut = cross_section(self.bone, start + t * axis, axis, reach_mm=1.4 * self.head.radius_mm)
            # A tilted plane near the image's edge is cut by it.
            tilt = 1.0 * self.head.radius_mm * float(np.hypot(axis[0], axis[1]))
            if cut is not None and cut.centroid_mm[2] - tilt > self.lowest_mm:
                cuts.append(cut)
        return cuts

    def _bow(self, middles: Vector, axis: Vector, length: float) -> float | None:
        """Fit a parabola to the centroids seen from the side; the bow is convex to the front."""
        if length < LEAST_BOW_MM:
            self.missing["bow_radius_mm"] = f"less than {LEAST_BOW_MM:.0f} mm of shaft"
            return None
        along = (middles - middles[0]) @ axis
        backwards = np.cross(axis, self.line)
        backwards *= np.sign(backwards[1]) / np.linalg.norm(backwards)
        curvature = 2.0 * np.polyfit(along, middles @ backwards, 2)[0]
        if curvature < 1.0 / 5000.0:
            self.missing["bow_radius_mm"] = "the shaft in view is straight"
            return None
        return float(1.0 / curvature)

    def _centroid_at(self, height_mm: float) -> Vector:
        voxels = self.bone.centres_mm()
        step = float(self.bone.spacing_mm_xyz[2])
        return np.asarray(voxels[np.abs(voxels[:, 2] - height_mm) <= step].mean(axis=0))

    def _lowest_centroid(self) -> Vector:
        voxels = self.bone.centres_mm()
        return np.asarray(voxels[voxels[:, 2] < self.lowest_mm + _LOWEST_MM].mean(axis=0))

    def _nearest_to_head(self, point: Vector, axis: Vector) -> Vector:
        return np.asarray(point + ((self.head.centre_mm - point) @ axis) * axis)

    def _angles(self, neck: Vector, axis: Vector, point: Vector) -> dict[str, Any]:
        centre, up = self.head.centre_mm, -axis
        lateral_line = self.line - (self.line @ up) * up
        lateral_line /= np.linalg.norm(lateral_line)
        behind = np.cross(up, lateral_line)
        to_shaft = point - centre
        offset = float(np.linalg.norm(to_shaft))
        lateral = to_shaft / offset
        # Closest approach of the neck axis to the shaft axis.
        cosine = float(neck @ axis)
        length = float((to_shaft @ neck - cosine * (to_shaft @ axis)) / (1.0 - cosine ** 2))
        local = self.surface - centre
        height, beside = local @ up, local @ lateral - offset
        outer = beside > 0
        tip = self._lesser_trochanter(height, beside, local @ np.cross(up, lateral))
        return {
            "neck_shaft_angle_deg": float(np.degrees(np.arccos(np.clip(-cosine, -1, 1)))),
            "anteversion_deg": float(np.degrees(np.arctan2(neck @ behind, neck @ lateral_line))),
            "offset_mm": offset, "neck_length_mm": length,
            "trochanter_height_mm": float(height[outer].max()),
            "trochanter_width_mm": float(beside[outer & (height > -45.0 * self.scale)].max()),
            **tip}

    def _lesser_trochanter(self, height: Vector, beside: Vector, behind: Vector) -> dict[str, Any]:
        """Find the point that stands out furthest backwards and medially, below the neck."""
        if self.lowest_mm > self.head.centre_mm[2] - 62.0 * self.scale:
            reason = "the image ends at or above the lesser trochanter"
            self.missing.update(lesser_trochanter_below_mm=reason, lesser_trochanter_reach_mm=reason)
            return {}
        around = (height < -42.0 * self.scale) & (height > -78.0 * self.scale)
        outwards = -0.6 * beside[around] + 0.8 * behind[around]
        best = int(np.argmax(outwards))
        return {"lesser_trochanter_below_mm": float(-height[around][best]),
                "lesser_trochanter_reach_mm": float(np.hypot(beside[around][best], behind[around][best]))}


def _curvature(middles_mm: Vector, axis: Vector) -> Vector | None:
    """Return the second derivative of a centreline's distance from its axis, a vector across the axis."""
    if len(middles_mm) < _LEAST_FOR_CURVATURE:
        return None
    along = (middles_mm - middles_mm.mean(axis=0)) @ axis
    return np.asarray(2.0 * np.polyfit(along, middles_mm - along[:, None] * axis, 2)[0])
