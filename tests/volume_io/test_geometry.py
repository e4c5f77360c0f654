"""A geometry record carries arrays from the scan's grid to the case and back, bit by bit."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from femur_nnunet.errors import FemurError
from femur_nnunet.volume_io.geometry import GeometryRecord
from femur_nnunet.volume_io.hips import HipCrop
from femur_nnunet.volume_io.orientation import AxisMapping
from femur_nnunet.volume_io.volume import Grid


@st.composite
def records(draw: st.DrawFn) -> GeometryRecord:
    size = tuple(draw(st.integers(1, 6)) for _ in range(3))
    direction = Rotation.random(random_state=draw(st.integers(0, 999))).as_matrix()
    grid = Grid(size, (0.7, 0.8, 2.5), (-10.25, 33.0, 401.5), tuple(direction.ravel()))
    permutation = tuple(draw(st.permutations([0, 1, 2])))
    mapping = AxisMapping(permutation, tuple(draw(st.booleans()) for _ in range(3)))
    starts, stops = [], []
    for axis in range(3):
        length = size[permutation[axis]]
        start = draw(st.integers(0, length - 1))
        starts.append(start)
        stops.append(draw(st.integers(start + 1, length)))
    return GeometryRecord(grid, mapping, tuple(starts), tuple(stops), draw(st.booleans()))


@settings(max_examples=60, deadline=None)
@given(record=records(), seed=st.integers(0, 99))
def test_a_case_goes_back_and_forth_without_a_changed_bit(record: GeometryRecord, seed: int) -> None:
    case = np.random.default_rng(seed).integers(0, 256, record.case_grid.shape_kji).astype(np.uint8)

    on_source = record.backward(case, fill_value=7)
    again = record.forward(on_source)

    assert on_source.shape == record.source_grid.shape_kji
    assert on_source.dtype == again.dtype == np.uint8
    np.testing.assert_array_equal(again, case)
    # Outside the crop there is nothing but the fill value: as many voxels as the crop leaves over.
    assert np.count_nonzero(on_source != 7) == np.count_nonzero(case != 7)


@settings(max_examples=60, deadline=None)
@given(record=records())
def test_every_voxel_returns_to_the_place_it_came_from(record: GeometryRecord) -> None:
    numbers = np.arange(1, np.prod(record.source_grid.shape_kji) + 1).reshape(record.source_grid.shape_kji)

    returned = record.backward(record.forward(numbers))

    inside = returned != 0
    np.testing.assert_array_equal(returned[inside], numbers[inside])
    assert np.count_nonzero(inside) == np.prod(record.case_grid.shape_kji)


@settings(max_examples=60, deadline=None)
@given(record=records())
def test_the_case_grid_tells_each_voxels_world_position(record: GeometryRecord) -> None:
    source, case_grid = record.source_grid, record.case_grid
    numbers = np.arange(np.prod(source.shape_kji)).reshape(source.shape_kji)
    case = record.forward(numbers)
    if record.left_right_flipped:
        case = case[:, :, ::-1]  # the grid is documented to describe the unflipped crop

    for z, y, x in np.ndindex(case.shape):
        k, j, i = np.unravel_index(case[z, y, x], source.shape_kji)
        np.testing.assert_allclose(case_grid.world_mm_lps((x, y, z)), source.world_mm_lps((i, j, k)), atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(record=records())
def test_a_record_survives_json(record: GeometryRecord) -> None:
    text = json.dumps(record.to_json())

    assert json.loads(text)["schema"] == 1
    assert GeometryRecord.from_json(json.loads(text)) == record


def test_a_right_hip_is_mirrored_and_a_left_one_is_not() -> None:
    grid = Grid((6, 1, 1), (1, 1, 1), (0, 0, 0))
    numbers = np.arange(6).reshape(1, 1, 6)

    left = GeometryRecord.of_hip(grid, AxisMapping(), HipCrop("left", 4, 6))
    right = GeometryRecord.of_hip(grid, AxisMapping(), HipCrop("right", 0, 4))

    assert left.forward(numbers).ravel().tolist() == [4, 5]
    assert right.forward(numbers).ravel().tolist() == [3, 2, 1, 0]
    assert left.case_grid.origin_mm_lps == (4.0, 0.0, 0.0)


def test_a_whole_scan_keeps_every_voxel() -> None:
    grid = Grid((2, 3, 4), (1, 1, 1), (0, 0, 0), (-1, 0, 0, 0, -1, 0, 0, 0, 1))
    record = GeometryRecord.of_whole_scan(grid, AxisMapping((0, 1, 2), (True, True, False)))
    numbers = np.arange(24).reshape(4, 3, 2)

    np.testing.assert_array_equal(record.forward(numbers), numbers[:, ::-1, ::-1])
    assert record.case_grid.direction_matrix.tolist() == np.eye(3).tolist()
    assert record.case_grid.origin_mm_lps == (-1.0, -2.0, 0.0)


@pytest.mark.parametrize("spoil", [
    lambda content: content.update(schema=2),
    lambda content: content.pop("flips"),
    lambda content: content.update(permutation=[0, 0, 1]),
    lambda content: content.update(crop_stop_xyz=[99, 1, 1]),
    lambda content: content["source_grid"].update(direction=[1.0, 0.0]),
])
def test_a_spoiled_record_is_refused(spoil) -> None:  # type: ignore[no-untyped-def]
    record = GeometryRecord.of_whole_scan(Grid((2, 2, 2), (1, 1, 1), (0, 0, 0)), AxisMapping())
    content = json.loads(json.dumps(record.to_json()))
    spoil(content)

    with pytest.raises(FemurError, match="restore the geometry file"):
        GeometryRecord.from_json(content)


def test_an_array_of_another_grid_is_refused() -> None:
    record = GeometryRecord.of_whole_scan(Grid((2, 2, 2), (1, 1, 1), (0, 0, 0)), AxisMapping())

    with pytest.raises(FemurError, match=r"shape \(3, 2, 2\)"):
        record.forward(np.zeros((3, 2, 2)))
    with pytest.raises(FemurError, match=r"shape \(3, 2, 2\)"):
        record.backward(np.zeros((3, 2, 2)))
