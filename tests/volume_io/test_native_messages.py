"""What compiled code writes to the terminal is kept away, and Python's own output comes back."""

from __future__ import annotations

import os

import pytest

from femur_nnunet.volume_io.native_messages import silent_native_messages


def test_file_descriptor_2_is_silent_inside_and_works_again_after(capfd: pytest.CaptureFixture[str]) -> None:
    def fail_inside() -> None:
        with silent_native_messages():
            os.write(2, b"secret name\n")
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail_inside()
    os.write(2, b"afterwards\n")

    assert capfd.readouterr().err == "afterwards\n"
