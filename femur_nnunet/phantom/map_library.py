"""A folder of label maps as a source of participants' bones: who gets which map, and maps ready for use."""

from __future__ import annotations

import functools
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from femur_nnunet.errors import UsageError
from femur_nnunet.files import atomic_path, sha256_of_file, sha256_of_text
from femur_nnunet.phantom.anatomy import SIDES, FemurAnatomy
from femur_nnunet.phantom.anatomy_file import anatomy_hash, load_anatomy
from femur_nnunet.phantom.label_maps import LabelNumbers, map_name, read_label_map
from femur_nnunet.phantom.lattice import Lattice
from femur_nnunet.phantom.map_preparation import PreparedFemur, PreparedMap, prepare_map

# Raised when preparation changes, so that no stale cache is taken.
_PREPARATION = 2
# About 22 MB each.
_MAPS_IN_MEMORY = 6


def share_out(names: Sequence[str], groups: Mapping[str, int], seed: int) -> dict[str, list[str]]:
    """Split subjects between groups of participants so that no two groups share a map.

    Every group gets at least one map, the others in proportion to the groups' participants.

    Parameters
    ----------
    names : sequence of str
        The maps.
    groups : mapping
        Number of participants by group (site and role); empty groups get no map.
    seed : int
        Seed of the split.

    Raises
    ------
    UsageError
        There are fewer maps than groups.
    """
    needed = {group: count for group, count in groups.items() if count > 0}
    if len(names) < len(needed):
        raise UsageError(f"{len(names)} label map(s) for {len(needed)} groups ({', '.join(needed)})",
                         expected="at least one map for each site and role, since groups share none",
                         action="give more maps, or leave out a site or the test participants")
    shuffled = [str(name) for name in np.random.default_rng([seed, 97]).permutation(sorted(names))]
    spare = len(names) - len(needed)
    total = sum(needed.values())
    counts = {group: 1 + spare * count // total for group, count in needed.items()}
    by_remainder = sorted(needed, key=lambda group: (-(spare * needed[group] % total), group))
    for group in by_remainder[:len(names) - sum(counts.values())]:
        counts[group] += 1
    result, start = {}, 0
    for group, count in counts.items():
        result[group] = sorted(shuffled[start:start + count])
        start += count
    return result


def describe_maps(paths: Sequence[Path], numbers: LabelNumbers, groups: Mapping[str, Sequence[str]],
                  ) -> dict[str, Any]:
    """Return what a cohort's description says of its label maps: hashes, label numbers and the split."""
    return {"sha256": {map_name(path): sha256_of_file(path) for path in paths}, "labels": asdict(numbers),
            "groups": {group: list(names) for group, names in groups.items()}, "anatomy_sha256": anatomy_hash()}


@functools.lru_cache(maxsize=_MAPS_IN_MEMORY)
def prepared_map(path: Path, numbers: LabelNumbers, cache: Path | None) -> PreparedMap:
    """Return a map ready for rendering: from memory, from the cache folder, or prepared now and kept in both.

    Raises
    ------
    FemurError
        The map cannot be used, see :func:`~femur_nnunet.phantom.label_maps.read_label_map`.
    """
    kept = None
    if cache is not None:
        key = sha256_of_text(f"{sha256_of_file(path)} {numbers} {anatomy_hash()} {_PREPARATION}")[:24]
        kept = cache / f"{key}.npz"
        if kept.exists():
            try:
                return _read(kept)
            except (OSError, ValueError, KeyError, zipfile.BadZipFile):
                # A damaged cache file is worth no error: the map is prepared again.
                kept.unlink(missing_ok=True)
    prepared = prepare_map(read_label_map(path, numbers), load_anatomy())
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(kept) as temporary:
            _write(temporary, prepared)
    return prepared


def _write(path: Path, prepared: PreparedMap) -> None:
    arrays: dict[str, Any] = {}
    facts: dict[str, Any] = {"name": prepared.name, "sha256": prepared.sha256,
                             "head_distance_mm": prepared.head_distance_mm, "femora": {}, "lattices": {}}

    def keep(name: str, lattice: Lattice) -> None:
        arrays[name] = lattice.values
        facts["lattices"][name] = [lattice.step_mm, list(lattice.corner_mm_xyz)]

    keep("sacrum", prepared.sacrum)
    for side in SIDES:
        femur = prepared.femora[side]
        keep(f"femur_{side}", femur.lattice)
        keep(f"hip_{side}", prepared.hip_bones[side])
        for name in ("rotation", "neck_axis", "shaft_point", "surface_mm"):
            arrays[f"{name}_{side}"] = getattr(femur, name)
        facts["femora"][side] = {"anatomy": asdict(femur.anatomy), "cut_mm": femur.cut_mm,
                                 "assumed_shaft": femur.assumed_shaft}
    with path.open("wb") as handle:
        np.savez(handle, facts=np.array(json.dumps(facts)), **arrays)


def _read(path: Path) -> PreparedMap:
    with np.load(path, allow_pickle=False) as content:
        arrays = {name: content[name] for name in content.files}
    facts = json.loads(str(arrays.pop("facts")))

    def lattice(name: str) -> Lattice:
        step, corner = facts["lattices"][name]
        return Lattice(arrays[name], float(step), (corner[0], corner[1], corner[2]))

    femora = {side: PreparedFemur(
        lattice(f"femur_{side}"), arrays[f"rotation_{side}"],
        FemurAnatomy(**facts["femora"][side]["anatomy"]), arrays[f"neck_axis_{side}"], arrays[f"shaft_point_{side}"],
        arrays[f"surface_mm_{side}"], facts["femora"][side]["cut_mm"], facts["femora"][side]["assumed_shaft"])
        for side in SIDES}
    return PreparedMap(facts["name"], facts["sha256"], float(facts["head_distance_mm"]), femora,
                       {side: lattice(f"hip_{side}") for side in SIDES}, lattice("sacrum"))
