"""Taking a bundle apart and putting it together again with something wrong in it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from femur_nnunet.model_bundle.manifest import CONTENT_HASH_KEY, MANIFEST_NAME, content_hash, file_entries

Change = Callable[[dict[str, Any]], None]


def files_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return path


def sealed(files: Mapping[str, bytes], manifest_change: Change | None = None) -> dict[str, bytes]:
    """Return the files with a manifest whose hashes are right: what an attacker would send."""
    manifest = json.loads(files[MANIFEST_NAME])
    others = [(name, data) for name, data in files.items() if name != MANIFEST_NAME]
    manifest["files"] = {name: {"bytes": entry.bytes, "sha256": entry.sha256}
                         for name, entry in file_entries(others).items()}
    if manifest_change is not None:
        manifest_change(manifest)
    manifest.pop(CONTENT_HASH_KEY)
    manifest[CONTENT_HASH_KEY] = content_hash(manifest)
    return {MANIFEST_NAME: json.dumps(manifest).encode(), **dict(others)}


def with_plan(path: Path, target: Path, change: Change, name: str = "plans.json") -> Path:
    """Write the bundle with a changed plan and right hashes."""
    files = files_of(path)
    content = json.loads(files[name])
    change(content)
    return write_zip(target, sealed({**files, name: json.dumps(content).encode()}))


def with_file(path: Path, target: Path, name: str, data: bytes) -> Path:
    """Write the bundle with another content of one file and right hashes."""
    return write_zip(target, sealed({**files_of(path), name: data}))


def with_manifest(path: Path, target: Path, change: Change) -> Path:
    """Write the bundle with a changed manifest and right hashes."""
    return write_zip(target, sealed(files_of(path), change))
