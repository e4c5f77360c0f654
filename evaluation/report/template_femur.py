"""A left femur of mean shape on which errors are shown, and pictures of it from four sides.

The shape is that of the synthetic kit with the mean of every quantity (anatomy_v1.json, measured on 22 pairs of
real hips): a surface given by a formula, so that no file of anybody's bone is carried along.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from skimage import measure

from femur_nnunet.phantom.anatomy import FemurAnatomy
from femur_nnunet.phantom.anatomy_file import load_anatomy
from femur_nnunet.phantom.femur_shape import FemurShape
from femur_nnunet.phantom.shapes import Coordinates

Points = NDArray[np.float64]
LOWEST_MM, HIGHEST_MM = -118.0, 30.0
_BOX_MM = ((-34.0, 88.0), (-46.0, 52.0), (LOWEST_MM, HIGHEST_MM))
MESH_STEP_MM = 2.0
PIXEL_MM = 0.6
_TRACING_STEPS, _SURFACE_MM = 80, 0.05
# Looking direction, direction to the right of the picture: a left femur.
VIEWS = {
    "from the front": ((0.0, 1.0, 0.0), (1.0, 0.0, 0.0)), "from behind": ((0.0, -1.0, 0.0), (-1.0, 0.0, 0.0)),
    "from medial": ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0)), "from lateral": ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0))}


@dataclass(frozen=True)
class View:
    """The template seen from one side.

    Attributes
    ----------
    points_mm : ndarray
        Shape (rows, columns, 3): what is seen, NaN beside the bone.
    brightness : ndarray
        Shape (rows, columns), 0..1, light from the viewer.
    """

    points_mm: Points
    brightness: Points


@dataclass(frozen=True, eq=False)
class TemplateFemur:
    """Mean left femur in its own frame: origin in the head's centre, z along the shaft upwards, x lateral, y backwards.

    Attributes
    ----------
    vertices_mm : ndarray
        Points (n, 3) on the surface, 1 to 2 mm apart; the cut through the shaft is no surface.
    mask_zyx : ndarray of bool
        The same as a mask on an even grid of ``step_mm`` whose first voxel lies at ``origin_mm_xyz``.
    shape : FemurShape
        The formula.
    """

    vertices_mm: Points
    mask_zyx: NDArray[np.bool_]
    origin_mm_xyz: tuple[float, float, float]
    shape: FemurShape
    step_mm: float = MESH_STEP_MM

    def view(self, name: str) -> View:
        """Return the surface seen from a side named in ``VIEWS``, by tracing rays to the formula's surface."""
        looking, right = (np.asarray(vector) for vector in VIEWS[name])
        low, high = (np.array([side[end] for side in _BOX_MM]) for end in (0, 1))
        across = np.sort([low @ right, high @ right])
        columns = np.arange(across[0], across[1], PIXEL_MM)
        rows = np.arange(HIGHEST_MM, LOWEST_MM, -PIXEL_MM)
        start = (rows[:, None, None] * np.array([0.0, 0.0, 1.0]) + columns[None, :, None] * right).reshape(-1, 3)
        start = start + min(low @ looking, high @ looking) * looking
        depth, farthest = np.zeros(len(start)), float(np.abs((high - low) @ looking))
        going, hit = np.arange(len(start)), np.zeros(len(start), dtype=bool)
        for _ in range(_TRACING_STEPS):
            ahead = self._field(start[going] + depth[going, None] * looking)
            # The joined field overstates distances here and there: go on by a part of them.
            depth[going] += 0.85 * ahead
            hit[going] = np.abs(ahead) < _SURFACE_MM
            going = going[~hit[going] & (depth[going] < farthest)]
        points = start + depth[:, None] * looking
        steps = 0.5 * np.eye(3)
        seen = points[hit]
        normals = np.stack([self._field(seen + step) - self._field(seen - step) for step in steps], axis=1)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
        brightness = np.zeros(len(points))
        brightness[hit] = np.clip(-normals @ looking, 0, 1)
        points[~hit] = np.nan
        size = len(rows), len(columns)
        return View(points.reshape(*size, 3), brightness.reshape(size))

    def _field(self, points_mm: Points) -> Points:
        x, y, z = np.ascontiguousarray(points_mm.T.astype(np.float32))
        return np.asarray(self.shape.field(Coordinates(x, y, z)), dtype=np.float64)


@lru_cache(maxsize=1)
def template_femur() -> TemplateFemur:
    """Return the template; made once a process."""
    quantities = load_anatomy().quantities
    shape = FemurShape(FemurAnatomy(**{item.name: quantities[item.name].mean for item in fields(FemurAnatomy)}))
    x, y, z = (np.arange(low, high, MESH_STEP_MM, dtype=np.float32) for low, high in _BOX_MM)
    field = shape.field(Coordinates(x[None, None, :], y[None, :, None], z[:, None, None]))
    found = measure.marching_cubes(field, 0.0)[0][:, ::-1] * MESH_STEP_MM + np.array([x[0], y[0], z[0]])
    return TemplateFemur(np.asarray(found, dtype=np.float64), field < 0, (float(x[0]), float(y[0]), float(z[0])), shape)
