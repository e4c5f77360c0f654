"""Where patches lie in a whole case, and the windows of it that are seen through the very same patches."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from femur_nnunet.segmentation.plan_grid import Box, Triple, three

Window = tuple[slice, slice, slice]


@dataclass(frozen=True)
class PatchLattice:
    """The places of patches in an image, by nnU-Net's rule.

    Attributes
    ----------
    starts : tuple of tuple of int
        First voxel of the patches along each axis (z, y, x), rising.
    patch : tuple of int
        Edges of a patch.
    shape : tuple of int
        Voxels of the image along each axis, fewer than a patch's where it is smaller than one.
    """

    starts: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    patch: Triple
    shape: Triple

    @classmethod
    def of_image(cls, shape: Sequence[int], patch: Sequence[int], step: float) -> PatchLattice:
        """Lay the patches over an image.

        Parameters
        ----------
        shape : sequence of int
            Voxels along each axis; an image smaller than a patch counts as one of a patch's size.
        patch : sequence of int
            Edges of a patch.
        step : float
            Distance of patches as a share of their edge, at most.
        """
        # Imported here: it brings torch.
        from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window

        filled = tuple(max(have, edge) for have, edge in zip(shape, patch, strict=True))
        first, second, third = compute_steps_for_sliding_window(filled, tuple(patch), step)
        return cls((tuple(first), tuple(second), tuple(third)), three(patch), three(shape))

    def windows(self) -> list[Window]:
        """Return the voxels of every patch."""
        edges = self.patch
        return [(slice(z, z + edges[0]), slice(y, y + edges[1]), slice(x, x + edges[2]))
                for z, y, x in itertools.product(*self.starts)]

    def around(self, window: Box, *, slack: Sequence[int] = (0, 0, 0)) -> tuple[Box, PatchLattice]:
        """Return the smallest box of whole patches that covers a window, and the lattice within it.

        Seen through these patches alone, the voxels in the middle of the box get the logits that they get in the whole
        image; towards its rim they lack the patches that reach in from outside.

        Parameters
        ----------
        window : Box
            On the image.
        slack : sequence of int
            So many voxels at each end of the window need not be covered.
        """
        starts, stops, within = [], [], []
        for axis, places in enumerate(self.starts):
            edge, size, may_lack = self.patch[axis], self.shape[axis], slack[axis]
            # The image's own ends are covered whatever the slack.
            low = window.start[axis] + (may_lack if window.start[axis] > 0 else 0)
            high = window.stop[axis] - (may_lack if window.stop[axis] < size else 0)
            first = max(0, int(np.searchsorted(places, low, side="right")) - 1)
            last = int(np.searchsorted(np.add(places, edge), min(high, places[-1] + edge)))
            last = max(first, last)
            starts.append(places[first])
            stops.append(min(size, places[last] + edge))
            within.append(tuple(place - places[first] for place in places[first:last + 1]))
        box = Box(three(starts), three(stops))
        return box, PatchLattice((within[0], within[1], within[2]), self.patch, box.shape)
