"""Which label map each participant of a cohort gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib

from femur_nnunet.command_line import progress
from femur_nnunet.phantom.label_maps import LabelNumbers, list_label_maps, map_name
from femur_nnunet.phantom.map_library import describe_maps, prepared_map, share_out
from femur_nnunet.phantom.map_preparation import PreparedMap

if TYPE_CHECKING:
    from femur_nnunet.phantom.cohort_plan import CohortSpec, PlannedScan


def map_paths(spec: CohortSpec) -> dict[str, Path]:
    """Return the files of the label maps that a cohort uses, by name; none for the analytic kit.

    Raises
    ------
    UsageError
        The folder is missing or empty, or does not hold a named subject.
    """
    if spec.label_maps is None:
        return {}
    names = [name.strip() for name in spec.label_map_subjects.split(",")] if spec.label_map_subjects else None
    return {map_name(path): path for path in list_label_maps(Path(spec.label_maps), names)}


def split_maps(spec: CohortSpec, scans: Sequence[PlannedScan]) -> dict[str, list[str]]:
    """Return the label maps of each site and role, such as ``tulane/train``; no two of them share a map."""
    people: dict[str, set[str]] = {}
    for scan in scans:
        people.setdefault(f"{scan.site}/{scan.role}", set()).add(scan.participant_id)
    return share_out(list(map_paths(spec)), {group: len(members) for group, members in people.items()}, spec.seed)


def with_maps(spec: CohortSpec, scans: list[PlannedScan]) -> list[PlannedScan]:
    """Give each participant a label map, if there are any: in turn from those of the site and role."""
    if spec.label_maps is None:
        return scans
    groups = split_maps(spec, scans)
    members: dict[str, list[str]] = {group: [] for group in groups}
    for scan in scans:
        own = members[f"{scan.site}/{scan.role}"]
        if scan.participant_id not in own:
            own.append(scan.participant_id)
    chosen = {person: groups[group][index % len(groups[group])]
              for group, people in members.items() for index, person in enumerate(people)}
    return [replace(scan, label_map=chosen[scan.participant_id]) for scan in scans]


def described(spec: CohortSpec, scans: Sequence[PlannedScan]) -> dict[str, Any]:
    """Return what a cohort's description says of its maps: hashes, label numbers and the split."""
    return describe_maps(list(map_paths(spec).values()), LabelNumbers.parse(spec.label_map_numbers),
                         split_maps(spec, scans))


def prepare_planned_maps(spec: CohortSpec, scans: Sequence[PlannedScan], cache: Path, *, jobs: int,
                         quiet: bool) -> None:
    """Prepare every label map that a cohort's scans use, before anything of the cohort is written.

    A map that cannot be used is then found at once, and correcting it leaves no begun cohort behind.

    Raises
    ------
    FemurError
        A map cannot be used; its file is the error's subject.
    """
    names = sorted({scan.label_map for scan in scans if scan.label_map is not None})
    tasks = (joblib.delayed(_prepare)(spec, name, cache) for name in names)
    for _ in progress(joblib.Parallel(n_jobs=jobs, return_as="generator")(tasks), total=len(names),
                      description="preparing label maps", quiet=quiet):
        pass


def _prepare(spec: CohortSpec, name: str, cache: Path) -> None:
    """Leave a prepared map in the cache alone: it is too large to be sent back."""
    planned_map(spec, name, cache)


def planned_map(spec: CohortSpec, name: str, cache: Path | None) -> PreparedMap:
    """Return one of the cohort's maps, ready for rendering."""
    return prepared_map(map_paths(spec)[name], LabelNumbers.parse(spec.label_map_numbers), cache)
