from __future__ import annotations

import argparse

import pytest

from femur_nnunet.argument_types import count, dataset_number, names, positive_count, positive_number


@pytest.mark.parametrize(("read", "text", "value"), [
    (count, "0", 0), (count, "12", 12), (positive_count, "1", 1), (dataset_number, "007", 7),
    (dataset_number, "999", 999),
    (positive_number, "0.5", 0.5), (positive_number, "1e3", 1000.0), (names, "a, b,,c ", ("a", "b", "c"))])
def test_a_value_in_range_is_read(read, text, value):
    assert read(text) == value


@pytest.mark.parametrize(("read", "text", "needed"), [
    (count, "-1", "a whole number 0 or more"), (count, "1.5", "a whole number 0 or more"),
    (count, "1_000", "a whole number 0 or more"), (count, "²", "a whole number 0 or more"), (count, "", "0 or more"),
    (positive_count, "0", "a whole number above 0"), (dataset_number, "0", "from 1 to 999"),
    (dataset_number, "1000", "from 1 to 999"), (positive_number, "0", "a number above 0"),
    (positive_number, "nan", "a number above 0"), (positive_number, "inf", "a number above 0"),
    (positive_number, "x", "a number above 0")])
def test_another_value_is_told_with_what_is_needed(read, text, needed):
    with pytest.raises(argparse.ArgumentTypeError, match=needed) as caught:
        read(text)
    assert str(caught.value).endswith(f"; got {text!r}")
