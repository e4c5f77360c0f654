from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from femur_nnunet.segmentation.patch_lattice import PatchLattice
from femur_nnunet.segmentation.plan_grid import Box

edges = st.integers(1, 90)


@st.composite
def lattices(draw: st.DrawFn) -> PatchLattice:
    shape = draw(st.tuples(edges, edges, edges))
    # Edges of a network; of the smallest steps nnU-Net's rounding makes the same place twice.
    patch = draw(st.tuples(*[st.integers(8, 40)] * 3))
    return PatchLattice.of_image(shape, patch, draw(st.sampled_from((0.4, 0.5, 0.75, 1.0))))


@st.composite
def windows(draw: st.DrawFn, shape: tuple[int, int, int]) -> Box:
    ends = [sorted(draw(st.lists(st.integers(0, size), min_size=2, max_size=2, unique=True))) for size in shape]
    return Box(*(tuple(pair[which] for pair in ends) for which in (0, 1)))  # type: ignore[arg-type]


@given(lattices())
def test_every_voxel_of_an_image_lies_in_a_patch(lattice: PatchLattice) -> None:
    seen = np.zeros([max(size, edge) for size, edge in zip(lattice.shape, lattice.patch, strict=True)], dtype=bool)
    for window in lattice.windows():
        assert seen[window].shape == lattice.patch
        seen[window] = True
    assert seen.all()


@given(st.data())
def test_a_window_is_seen_through_patches_of_the_whole_image(data: st.DataObject) -> None:
    whole = data.draw(lattices())
    window = data.draw(windows(whole.shape))
    slack = data.draw(st.integers(0, 12))
    box, within = whole.around(window, slack=(slack,) * 3)
    for axis in range(3):
        places = [place + box.start[axis] for place in within.starts[axis]]
        assert set(places) <= set(whole.starts[axis])
        # In a row: none between two of them is left out.
        first = whole.starts[axis].index(places[0])
        assert tuple(places) == whole.starts[axis][first:first + len(places)]
        low = window.start[axis] + (slack if window.start[axis] > 0 else 0)
        high = window.stop[axis] - (slack if window.stop[axis] < whole.shape[axis] else 0)
        assert box.start[axis] <= low
        assert box.stop[axis] >= min(high, whole.shape[axis])
        assert box.stop[axis] == min(whole.shape[axis], places[-1] + whole.patch[axis])
        # The smallest such box: the next patch inwards would leave a voxel of the window out.
        if len(places) > 1:
            assert places[1] > low
            assert places[-2] + whole.patch[axis] < high
    assert within.shape == box.shape


def test_the_whole_image_is_seen_through_all_of_its_patches() -> None:
    whole = PatchLattice.of_image((20, 40, 33), (16, 16, 16), 0.5)
    box, within = whole.around(Box((0, 0, 0), (20, 40, 33)), slack=(5, 5, 5))
    assert (box, within) == (Box((0, 0, 0), (20, 40, 33)), whole)
    assert len(whole.windows()) == 2 * 4 * 4
