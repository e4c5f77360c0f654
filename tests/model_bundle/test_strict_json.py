from __future__ import annotations

import pytest

from femur_nnunet.model_bundle import BundleError
from femur_nnunet.model_bundle.strict_json import JsonObject, parse_json


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '{"a": NaN}', "[-Infinity]", "{", "", "\ufeff{}", "[" * 100_000,
                                  "1" * 5000])
def test_json_that_readers_may_take_in_two_ways_or_not_at_all_is_refused(text):
    with pytest.raises(BundleError, match="unreadable JSON"):
        parse_json(text.encode(), where="x")


def test_text_in_another_encoding_is_refused():
    with pytest.raises(BundleError, match="unreadable JSON"):
        parse_json("{}".encode("utf-16"), where="x")


@pytest.mark.parametrize(("take", "values"), [
    (lambda o: o.whole("k", 0, 9), [True, 1.0, "1", -1, 10, None, [1], 10**400]),
    (lambda o: o.number("k", 0, 9), [True, "1", -0.5, float("inf"), float("nan"), None, 10**400]),
    (lambda o: o.flag("k"), [0, 1, "true", None]),
    (lambda o: o.text("k", longest=3), [1, None, "four", "a\nb", "\x1b[", b"x", ["a"]]),
    (lambda o: o.text("k", one_of=("a", "b")), ["c", "", "A", ["a"]]),
    (lambda o: o.text("k", pattern="[a-z]+"), ["a1", "", "a\n", 3]),
    (lambda o: o.wholes("k", 0, 9, length=(2, 3)), [[1], [1, 2, 3, 4], [1, 2.0], "12", {"0": 1}]),
    (lambda o: o.whole_rows("k", 0, 9, length=(1, 2), width=2), [[], [[1]], [[1, 2, 3]], [1, 2], [[1, "2"]]]),
    (lambda o: o.child("k"), [[], "x", None, 1]),
    (lambda o: o.children("k", most=1), [{}, [1], [{}, {}], None])])
def test_each_taking_refuses_what_is_not_of_its_kind(take, values):
    for value in values:
        with pytest.raises(BundleError) as caught:
            take(JsonObject({"k": value}, "file"))
        assert len(str(caught.value)) < 400
        assert str(caught.value).isprintable()
    with pytest.raises(BundleError, match="found no k"):
        take(JsonObject({}, "file"))


def test_what_nobody_took_is_refused():
    content = JsonObject({"a": 1, "b": None, "c": 2}, "file")
    content.whole("a", 0, 2)
    assert content.is_null("b")
    assert not content.is_null("c")
    with pytest.raises(BundleError, match="file: found unknown c"):
        content.close()
