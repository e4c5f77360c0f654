"""Zips that are more, less or other than a bundle's files behind one another."""

from __future__ import annotations

import os
import stat
import struct
import zipfile

import pytest
from bundle_surgery import files_of, write_zip

from femur_nnunet.model_bundle import BundleError, load_bundle
from femur_nnunet.model_bundle.archive import MOST_FILES, BundleArchive


@pytest.mark.parametrize("name", ["../evil.json", "/etc/cron.d/evil", "folder/plans.json", "C:evil", "a\\b", "..", ".x",
                                  "n\u00e4me", "tab\t", "x" * 65])
def test_a_name_that_is_more_than_a_file_name_is_refused(tmp_path, bundle_path, name):
    path = write_zip(tmp_path / "m.zip", {**files_of(bundle_path), name: b"x"})
    with pytest.raises(BundleError, match="expected plain file names, without folders"):
        load_bundle(path)
    assert [item.name for item in tmp_path.iterdir()] == ["m.zip"]


def test_an_unknown_file_is_refused(tmp_path, bundle_path):
    with pytest.raises(BundleError, match=r"unknown setup\.py, of the files present"):
        load_bundle(write_zip(tmp_path / "m.zip", {**files_of(bundle_path), "setup.py": b"import os"}))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO, stat.S_IFCHR])
def test_links_folders_and_devices_are_refused(tmp_path, bundle_path, kind):
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        for name, data in files_of(bundle_path).items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (kind if name == "plans.json" else stat.S_IFREG) << 16
            archive.writestr(entry, data)
    with pytest.raises(BundleError, match=r"'plans\.json', a link or a device"):
        load_bundle(tmp_path / "m.zip")


def test_a_doubled_file_is_refused(tmp_path, bundle_path):
    files = files_of(bundle_path)
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        for name in (*files, "plans.json"):
            if name == "plans.json" and name in archive.namelist():
                with pytest.warns(UserWarning, match="Duplicate name"):
                    archive.writestr(name, files[name])
            else:
                archive.writestr(name, files[name])
    with pytest.raises(BundleError, match=r"'plans\.json' twice"):
        load_bundle(tmp_path / "m.zip")


def test_a_bomb_is_refused_without_being_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", b"0" * (8 << 20))
    assert (tmp_path / "m.zip").stat().st_size < 20_000
    with pytest.raises(BundleError, match="which is compressed"):
        load_bundle(tmp_path / "m.zip")


def test_entries_that_share_their_bytes_are_refused(tmp_path, bundle_path):
    """The bomb of overlapping files (Fifield 2019): the directory's second entry points at the first one's data."""
    data = bytearray(write_zip(tmp_path / "m.zip", files_of(bundle_path)).read_bytes())
    entries = [at for at in range(len(data)) if data[at:at + 4] == b"PK\1\2"]
    data[entries[1] + 42:entries[1] + 46] = data[entries[0] + 42:entries[0] + 46]
    (tmp_path / "m.zip").write_bytes(bytes(data))
    with pytest.raises(BundleError, match="before or inside"):
        load_bundle(tmp_path / "m.zip")


def test_an_encrypted_file_is_refused(tmp_path, bundle_path):
    data = bytearray(bundle_path.read_bytes())
    for at in range(len(data)):
        if data[at:at + 4] == b"PK\1\2":
            data[at + 8] |= 1
    (tmp_path / "m.zip").write_bytes(bytes(data))
    with pytest.raises(BundleError, match="encrypted"):
        load_bundle(tmp_path / "m.zip")


@pytest.mark.parametrize("keep", [0, 21, 1000, -1, -10])
def test_a_truncated_bundle_is_refused(tmp_path, bundle_path, keep):
    (tmp_path / "m.zip").write_bytes(bundle_path.read_bytes()[:keep])
    with pytest.raises(BundleError, match="no zip, or one cut short"):
        load_bundle(tmp_path / "m.zip")


@pytest.mark.parametrize("place", ["before", "behind", "between"])
def test_data_beside_the_files_is_refused(tmp_path, bundle_path, place):
    data = bundle_path.read_bytes()
    directory = struct.unpack("<L", data[-6:-2])[0]
    changed = {"before": b"#!/bin/sh\n" + data, "behind": data + b"more",
               "between": data[:directory] + b"x" * 40 + data[directory:-6] + struct.pack("<L", directory + 40)
               + data[-2:]}[place]
    (tmp_path / "m.zip").write_bytes(changed)
    with pytest.raises(BundleError, match="expected"):
        load_bundle(tmp_path / "m.zip")


def test_a_comment_and_too_many_files_are_refused(tmp_path, bundle_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.comment = b"hello"
    write_zip(tmp_path / "b.zip", {f"file_{n}": b"" for n in range(MOST_FILES + 1)})
    for name in ("a.zip", "b.zip"):
        with pytest.raises(BundleError, match=r"found (another form of zip|no zip)"):
            load_bundle(tmp_path / name)


def test_what_is_no_bundle_is_told_in_one_line(tmp_path):
    (tmp_path / "text.zip").write_text("not a zip at all, but long enough to hold an end record")
    os.mkfifo(tmp_path / "pipe.zip")
    write_zip(tmp_path / "other.zip", {"readme.txt": b"x"})
    for name, message in (("missing.zip", "no such file"), ("text.zip", "no zip"), (".", "a folder or a device"),
                          ("pipe.zip", "a folder or a device"), ("other.zip", "no manifest.json")):
        with pytest.raises(BundleError, match=message) as caught:
            load_bundle(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == 2


def test_an_archive_above_two_gibibytes_is_read(tmp_path, monkeypatch):
    """Python adds a second end record there; the limit is lowered in place of writing 2 GiB."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    write_zip(tmp_path / "m.zip", {"a": b"x" * 60, "b": b"y" * 90})
    monkeypatch.undo()
    archive = BundleArchive(tmp_path / "m.zip")
    assert archive.read("b") == b"y" * 90
    with pytest.raises(BundleError, match="90 bytes in b; expected at most 50"):
        archive.read("b", most_bytes=50)
