"""Metal in one hip: an intramedullary nail with a lag screw, or a total hip prosthesis.

A hip with metal has no mask: the reference is the intact femur of the other side.
"""

from __future__ import annotations

import numpy as np

from femur_nnunet.phantom.femur_tissue import REFERENCE_HEAD_RADIUS_MM, FemurFrame
from femur_nnunet.phantom.findings import ImplantKind
from femur_nnunet.phantom.shapes import Coordinates, FloatArray, capsule, sphere

TITANIUM_HU, COBALT_CHROME_HU, LINER_HU = 7500.0, 10000.0, -90.0
CUP_THICKNESS_MM = 4.0
PROSTHETIC_HEAD_RADIUS_MM = 16.0
# Nails and stems are bent like a mean femur.
BOW_RADIUS_MM = 1000.0


def implant_parts(kind: ImplantKind, frame: FemurFrame, at: Coordinates, cup_axis: FloatArray,
                  ) -> list[tuple[FloatArray, float]]:
    """Return the fields (negative inside) and HU of an implant's parts; later parts cover earlier ones.

    Parameters
    ----------
    kind : {"nail", "prosthesis"}
        What was implanted.
    frame : FemurFrame
        Axes of the femur.
    at : Coordinates
        Points in the femur frame.
    cup_axis : ndarray
        Unit vector (femur frame) out of the cup's opening.
    """
    if kind == "nail":
        return _nail(frame, at)
    return _prosthesis(frame, at, cup_axis)


def _shaft_at(frame: FemurFrame, height_mm: float) -> tuple[float, float, float]:
    # The canal leads forwards below the trochanters like the shaft itself.
    below = max(-height_mm - 56.0 * frame.scale, 0.0)
    point = frame.shaft_point + np.array([0.0, -0.04 * below + below * below / (2 * BOW_RADIUS_MM), height_mm])
    return float(point[0]), float(point[1]), float(point[2])


def _nail(frame: FemurFrame, at: Coordinates) -> list[tuple[FloatArray, float]]:
    scale = frame.scale
    start = np.asarray(_shaft_at(frame, 6.0 * scale)) + 4.0 * scale * frame.lateral
    body = capsule(at, start, _shaft_at(frame, -50.0 * scale), 7.0, 5.5)
    lower = capsule(at, _shaft_at(frame, -50.0 * scale), _shaft_at(frame, -190.0 * scale), 5.5, 5.0)
    tip = frame.neck_axis * (-0.45 * REFERENCE_HEAD_RADIUS_MM * scale)
    end = frame.neck_axis * (frame.neck_length_mm + 22.0 * scale)
    screw = capsule(at, tip, end, 5.2, 5.2)
    return [(np.minimum(np.minimum(body, lower), screw), TITANIUM_HU)]


def _prosthesis(frame: FemurFrame, at: Coordinates, cup_axis: FloatArray) -> list[tuple[FloatArray, float]]:
    scale = frame.scale
    outer = REFERENCE_HEAD_RADIUS_MM * scale + 3.5
    from_centre = sphere(at, (0, 0, 0), 0.0)
    axis = cup_axis.astype(np.float32)
    opening = at.x * axis[0] + at.y * axis[1] + at.z * axis[2]
    shell = np.maximum(np.maximum(from_centre - np.float32(outer), opening),
                       np.float32(outer - CUP_THICKNESS_MM) - from_centre)
    liner = np.maximum(from_centre - np.float32(outer - CUP_THICKNESS_MM), opening)
    head = sphere(at, (0, 0, 0), PROSTHETIC_HEAD_RADIUS_MM)
    neck = capsule(at, (0, 0, 0), frame.neck_axis * (frame.neck_length_mm - 6 * scale), 6.5, 7.5)
    elbow = np.asarray(_shaft_at(frame, -24.0 * scale)) - 4.0 * scale * frame.lateral
    stem = np.minimum(capsule(at, frame.neck_axis * (frame.neck_length_mm - 10 * scale), elbow, 8.0, 9.0),
                      capsule(at, elbow, _shaft_at(frame, -135.0 * scale), 9.0, 4.5))
    return [(liner, LINER_HU), (shell, TITANIUM_HU), (np.minimum(neck, stem), TITANIUM_HU),
            (head, COBALT_CHROME_HU)]


def resected(frame: FemurFrame, at: Coordinates) -> FloatArray:
    """Return the field of the head and neck that a prosthesis replaces, negative inside."""
    cut = frame.along_neck(at) - np.float32(frame.neck_ends_at_mm - 8.0 * frame.scale)
    near = sphere(at, (0, 0, 0), 2.2 * REFERENCE_HEAD_RADIUS_MM * frame.scale)
    return np.maximum(cut, near)
