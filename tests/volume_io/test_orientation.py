"""Orientation moves axes only: every voxel keeps its value and its place in the world."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from femur_nnunet.volume_io.orientation import AxisMapping, best_axis_mapping, orient_to_lps
from femur_nnunet.volume_io.volume import AcquisitionTags, Grid, Volume

PERMUTATIONS = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
mappings = st.builds(AxisMapping, st.sampled_from(PERMUTATIONS), st.tuples(st.booleans(), st.booleans(), st.booleans()))
sizes = st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5))


def random_grid(seed: int, size: tuple[int, int, int]) -> Grid:
    generator = np.random.default_rng(seed)
    direction = Rotation.random(random_state=seed).as_matrix()
    if generator.random() < 0.5:
        direction[:, 2] *= -1  # left-handed scans exist
    spacing = generator.uniform(0.4, 4, 3)
    origin = generator.uniform(-300, 300, 3)
    return Grid(size, tuple(spacing), tuple(origin), tuple(direction.ravel()))


def world_of_every_value(array: np.ndarray, grid: Grid) -> dict[int, np.ndarray]:
    return {int(array[k, j, i]): grid.world_mm_lps((i, j, k)) for k, j, i in np.ndindex(array.shape)}


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10_000), size=sizes)
def test_every_voxel_keeps_its_world_position(seed: int, size: tuple[int, int, int]) -> None:
    grid = random_grid(seed, size)
    array = np.arange(np.prod(size)).reshape(grid.shape_kji)

    oriented, _ = orient_to_lps(Volume(array, grid))

    assert oriented.array.shape == oriented.grid.shape_kji
    after = world_of_every_value(oriented.array, oriented.grid)
    for value, position in world_of_every_value(array, grid).items():
        np.testing.assert_allclose(after[value], position, atol=1e-9)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_axes_end_as_close_to_lps_as_any_permutation_can_bring_them(seed: int) -> None:
    direction = random_grid(seed, (2, 2, 2)).direction_matrix
    oriented, _ = orient_to_lps(Volume(np.zeros((2, 2, 2)), Grid((2, 2, 2), (1, 1, 1), (0, 0, 0),
                                                                tuple(direction.ravel()))))

    reached = np.trace(oriented.grid.direction_matrix)
    best = max(sum(abs(direction[axis, p[axis]]) for axis in range(3)) for p in PERMUTATIONS)
    assert (np.diag(oriented.grid.direction_matrix) >= 0).all()
    assert reached == pytest.approx(best)


def test_an_oblique_axis_is_not_given_to_two_target_axes() -> None:
    # Source axis 0 is the closest to x and to y; choosing axis by axis would take it twice, or leave y with a bad one.
    cosines = np.array([[0.66, 0.60, 0.45], [0.75, -0.54, -0.38], [0.0, 0.59, -0.81]])

    mapping = best_axis_mapping(cosines)

    # 0.60 + 0.75 + 0.81 = 2.16 is the largest of the six sums.
    assert mapping.permutation == (1, 0, 2)
    assert mapping.flips == (False, False, True)


@settings(max_examples=100, deadline=None)
@given(mapping=mappings, size=sizes)
def test_undo_reverses_apply(mapping: AxisMapping, size: tuple[int, int, int]) -> None:
    array = np.arange(np.prod(size)).reshape(size)

    np.testing.assert_array_equal(mapping.undo(mapping.apply(array)), array)


def test_a_sagittal_scan_becomes_axial() -> None:
    # i runs to posterior, j to inferior, k to the right.
    direction = (0.0, 0.0, -1.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
    array = np.arange(2 * 3 * 4).reshape(2, 3, 4)

    oriented, mapping = orient_to_lps(Volume(array, Grid((4, 3, 2), (0.5, 0.6, 3.0), (0, 0, 0), direction)))

    assert mapping == AxisMapping((2, 0, 1), (True, False, True))
    assert oriented.grid == Grid((2, 4, 3), (3.0, 0.5, 0.6), (-3.0, 0.0, -1.2))
    # The most superior slice (first j), most posterior row (last i), most left column (first k).
    assert oriented.array[-1, -1, -1] == array[0, 0, 3]


def test_tags_and_notes_survive_and_an_lps_scan_is_left_as_it_is() -> None:
    volume = Volume(np.zeros((3, 3, 3)), Grid((3, 3, 3), (1, 1, 1), (0, 0, 0), (-1, 0, 0, 0, -1, 0, 0, 0, 1)),
                    AcquisitionTags(kvp=120), "nrrd", ["a note"])

    oriented, mapping = orient_to_lps(volume)
    again, identity = orient_to_lps(oriented)

    assert (oriented.tags, oriented.source_format, oriented.notes) == (volume.tags, "nrrd", ["a note"])
    assert mapping.flips == (True, True, False)
    assert identity.is_identity
    assert again is oriented


def test_a_mapping_that_uses_an_axis_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="once each"):
        AxisMapping((0, 0, 2))
