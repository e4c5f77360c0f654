"""A closed triangle surface of a bone, its topology, and STL files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import measure

from femur_nnunet.evaluation.fe_export.isotropic import FloatArray
from femur_nnunet.files import atomic_path
from femur_nnunet.landmarks.femur_regions import sound_bone

Vertices = NDArray[np.float64]
Faces = NDArray[np.int64]
# Takes off what the voxels leave on a surface between slices, and 0.1 % of a femur's volume.
SMOOTHING_VOXELS = 0.8
# Slicer and others read it; without it the frame of an STL file is anybody's guess.
_STL_HEADER = b"SPACE=LPS; UNIT=mm"


@dataclass(frozen=True)
class Surface:
    """Triangles, counter-clockwise seen from outside.

    Attributes
    ----------
    vertices : ndarray
        Shape (n, 3); x, y, z in mm.
    faces : ndarray
        Shape (m, 3); indices of vertices.
    """

    vertices: Vertices
    faces: Faces

    @property
    def volume_mm3(self) -> float:
        """Enclosed volume, by the divergence theorem."""
        a, b, c = (self.vertices[self.faces[:, corner]] for corner in range(3))
        return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6.0)

    @property
    def is_closed(self) -> bool:
        """Whether every edge belongs to exactly two triangles, which run along it in opposite directions."""
        directed = np.concatenate([self.faces[:, pair] for pair in ([0, 1], [1, 2], [2, 0])])
        count = len(self.vertices)
        there, back = directed[:, 0] * count + directed[:, 1], directed[:, 1] * count + directed[:, 0]
        return bool(len(np.unique(there)) == len(there) and np.array_equal(np.sort(there), np.sort(back)))

    @property
    def euler_characteristic(self) -> int:
        """Vertices - edges + faces: 2 for one surface without handles."""
        edges = np.sort(np.concatenate([self.faces[:, pair] for pair in ([0, 1], [1, 2], [2, 0])]), axis=1)
        used = len(np.unique(self.faces))
        return used - len(np.unique(edges, axis=0)) + len(self.faces)


def closed_surface(distance_mm: FloatArray, spacing_mm: float) -> Surface:
    """Return the surface of a bone on an isotropic grid, closed also where the image cuts the bone.

    Marching cubes (Lewiner et al., J Graph Tools 2003; 8:1-15) on the smoothed signed distance.

    Parameters
    ----------
    distance_mm : ndarray
        Shape (z, y, x), positive inside.
    spacing_mm : float
        Distance of voxels.

    Returns
    -------
    Surface
        Vertices x, y, z in mm from the centre of the first voxel.
    """
    smooth = ndimage.gaussian_filter(distance_mm.astype(np.float32), SMOOTHING_VOXELS, mode="nearest")
    bone = sound_bone(smooth > 0)
    # One body without cavities, and no value of exactly zero, which would make triangles without area.
    least = np.float32(1e-3 * spacing_mm)
    smooth = np.where(bone, np.maximum(smooth, least), np.minimum(smooth, -least))
    # Half a voxel beyond the grid's end the bone ends: there the distance has the other sign.
    padded = np.pad(smooth, 1, mode="edge")
    rim = np.ones(padded.shape, dtype=bool)
    rim[1:-1, 1:-1, 1:-1] = False
    padded[rim] = -np.abs(padded[rim])
    vertices, faces, _, _ = measure.marching_cubes(padded, 0.0, spacing=(spacing_mm,) * 3,
                                                   gradient_direction="descent")
    surface = Surface(vertices[:, ::-1].astype(np.float64) - spacing_mm, faces.astype(np.int64))
    if surface.volume_mm3 < 0:
        surface = Surface(surface.vertices, surface.faces[:, ::-1])
    return surface


def write_stl(path: Path, surface: Surface) -> None:
    """Write a binary STL file, atomically."""
    corners = surface.vertices[surface.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    triangles = np.zeros(len(corners), dtype=[("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    triangles["normal"], triangles["corners"] = normals, corners
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(_STL_HEADER.ljust(80, b" "))
        file.write(np.uint32(len(triangles)).astype("<u4").tobytes())
        file.write(triangles.tobytes())
