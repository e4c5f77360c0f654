"""Which subjects' anatomy a pool of renderings may use, and for what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from femur_nnunet.errors import UsageError


@dataclass(frozen=True)
class Subjects:
    """Names of label maps by role; no name is in both.

    Attributes
    ----------
    train, held_out : tuple of str
        Subjects to train on, and those whose renderings are for testing alone.

    Raises
    ------
    UsageError
        A name in both, or none to train on.
    """

    train: tuple[str, ...]
    held_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        both = sorted(set(self.train) & set(self.held_out))
        if both or not self.train:
            raise UsageError(f"subjects in both lists: {', '.join(both)}" if both else "no subject to train on",
                             expected="every subject to train on or held out, and at least one to train on",
                             action="correct --subjects and --held-out")

    @classmethod
    def choose(cls, present: Sequence[str], *, wanted: Sequence[str] | None = None,
               held_out: Sequence[str] = ()) -> Subjects:
        """Return the lists of a folder's subjects.

        Parameters
        ----------
        present : sequence of str
            What the folder holds.
        wanted : sequence of str, optional
            Subjects to train on; without it all that are not held out.
        held_out : sequence of str
            Subjects held out.

        Raises
        ------
        UsageError
            A name is unknown, or in both lists.
        """
        unknown = sorted({*(wanted or ()), *held_out} - set(present))
        if unknown:
            raise UsageError(f"no label map named {', '.join(unknown)}", expected=f"some of {', '.join(present)}",
                             action="correct --subjects and --held-out")
        train = [name for name in present if name not in held_out] if wanted is None else sorted(wanted)
        return cls(tuple(train), tuple(sorted(held_out)))

    @property
    def names(self) -> tuple[str, ...]:
        """All subjects, sorted."""
        return tuple(sorted((*self.train, *self.held_out)))

    def role(self, name: str) -> str:
        """Return ``train`` or ``test``."""
        return "test" if name in self.held_out else "train"


def draw_held_out(names: Sequence[str], count: int, seed: int) -> tuple[str, ...]:
    """Return subjects to hold out, drawn by the seed.

    Raises
    ------
    UsageError
        Nobody would be left to train on.
    """
    if not 0 <= count < len(names):
        raise UsageError(f"{count} of {len(names)} subjects held out", expected="fewer than there are",
                         action="hold out fewer subjects, or give more label maps")
    order = np.random.default_rng([seed, 61]).permutation(sorted(names))
    return tuple(sorted(str(name) for name in order[:count]))


def cross_validation_group(names: Sequence[str], group: int, groups: int, seed: int) -> tuple[str, ...]:
    """Return the subjects that one of several trainings holds out; over all groups each subject is held out once.

    Parameters
    ----------
    names : sequence of str
        All subjects.
    group, groups : int
        Which group, from 1, of how many; their sizes differ by one at most.
    seed : int
        Seed of the partition.

    Raises
    ------
    UsageError
        No such group, or more groups than subjects.
    """
    if not (1 <= group <= groups and 2 <= groups <= len(names)):
        raise UsageError(f"group {group} of {groups} for {len(names)} subjects",
                         expected="2 groups or more, no more than subjects, counted from 1", action="correct the group")
    order = np.random.default_rng([seed, 62]).permutation(sorted(names))
    return tuple(sorted(str(name) for name in order[group - 1::groups]))
