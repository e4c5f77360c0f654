"""Writing a model bundle: the same content gives the same bytes, and a reader never sees half of one."""

from __future__ import annotations

import json
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from femur_nnunet.files import atomic_path
from femur_nnunet.model_bundle.archive import LARGEST_BUNDLE_BYTES
from femur_nnunet.model_bundle.bundle import ModelBundle, bundle_files, load_bundle
from femur_nnunet.model_bundle.bundle_error import BundleError
from femur_nnunet.model_bundle.manifest import MANIFEST_NAME, Manifest, file_entries

# The oldest time a zip can hold: when a bundle was packed is no part of it.
_NO_TIME = (1980, 1, 1, 0, 0, 0)


def json_bytes(content: Any) -> bytes:
    """Return JSON for a bundle, keys sorted."""
    return (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode("utf-8")


def write_bundle(path: Path, manifest: Manifest, contents: Mapping[str, bytes]) -> ModelBundle:
    """Write a bundle and return it as read back, so that what is written can be loaded.

    Parameters
    ----------
    path : Path
        The zip to write; replaced where it exists, as soon as the new one was read back well.
    manifest : Manifest
        Its ``files`` are filled in here.
    contents : mapping of str to bytes
        Every other file by name.

    Raises
    ------
    BundleError
        Files are missing or too many, the bundle is too large, or it would be refused on loading.
    """
    wanted = bundle_files(manifest)
    if sorted(contents) != wanted:
        raise BundleError(f"the files {', '.join(sorted(contents))}", expected=", ".join(wanted),
                          action="give all files of the manifest", subject=path.name)
    ordered = [(name, contents[name]) for name in wanted]
    total = sum(len(data) for _, data in ordered)
    if total > LARGEST_BUNDLE_BYTES - (1 << 20) or max(len(data) for _, data in ordered) > zipfile.ZIP64_LIMIT:
        raise BundleError(f"{total} bytes", expected=f"less than {LARGEST_BUNDLE_BYTES}, and a fold below 2 GiB",
                          action="pack fewer folds, or --half", subject=path.name)
    manifest = replace(manifest, files=file_entries(ordered))
    with atomic_path(path) as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for name, data in [(MANIFEST_NAME, manifest.to_bytes()), *ordered]:
                entry = zipfile.ZipInfo(name, _NO_TIME)
                entry.create_system = 3  # else Windows and Unix would write other bytes
                entry.external_attr = (stat.S_IFREG | 0o644) << 16
                archive.writestr(entry, data)
        written = load_bundle(temporary)
        for network in filter(None, (written.model, written.localiser)):
            for fold in network.folds:
                network.weights(fold)
    return load_bundle(path)
