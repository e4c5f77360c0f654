"""The declared grid: which settings are tried, each as the changes that ``femur_plan --set`` takes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from femur_nnunet.errors import UsageError
from femur_nnunet.files import read_json

Changes = tuple[str, ...]
# Blocks of a plan that one architecture alone reads: another one's arms would differ by name only.
_BLOCKS_OF_ARCHITECTURE = {"vnet": ("vnet",), "adaptation": ("transunet",), "teacher": ("transunet",),
                           "selection": ("transunet",)}
_FORM = 'an object {"vnet.l2_weight": [1e-6, 1e-5]}, or a list of candidates [{"vnet.l2_weight": 1e-6}, ...]'


def grid_of_options(options: Iterable[str]) -> list[Changes]:
    """Return every combination of ``KEY=V1,V2`` options, the first option changing slowest.

    Raises
    ------
    UsageError
        An option of another form, or a key given twice.
    """
    axes: dict[str, list[str]] = {}
    for option in options:
        key, equals, text = option.partition("=")
        key, values = key.strip(), [value.strip() for value in text.split(",")]
        if not (equals and key and all(values)):
            raise UsageError(f"--grid {option!r}", expected="KEY=V1,V2, as in vnet.l2_weight=1e-6,1e-5",
                             action="write it so; values that are lists go into a --grid-file")
        if key in axes:
            raise UsageError(f"--grid {key} twice", expected="each key once",
                             action="give all its values in one option")
        axes[key] = values
    return _combinations(axes)


def read_grid_file(path: Path) -> list[Changes]:
    """Read a grid from JSON: an object of lists (all combinations), or a list of candidates as they stand.

    Raises
    ------
    UsageError
        The file has another form.
    FemurError
        The file is missing or no JSON.
    """
    content = read_json(path, what=f"a grid in JSON: {_FORM}", action="correct --grid-file")
    if isinstance(content, dict) and content and all(isinstance(values, list) and values
                                                     for values in content.values()):
        return _combinations({key: [json.dumps(value) for value in values] for key, values in content.items()})
    if isinstance(content, list) and content and all(isinstance(one, dict) and one for one in content):
        return [tuple(f"{key}={json.dumps(value)}" for key, value in one.items()) for one in content]
    raise UsageError("a grid of another form", expected=_FORM, action="correct the file", subject=str(path))


def candidates_of(grid: Sequence[Changes], architecture: str) -> list[Changes]:
    """Return the candidates of one architecture, without settings that it does not read, each once."""
    own = [tuple(change for change in changes if concerns(change, architecture)) for changes in grid]
    return list(dict.fromkeys(own)) or [()]


def concerns(change: str, architecture: str) -> bool:
    """Say whether an architecture's trainers read the block of a plan that a change is about."""
    return architecture in _BLOCKS_OF_ARCHITECTURE.get(change.partition(".")[0], (architecture,))


def _combinations(axes: Mapping[str, Sequence[str]]) -> list[Changes]:
    if not axes:
        return []
    return [tuple(f"{key}={value}" for key, value in zip(axes, values, strict=True))
            for values in itertools.product(*axes.values())]
