from __future__ import annotations

import numpy as np
import pytest

from femur_nnunet.phantom.shapes import Coordinates, rescale_to_distance, sphere
from femur_nnunet.phantom.tissue import fill_bone, texture


def _shell(thickness_mm: float, step_mm: float) -> tuple[float, float]:
    """Return measured cortical volume and mineral of a sphere of 20 mm with a shell (mm3, mg/cc mm3)."""
    axis = np.arange(-26, 26, step_mm, dtype=np.float32)
    at = Coordinates(axis[None, None, :], axis[None, :, None], axis[:, None, None])
    distance, width = rescale_to_distance(sphere(at, (0.2, 0.1, -0.3), 20.0), (step_mm,) * 3)
    touched = distance < 0.5 * width
    fill = fill_bone(distance, width, thickness_mm, touched=touched, cortical_mg_cc=1000.0,
                     spongy_mg_cc=np.full(int(touched.sum()), 100.0, dtype=np.float32))
    return float(fill.cortex.sum()) * step_mm ** 3, float(fill.mineral_mg_cc.sum()) * step_mm ** 3


@pytest.mark.parametrize("thickness_mm", [0.8, 2.0, 5.0])
def test_a_shell_thinner_than_a_voxel_still_has_its_volume_and_mineral(thickness_mm: float) -> None:
    inner = 4 / 3 * np.pi * (20.0 - thickness_mm) ** 3
    shell = 4 / 3 * np.pi * 20.0 ** 3 - inner
    volume, mineral = _shell(thickness_mm, step_mm=2.0)
    assert volume == pytest.approx(shell, rel=0.02)
    assert mineral == pytest.approx(1000 * shell + 100 * inner, rel=0.02)


def test_mixing_bone_replaces_soft_tissue_in_proportion() -> None:
    touched = np.array([[[True, True, False]]])
    distance = np.array([[[-5.0, 0.0, 9.0]]], dtype=np.float32)
    fill = fill_bone(distance, np.full_like(distance, 2.0), 1.0, touched=touched, cortical_mg_cc=1000.0,
                     spongy_mg_cc=np.array([100.0, 100.0], dtype=np.float32))
    hu = np.full((1, 1, 3), 50.0, dtype=np.float32)
    fill.mix_into(hu, hu.copy(), 1.3)
    # Half of the middle voxel is cortex (the shell reaches from its middle to its edge), half is muscle.
    assert hu.ravel() == pytest.approx([130.0, 0.5 * 50 + 0.5 * 1300, 50.0])


def test_texture_belongs_to_the_bone_and_has_unit_spread() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-60, 60, size=(3, 20000)).astype(np.float32)
    at = Coordinates(points[0], points[1], points[2])
    values = texture(at, seed=5)
    assert abs(values.mean()) < 0.05
    assert values.std() == pytest.approx(1.0, abs=0.05)
    assert np.array_equal(values, texture(at, seed=5))
    assert not np.allclose(values, texture(at, seed=6))
