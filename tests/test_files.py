from __future__ import annotations

import os
import subprocess
import sys

import pytest

from femur_nnunet.errors import FemurError, TargetBusyError
from femur_nnunet.files import atomic_path, hold_folder, read_json, sha256_of_file, write_json, write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.nii.gz"
    path.write_text("old")

    def write_half() -> None:
        with atomic_path(path) as temporary:
            assert temporary.name.endswith(".nii.gz")
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_nan_is_refused_in_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"dice": float("nan")})
    assert not list(tmp_path.iterdir())


def test_a_broken_json_file_becomes_one_line(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(FemurError, match=r"expected a plan; do it\.$"):
        read_json(tmp_path / "a.json", what="a plan", action="do it")


def test_the_hash_is_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_second_process_finds_the_folder_held(tmp_path):
    code = ("import sys, pathlib; from femur_nnunet.files import hold_folder; from femur_nnunet.errors import *\n"
            "try:\n    with hold_folder(pathlib.Path(sys.argv[1])): pass\n"
            "except TargetBusyError as error: sys.exit(error.exit_code)")
    command = [sys.executable, "-c", code, str(tmp_path)]
    with hold_folder(tmp_path):
        assert subprocess.run(command, check=False).returncode == TargetBusyError.exit_code == 3
    assert subprocess.run(command, check=False).returncode == 0


def test_a_private_text_is_readable_by_its_owner_alone_at_every_moment(tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    path.write_text("an older page that all may read")
    modes = []
    fsync = os.fsync

    def looked_at(descriptor):
        modes.append(os.fstat(descriptor).st_mode & 0o777)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", looked_at)
    before = os.umask(0)
    try:
        write_text(path, "pictures of patients", private=True)
        write_text(tmp_path / "public.txt", "a table")
    finally:
        os.umask(before)
    assert modes == [0o600, 0o666]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == "pictures of patients"
