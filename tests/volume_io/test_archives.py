"""Scans and masks in archives are read as unpacked ones, and nothing is left behind."""

from __future__ import annotations

import errno
import gzip
import io
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_factory import write_ct_series

from femur_nnunet.errors import FemurError, MachineError
from femur_nnunet.volume_io import archives
from femur_nnunet.volume_io.archives import FOLDER_PREFIX, ArchiveLimits, is_archive, on_disk
from femur_nnunet.volume_io.masks import read_mask
from femur_nnunet.volume_io.reading import read_volume

STORED = np.random.default_rng(4).integers(0, 3000, (4, 6, 7)).astype(np.uint16)


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


def pack(path: Path, files: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def series_files(folder: Path) -> dict[str, bytes]:
    write_ct_series(folder, STORED)
    files = {f"study/deep/{path.name}": path.read_bytes() for path in folder.iterdir()}
    return {**files, "__MACOSX/study/._x.dcm": b"\0\5\26\7" * 60, "study/readme.txt": b"hello"}


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.TGZ"])
def test_a_dicom_series_in_an_archive_is_read_like_its_folder(tmp_path: Path, temporary_folder: Path,
                                                              name: str) -> None:
    packed = pack(tmp_path / name.replace("TGZ", "tgz"), series_files(tmp_path / "series"))

    volume = read_volume(packed)

    np.testing.assert_array_equal(volume.array, STORED.astype(int) - 1024)
    assert volume.source_format == "dicom"
    assert not list(temporary_folder.iterdir())


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ".mhd"])
@pytest.mark.parametrize("archive", ["a.zip", "a.tgz"])
def test_one_image_file_in_an_archive_is_read_as_image_and_as_mask(tmp_path: Path, temporary_folder: Path,
                                                                   archive: str, suffix: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    labels = (STORED % 3).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(labels), str(source / f"m{suffix}"))
    packed = pack(tmp_path / archive, {path.name: path.read_bytes() for path in source.iterdir()})

    volume = read_volume(packed)
    np.testing.assert_array_equal(volume.array, labels)
    np.testing.assert_array_equal(read_mask(packed, volume.grid), labels)
    assert not list(temporary_folder.iterdir())


@pytest.mark.parametrize("name", ["../out.dcm", "/tmp/out.dcm", "a/../../out.dcm", "..\\out.dcm", "C:\\out.dcm"])
@pytest.mark.parametrize("archive", ["a.zip", "a.tar"])
def test_a_member_that_leads_out_of_the_archive_is_refused(tmp_path: Path, temporary_folder: Path, archive: str,
                                                           name: str) -> None:
    packed = pack(tmp_path / archive, {"good.dcm": b"x", name: b"evil"})

    with pytest.raises(FemurError, match="row 1: found an archive with links, devices or paths") as caught:
        read_volume(packed, subject="row 1")
    assert "out.dcm" not in str(caught.value)
    assert not list(tmp_path.rglob("out.dcm"))
    assert not list(temporary_folder.iterdir())


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member = tarfile.TarInfo("link")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)

    with pytest.raises(FemurError, match="links, devices"):
        read_volume(tmp_path / "a.tar")


def test_a_symbolic_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        member = zipfile.ZipInfo("link")
        member.external_attr = 0o120777 << 16
        archive.writestr(member, "/etc/passwd")

    with pytest.raises(FemurError, match="links, devices"):
        read_volume(tmp_path / "a.zip")


@pytest.mark.parametrize("archive", ["a.zip", "a.tgz"])
def test_a_bomb_is_stopped_by_what_it_unpacks_to_not_by_what_it_claims(tmp_path: Path, temporary_folder: Path,
                                                                       archive: str) -> None:
    packed = pack(tmp_path / archive, {"zeros.nii": bytes(30_000_000)})
    assert packed.stat().st_size < 100_000
    limits = ArchiveLimits(free_bytes=5_000_000)

    with pytest.raises(FemurError, match="a decompression bomb"), on_disk(packed, limits=limits):
        pytest.fail("the bomb was unpacked")
    assert not list(temporary_folder.iterdir())


def test_too_many_members_are_refused(tmp_path: Path) -> None:
    packed = pack(tmp_path / "a.zip", {f"{number}.dcm": b"" for number in range(12)})

    with pytest.raises(FemurError, match="more than 10 files"), on_disk(packed, limits=ArchiveLimits(members=10)):
        pytest.fail("the archive was unpacked")


def test_the_limits_leave_room_for_masks_and_grow_with_the_archive() -> None:
    limits = ArchiveLimits()

    assert limits.bytes_of(1000) == 1 << 30
    assert limits.bytes_of(20_000_000) == 2_000_000_000
    assert limits.bytes_of(1 << 40) == 8 << 30


@pytest.mark.parametrize(("files", "told"), [
    ({"a.nii.gz": b"x", "b.nii.gz": b"y"}, "an archive of 2 image file"),
    ({"a.nii.gz": b"x", "b.dcm": b"y" * 200}, r"1 image file\(s\) and 1 DICOM"),
    ({"a.txt": b"x"}, "no DICOM file"),
    ({}, "no DICOM file"),
])
def test_an_archive_of_anything_but_one_scan_is_refused(tmp_path: Path, files: dict[str, bytes], told: str) -> None:
    with pytest.raises(FemurError, match=told):
        read_volume(pack(tmp_path / "a.zip", files))


@pytest.mark.parametrize("archive", ["a.zip", "a.tar", "a.tgz"])
def test_damaged_archives_are_refused_in_one_line(tmp_path: Path, temporary_folder: Path, archive: str) -> None:
    packed = pack(tmp_path / archive, series_files(tmp_path / "series"))
    sound = packed.read_bytes()
    generator = np.random.default_rng(0)
    told = []
    for _ in range(20):
        content = bytearray(sound[:generator.integers(1, len(sound))])
        content[generator.integers(0, len(content))] ^= 255
        packed.write_bytes(bytes(content))
        try:
            read_volume(packed, subject="row 1")
        except FemurError as error:
            told.append(str(error))
    assert len(told) > 10
    assert all(line.startswith("row 1: found ") and str(tmp_path) not in line for line in told)
    assert not list(temporary_folder.iterdir())


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    packed = pack(tmp_path / "a.zip", {"a.nii": b"x" * 50})
    content = bytearray(packed.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    packed.write_bytes(bytes(content))

    with pytest.raises(FemurError, match="an encrypted archive"):
        read_volume(packed)


def test_a_killed_process_leaves_a_folder_that_the_next_reader_removes(tmp_path: Path, temporary_folder: Path) -> None:
    packed = pack(tmp_path / "a.zip", series_files(tmp_path / "series"))
    script = ("import sys, time, pathlib\nfrom femur_nnunet.volume_io.archives import on_disk\n"
              "with on_disk(pathlib.Path(sys.argv[1])):\n    print('unpacked', flush=True)\n    time.sleep(60)\n")
    process = subprocess.Popen([sys.executable, "-c", script, str(packed)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"unpacked\n"
    (left,) = temporary_folder.glob(f"{FOLDER_PREFIX}*")
    assert left.stat().st_mode & 0o077 == 0
    long_ago = time.time() - 3600
    os.utime(left, (long_ago, long_ago))
    read_volume(packed)
    assert left.exists()  # its process lives

    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    os.utime(left, (long_ago, long_ago))
    read_volume(packed)

    assert not list(temporary_folder.iterdir())


def test_other_paths_pass_through(tmp_path: Path) -> None:
    (tmp_path / "folder.zip").mkdir()
    for path in (tmp_path, tmp_path / "folder.zip", tmp_path / "absent.zip"):
        with on_disk(path) as source:
            assert source == path
    assert [is_archive(Path(name)) for name in ("a.ZIP", "b.tar.gz", "c.nii.gz", "d.gz")] == [True, True, False, False]


@pytest.mark.parametrize("header", [
    b"ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_SHORT\nElementDataFile = %s\n",
    b"NRRD0004\ntype: short\ndimension: 3\nsizes: 2 2 2\nencoding: raw\ndata file: %s\n\n"])
@pytest.mark.parametrize("where", ["absolute", "above"])
def test_a_header_in_an_archive_cannot_name_voxels_outside_of_it(tmp_path: Path, header: bytes, where: str) -> None:
    secret = tmp_path / "secret.raw"
    secret.write_bytes(bytes(16))
    name = str(secret) if where == "absolute" else "../../../../secret.raw"
    suffix = ".nrrd" if header.startswith(b"NRRD") else ".mhd"
    path = pack(tmp_path / "a.zip", {f"scan{suffix}": header % name.encode()})
    with pytest.raises(FemurError, match="outside of its archive"), on_disk(path):
        pass


def test_two_members_that_become_one_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for content in (b"first", b"second"):
            member = tarfile.TarInfo("series/1.dcm")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    with pytest.raises(FemurError, match="cannot be unpacked"), on_disk(path):
        pass


def pax_header(n_bytes: int) -> bytes:
    """A tar's extended header that claims and has so many bytes."""
    member = tarfile.TarInfo("pax")
    member.type, member.size = tarfile.XHDTYPE, n_bytes
    return member.tobuf(tarfile.USTAR_FORMAT) + b"\0" * (n_bytes + -n_bytes % 512)


@pytest.mark.parametrize("n_headers", [1, 40])
def test_headers_of_a_tar_count_toward_the_limits(tmp_path: Path, temporary_folder: Path, n_headers: int) -> None:
    # One huge header, and many that are allowed one by one, each before a small file.
    one = (60 << 20) // n_headers
    sound = [pack(tmp_path / "sound.tar", {f"{number}.dcm": b"x"}).read_bytes()[:1024] for number in range(n_headers)]
    packed = tmp_path / "a.tgz"
    packed.write_bytes(gzip.compress(b"".join(pax_header(one) + member for member in sound) + bytes(1024), 1))
    assert packed.stat().st_size < 1 << 20
    limits = ArchiveLimits(free_bytes=10 << 20, ratio=1, header_bytes=ArchiveLimits().header_bytes if n_headers == 1
                           else 2 << 20)
    told = "headers larger than the limit" if n_headers == 1 else "a decompression bomb"

    tracemalloc.start()
    with pytest.raises(FemurError, match=told), on_disk(packed, limits=limits):
        pytest.fail("the bomb was unpacked")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 20 << 20
    assert not list(temporary_folder.iterdir())


def test_a_member_with_a_long_name_and_many_attributes_is_unpacked(tmp_path: Path) -> None:
    write_ct_series(tmp_path / "series", STORED)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted((tmp_path / "series").iterdir()):
            member = archive.gettarinfo(path, f"{'folder ' * 12}/{'study ü ' * 20}/{path.name}")
            member.pax_headers = {"SCHILY.xattr.user.note": "n" * 20_000}
            with path.open("rb") as content:
                archive.addfile(member, content)

    np.testing.assert_array_equal(read_volume(tmp_path / "a.tar.gz").array, STORED.astype(int) - 1024)


def test_the_table_of_a_zip_is_bounded_before_it_is_read(tmp_path: Path) -> None:
    packed = pack(tmp_path / "a.zip", {f"{number:060d}.dcm": b"" for number in range(200)})
    limits = ArchiveLimits(members=3, header_bytes=1 << 10)

    with pytest.raises(FemurError, match="headers larger than the limit"), on_disk(packed, limits=limits):
        pytest.fail("the archive was unpacked")


@pytest.mark.parametrize("where", ["no folder", "while unpacking"])
def test_a_full_temporary_folder_is_no_fault_of_the_archive(tmp_path: Path, temporary_folder: Path, where: str,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    packed = pack(tmp_path / "a.tar", series_files(tmp_path / "series"))
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fail(*_: object, **__: object) -> None:
        raise full

    monkeypatch.setattr(*((tempfile, "mkdtemp", fail) if where == "no folder" else (archives, "_write", fail)))
    with pytest.raises(MachineError, match=r"row 1: .*No space left on device"):
        read_volume(packed, subject="row 1")
    assert not list(temporary_folder.iterdir())
