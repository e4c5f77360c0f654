"""Two hundred bundles with random damage: each is refused in one line, or is a bundle; nothing runs."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from bundle_surgery import files_of, sealed, write_zip

from femur_nnunet.errors import FemurError
from femur_nnunet.model_bundle import load_bundle

NASTY = (None, True, -1, 0, 2**63, 10**400, 1e308, "", "os.system", "../../x", "\x1b[2J", [], {}, [[]], [0] * 1000,
         {"__class__": "x"}, "A" * 5000)


def damaged_bytes(data: bytes, random: np.random.Generator) -> bytes:
    """Flip bits, cut, double or zero a stretch."""
    changed = bytearray(data)
    start, end = sorted(int(at) for at in random.integers(0, len(data), 2))
    kind = random.integers(4)
    if kind == 0:
        for at in random.integers(0, len(data), random.integers(1, 20)):
            changed[at] ^= 1 << int(random.integers(8))
    elif kind == 1:
        del changed[start:end]
    elif kind == 2:
        changed[start:start] = changed[start:end]
    else:
        changed[start:end] = bytes(end - start)
    return bytes(changed)


def places(content, path=()):
    """All places of a JSON content."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [path, *(place for key, value in items for place in places(value, (*path, key)))]


def damaged_json(content, random: np.random.Generator):
    """Put something nasty in one place, take a key out or put one in."""
    changed = copy.deepcopy(content)
    path = places(changed)[int(random.integers(1, len(places(changed))))]
    parent = changed
    for key in path[:-1]:
        parent = parent[key]
    if random.random() < 0.2 and isinstance(parent, dict):
        del parent[path[-1]]
    else:
        parent[path[-1]] = NASTY[int(random.integers(len(NASTY)))]
    return changed


def damaged_files(files: dict[str, bytes], random: np.random.Generator) -> dict[str, bytes]:
    """Damage one file and correct the hashes, as somebody would who wants it to be taken."""
    name = ("manifest.json", "plans.json", "dataset.json", "fold_0.safetensors")[int(random.integers(4))]
    if name == "fold_0.safetensors":
        return sealed({**files, name: damaged_bytes(files[name], random)})
    content = damaged_json(json.loads(files[name]), random)
    if name != "manifest.json":
        return sealed({**files, name: json.dumps(content).encode()})
    try:
        return sealed({**files, name: json.dumps(content).encode()})
    except (KeyError, TypeError, AttributeError):  # so damaged that it cannot be sealed again
        return {**files, name: json.dumps(content).encode()}


@pytest.mark.parametrize("seed", range(10))
def test_a_damaged_bundle_is_refused_in_one_line_and_never_run(tmp_path, bundle_path, executed, seed):
    files, sound = files_of(bundle_path), load_bundle(bundle_path)
    weights = sound.model.weights("0")
    messages = []
    for number in range(20):
        random = np.random.default_rng([seed, number])
        raw = number % 2 == 0
        path = tmp_path / f"{number}.zip"
        if raw:
            path.write_bytes(damaged_bytes(bundle_path.read_bytes(), random))
        else:
            write_zip(path, damaged_files(files, random))
        try:
            bundle = load_bundle(path)
            found = {fold: bundle.model.weights(fold) for fold in bundle.folds}
        except FemurError as error:
            messages.append(str(error))
        else:
            # What the zip says of dates and rights of files is of no meaning; nothing else may differ unseen.
            assert not raw or bundle.manifest == sound.manifest
            assert all(torch.equal(found["0"][name], weights[name]) for name in weights) or not raw
    assert len(messages) >= 15
    assert all(len(message) < 1000 and "\n" not in message for message in messages)
    assert executed == []
