from __future__ import annotations

import hashlib
import hmac
import stat

import pytest

from femur_nnunet.case_ids import CaseId, keyed_hash, parse_case_id, participant_hash, read_or_create_key
from femur_nnunet.errors import FemurError


def test_a_case_id_can_be_taken_apart_and_put_together():
    parsed = parse_case_id("rochester_0a1b2c3d_v02_r")
    assert parsed == CaseId("rochester", "0a1b2c3d", 2, "right")
    assert str(parsed) == "rochester_0a1b2c3d_v02_r"
    assert parsed.participant_id == "sub-0a1b2c3d"


@pytest.mark.parametrize("text", ["Tulane_0a1b2c3d_v01_l", "tulane_0a1b2c3_v01_l", "tulane_0a1b2c3d_v1_l",
                                  "tulane_0a1b2c3d_v01_x", "tulane_0A1B2C3D_v01_l", "tulane_0a1b2c3d_v01_l.nii.gz"])
def test_other_forms_are_refused(text):
    with pytest.raises(FemurError, match="the form site_8 hex digits"):
        parse_case_id(text)


def test_the_hash_is_hmac_sha256_over_the_separated_parts():
    expected = hmac.new(b"k" * 16, b"participant\0tulane\0P7", hashlib.sha256).hexdigest()[:8]
    assert participant_hash(b"k" * 16, "tulane", "P7") == expected
    assert keyed_hash(b"k", "a", "bc") != keyed_hash(b"k", "ab", "c")


def test_a_new_key_is_private_and_stays(tmp_path):
    path = tmp_path / "keys" / "dataset.key"
    key = read_or_create_key(path)
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_or_create_key(path) == key


def test_a_broken_key_file_is_refused(tmp_path):
    path = tmp_path / "dataset.key"
    path.write_text("not hexadecimal")
    with pytest.raises(FemurError, match="no hexadecimal key"):
        read_or_create_key(path)
