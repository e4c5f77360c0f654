"""The analytic proximal femur: its surface, its axes, its regions and how thick its cortex is.

Everything is written in the *femur frame* of a left femur: origin in the head's centre, z along the
shaft axis upwards, x to the lateral side, y backwards. A right femur is the mirror image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.phantom.anatomy import FemurAnatomy
from femur_nnunet.phantom.shapes import (
    Coordinates,
    FloatArray,
    capsule,
    ellipse_tube,
    ellipsoid,
    smooth_intersection,
    smooth_step,
    smooth_union,
    sphere,
)
from femur_nnunet.regions import (
    HEAD_ENDS_AT_RADII,
    NECK_ENDS_BEFORE_SHAFT_AXIS_MM,
    REFERENCE_HEAD_RADIUS_MM,
    REGION_MAP_LABELS,
    SHAFT_BEGINS_BELOW_MM,
    Region,
)

# Height below the head centre for a head radius of 22.5 mm, as on the mean of the label maps.
LESSER_TROCHANTER_BELOW_MM = 50.0


@dataclass(frozen=True)
class FemurShape:
    """Geometry that follows from a :class:`FemurAnatomy`."""

    anatomy: FemurAnatomy

    @cached_property
    def scale(self) -> float:
        """Size against a femur of 22.5 mm head radius."""
        return self.anatomy.head_radius_mm / REFERENCE_HEAD_RADIUS_MM

    @cached_property
    def lateral(self) -> NDArray[np.float64]:
        """Horizontal unit vector of the neck, from the head to the shaft; turned backwards by anteversion."""
        angle = np.radians(self.anatomy.anteversion_deg)
        return np.array([np.cos(angle), np.sin(angle), 0.0])

    @cached_property
    def posterior(self) -> NDArray[np.float64]:
        """Horizontal unit vector across the neck, backwards."""
        return np.array([-self.lateral[1], self.lateral[0], 0.0])

    @cached_property
    def neck_axis(self) -> NDArray[np.float64]:
        """Unit vector from the head centre along the neck to the shaft."""
        angle = np.radians(self.anatomy.neck_shaft_angle_deg)
        # The angle between neck (towards the head) and shaft (downwards) is the neck-shaft angle.
        return self.lateral * np.sin(angle) + np.array([0.0, 0.0, np.cos(angle)])

    @cached_property
    def neck_length_mm(self) -> float:
        """Distance from the head centre to the shaft axis along the neck."""
        return float(self.anatomy.offset_mm / np.sin(np.radians(self.anatomy.neck_shaft_angle_deg)))

    @cached_property
    def neck_ends_at_mm(self) -> float:
        """Distance along the neck axis at which the trochanteric region begins."""
        return self.neck_length_mm - NECK_ENDS_BEFORE_SHAFT_AXIS_MM * self.scale

    @cached_property
    def shaft_point(self) -> NDArray[np.float64]:
        """Where the shaft axis passes the height of the head centre."""
        return self.lateral * self.anatomy.offset_mm

    def along_neck(self, at: Coordinates) -> FloatArray:
        """Return the coordinate along the neck axis in mm, 0 in the head centre."""
        axis = self.neck_axis.astype(np.float32)
        return at.x * axis[0] + at.y * axis[1] + at.z * axis[2]

    def field(self, at: Coordinates) -> FloatArray:
        """Return the field of the periosteal surface, negative inside, about a distance in mm."""
        anatomy, scale = self.anatomy, self.scale
        head = sphere(at, (0, 0, 0), anatomy.head_radius_mm)
        bone = smooth_union(self._shaft(at), self._greater_trochanter(at), 9.0 * scale)
        bone = smooth_union(bone, self._lesser_trochanter(at), 7.0 * scale)
        bone = smooth_union(bone, self._neck(at), 10.0 * scale)
        return smooth_union(head, bone, 4.0 * scale)

    def _neck(self, at: Coordinates) -> FloatArray:
        """Return an elliptic tube, narrowest about 1.1 head radii from the head centre."""
        anatomy, scale = self.anatomy, self.scale
        along = self.along_neck(at)
        across = self.posterior.astype(np.float32)
        upward = np.cross(self.neck_axis, self.posterior)
        upward = upward.astype(np.float32)
        widening = smooth_step(along, 1.15 * anatomy.head_radius_mm, self.neck_length_mm)
        tube = ellipse_tube(at.x * across[0] + at.y * across[1],
                            at.x * upward[0] + at.y * upward[1] + at.z * upward[2],
                            np.float32(anatomy.neck_half_minor_mm) * (1 + np.float32(0.22) * widening),
                            np.float32(anatomy.neck_half_major_mm) * (1 + np.float32(0.28) * widening))
        tube = smooth_intersection(tube, along - np.float32(self.neck_length_mm + 2 * scale), 10.0 * scale)
        return np.maximum(tube, -along)

    def _shaft(self, at: Coordinates) -> FloatArray:
        """Return a round tube with an anterior bow that flares upwards into the trochanteric region."""
        anatomy, scale = self.anatomy, self.scale
        below = np.maximum(-at.z - np.float32(LESSER_TROCHANTER_BELOW_MM * scale), np.float32(0))
        # The bow is convex to the front, so the axis first leads forwards on its way down.
        # Its mean direction over the upper 60 mm of shaft is that of z, the axis that landmarks find.
        middle = (SHAFT_BEGINS_BELOW_MM - LESSER_TROCHANTER_BELOW_MM) * scale + 30.0
        forwards = (below * np.float32(middle) - below * below / np.float32(2)) / np.float32(anatomy.bow_radius_mm)
        dx = at.x - np.float32(self.shaft_point[0])
        dy = at.y - np.float32(self.shaft_point[1]) + forwards
        flare = smooth_step(at.z, -108.0 * scale, -38.0 * scale)
        tube = ellipse_tube(dx, dy, np.float32(anatomy.shaft_radius_mm) * (1 + np.float32(0.36) * flare),
                            np.float32(anatomy.shaft_radius_mm) * (1 + np.float32(0.30) * flare))
        return smooth_intersection(tube, at.z + np.float32(20 * scale), 22.0 * scale)

    def _greater_trochanter(self, at: Coordinates) -> FloatArray:
        """Return a broad ridge on the lateral side, as high as the head centre, and the crest behind it."""
        scale, height = self.scale, self.anatomy.trochanter_height_mm
        width = self.anatomy.trochanter_width_mm
        body = capsule(at, self._beside_shaft(width - 11.5 * scale, 5.0 * scale, height - 10.0 * scale),
                       self._beside_shaft(width - 18.0 * scale, 2.0 * scale, -38.0 * scale),
                       9.5 * scale, 18.0 * scale)
        crest = capsule(at, self._beside_shaft(5.0 * scale, 14.0 * scale, height - 8.0 * scale),
                        self._beside_shaft(-5.0 * scale, 12.0 * scale, -46.0 * scale),
                        7.5 * scale, 8.0 * scale)
        return smooth_union(body, crest, 8.0 * scale)

    def _lesser_trochanter(self, at: Coordinates) -> FloatArray:
        scale, height = self.scale, self.anatomy.lesser_trochanter_mm
        centre = self._beside_shaft(-(6.5 * scale + height), 11.5 * scale,
                                    -LESSER_TROCHANTER_BELOW_MM * scale)
        return ellipsoid(at, centre, (height, height, 13.0 * scale))

    def _beside_shaft(self, lateral_mm: float, posterior_mm: float, height_mm: float) -> tuple[float, ...]:
        """Return the point at these distances from the shaft axis and this height above the head centre."""
        point = self.shaft_point + lateral_mm * self.lateral + posterior_mm * self.posterior
        return float(point[0]), float(point[1]), float(point[2] + height_mm)

    def region_map(self, at: Coordinates) -> NDArray[np.uint8]:
        """Return the region of every point, whether inside the bone or not, by ``REGION_MAP_LABELS``.

        The head ends at a plane across the neck axis, the neck at a second one; the shaft begins at a
        horizontal plane below the lesser trochanter.
        """
        along = self.along_neck(at)
        regions = np.full(along.shape, REGION_MAP_LABELS[Region.TROCHANTERIC], dtype=np.uint8)
        regions[along < self.neck_ends_at_mm] = REGION_MAP_LABELS[Region.NECK]
        regions[along < HEAD_ENDS_AT_RADII * self.anatomy.head_radius_mm] = REGION_MAP_LABELS[Region.HEAD]
        shaft = np.broadcast_to(at.z < -SHAFT_BEGINS_BELOW_MM * self.scale, regions.shape)
        regions[shaft] = REGION_MAP_LABELS[Region.SHAFT]
        return regions
