"""Case and participant identifiers: keyed hashes, so that an id says nothing without the key."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from femur_nnunet.errors import FemurError

CASE_ID_PATTERN = re.compile(r"^([a-z0-9]+)_([0-9a-f]{8})_v([0-9]{2})_([lrb])$")
SITE_PATTERN = re.compile(r"^[a-z0-9]+$")
_SIDE_LETTERS = {"left": "l", "right": "r", "both": "b"}
_SIDE_NAMES = {letter: name for name, letter in _SIDE_LETTERS.items()}


@dataclass(frozen=True)
class CaseId:
    """The parts of a case id such as ``tulane_0a1b2c3d_v01_l``."""

    site: str
    participant_hash: str
    visit: int
    side: str

    def __str__(self) -> str:
        return f"{self.site}_{self.participant_hash}_v{self.visit:02d}_{_SIDE_LETTERS[self.side]}"

    @property
    def participant_id(self) -> str:
        """``sub-`` and the keyed hash of the participant."""
        return f"sub-{self.participant_hash}"


def parse_case_id(text: str) -> CaseId:
    """Take a case id apart.

    Raises
    ------
    FemurError
        ``text`` has not the form ``site_hash_vNN_side``.
    """
    match = CASE_ID_PATTERN.match(text)
    if match is None:
        raise FemurError(f"the case id {text!r}", expected="the form site_8 hex digits_vNN_l|r|b, "
                         "as in tulane_0a1b2c3d_v01_l", action="use the ids that convert_qct_sites wrote")
    site, participant_hash, visit, side = match.groups()
    return CaseId(site, participant_hash, int(visit), _SIDE_NAMES[side])


def keyed_hash(key: bytes, *parts: str, digits: int = 8) -> str:
    """Return the first ``digits`` hexadecimal digits of HMAC-SHA256 over the parts.

    The parts are joined by a byte that no text file holds, so ``("a", "bc")`` and ``("ab", "c")``
    differ.
    """
    message = "\0".join(parts).encode("utf-8")
    return hmac.new(key, message, hashlib.sha256).hexdigest()[:digits]


def participant_hash(key: bytes, site: str, participant: str) -> str:
    """Return the 8 hexadecimal digits that stand for one participant of one site."""
    return keyed_hash(key, "participant", site, participant)


def read_or_create_key(path: Path) -> bytes:
    """Return the secret key in ``path``; a new random one is written there, mode 600, if there is none.

    Raises
    ------
    FemurError
        The file holds no hexadecimal key of at least 16 bytes.
    """
    if not path.exists() or path.stat().st_size == 0:
        path.parent.mkdir(parents=True, exist_ok=True)
        _create_key(path)
    text = path.read_text(encoding="ascii", errors="replace").strip()
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) < 16:
        raise FemurError("no hexadecimal key of at least 32 digits in the key file",
                         expected="the key that the first conversion of this dataset wrote",
                         action="give the right --key-file; another key would give every participant a new id")
    return key


def _create_key(path: Path) -> None:
    """Write a new key, unless another process is quicker; what a killed run left empty is no key."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+", encoding="ascii", errors="replace") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if handle.read():
            return
        try:
            handle.write(secrets.token_hex(32) + "\n")
            handle.flush()
            os.fsync(handle.fileno())
        except OSError:
            # Half a key would be taken for a whole one; closing must find nothing left to write either.
            os.ftruncate(descriptor, 0)
            raise
