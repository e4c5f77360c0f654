"""JSON from an untrusted file: every key is asked for by name, type and range, and what nobody asked for is refused."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from typing import Any, NoReturn

from femur_nnunet.model_bundle.bundle_error import BundleError

LONGEST_TEXT = 2000
_SHOWN = 80


def parse_json(data: bytes, *, where: str) -> Any:
    """Return the content of a JSON file; two values for one key, NaN and infinity are refused.

    Parameters
    ----------
    data : bytes
        The file, whose size the caller has limited.
    where : str
        What errors are about.

    Raises
    ------
    BundleError
        No JSON in UTF-8, or one that readers may understand in two ways.
    """
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) < len(pairs):
            raise ValueError("a key twice")
        return content

    def constant(name: str) -> NoReturn:
        raise ValueError(f"the number {name}")

    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=unique, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"unreadable JSON ({_short(error)})", expected="JSON in UTF-8 without doubled keys or NaN",
                          subject=where) from None


class JsonObject:
    """An object of a JSON file, of which every key has to be taken.

    Parameters
    ----------
    content : object
        What stands in the file.
    where : str
        Its place in the file, for errors.

    Raises
    ------
    BundleError
        It is no object; so do all methods where a key lacks or a value is of another kind or out of range.
    """

    def __init__(self, content: Any, where: str) -> None:
        if not isinstance(content, dict):
            raise BundleError(_short(content), expected="an object", subject=where)
        self.where = where
        self._content: Mapping[str, Any] = content
        self._left = set(content)

    def __contains__(self, key: str) -> bool:
        return key in self._content

    def keys(self) -> list[str]:
        """Return all keys in the file's order."""
        return list(self._content)

    def close(self) -> None:
        """Refuse keys that were not taken.

        Raises
        ------
        BundleError
            There are such keys.
        """
        if self._left:
            raise BundleError(f"unknown {_short(', '.join(sorted(self._left)))}", expected="known keys alone",
                              action="read it with the package version that packed it, or pack it anew",
                              subject=self.where)

    def raw(self, key: str) -> Any:
        """Take a value as it is.

        Raises
        ------
        BundleError
            It is not given.
        """
        if key not in self._content:
            raise BundleError(f"no {key}", expected="it to be given", subject=self.where)
        self._left.discard(key)
        return self._content[key]

    def is_null(self, key: str) -> bool:
        """Return whether a key lacks or is null, and take it where it is null."""
        if self._content.get(key) is not None:
            return False
        self._left.discard(key)
        return True

    def child(self, key: str) -> JsonObject:
        """Take an object."""
        return JsonObject(self.raw(key), f"{self.where}, {key}")

    def children(self, key: str, *, most: int) -> list[JsonObject]:
        """Take a list of at most ``most`` objects."""
        return [JsonObject(item, f"{self.where}, {key} {number}")
                for number, item in enumerate(self._list(key, 0, most))]

    def text(self, key: str, *, pattern: str | None = None, one_of: Collection[str] = (),
             longest: int = LONGEST_TEXT) -> str:
        """Take a text, of a list or of a form where one is given."""
        return self._text(self.raw(key), key, pattern, one_of, longest)

    def texts(self, key: str, *, most: int, pattern: str | None = None, one_of: Collection[str] = (),
              longest: int = LONGEST_TEXT) -> tuple[str, ...]:
        """Take a list of at most ``most`` texts."""
        return tuple(self._text(item, key, pattern, one_of, longest) for item in self._list(key, 0, most))

    def flag(self, key: str) -> bool:
        """Take true or false."""
        value = self.raw(key)
        if not isinstance(value, bool):
            self._refuse(key, value, "true or false")
        return value

    def whole(self, key: str, low: int, high: int) -> int:
        """Take a whole number from ``low`` to ``high``."""
        return self._whole(self.raw(key), key, low, high)

    def wholes(self, key: str, low: int, high: int, *, length: tuple[int, int]) -> tuple[int, ...]:
        """Take a list of whole numbers, as long as ``length`` (from, to) says."""
        return tuple(self._whole(item, key, low, high) for item in self._list(key, *length))

    def whole_rows(self, key: str, low: int, high: int, *, length: tuple[int, int], width: int
                   ) -> tuple[tuple[int, ...], ...]:
        """Take a list of lists of ``width`` whole numbers."""
        rows = self._list(key, *length)
        for row in rows:
            if not isinstance(row, list) or len(row) != width:
                self._refuse(key, row, f"lists of {width} whole numbers")
        return tuple(tuple(self._whole(item, key, low, high) for item in row) for row in rows)

    def number(self, key: str, low: float, high: float) -> float:
        """Take a number from ``low`` to ``high``."""
        return self._number(self.raw(key), key, low, high)

    def numbers(self, key: str, low: float, high: float, *, length: tuple[int, int]) -> tuple[float, ...]:
        """Take a list of numbers."""
        return tuple(self._number(item, key, low, high) for item in self._list(key, *length))

    def _list(self, key: str, shortest: int, longest: int) -> list[Any]:
        value = self.raw(key)
        if not isinstance(value, list) or not shortest <= len(value) <= longest:
            self._refuse(key, value, f"a list of {shortest} to {longest}")
        return value

    def _text(self, value: Any, key: str, pattern: str | None, one_of: Collection[str], longest: int) -> str:
        # What cannot be printed could steer the terminal that it is shown on.
        fits = isinstance(value, str) and len(value) <= longest and value.isprintable()
        if not fits or (one_of and value not in one_of) or (pattern and re.fullmatch(pattern, value) is None):
            self._refuse(key, value, f"one of {', '.join(sorted(one_of))}" if one_of else
                         f"the form {pattern}" if pattern else f"one line of at most {longest} printable characters")
        return value  # type: ignore[no-any-return]

    def _whole(self, value: Any, key: str, low: int, high: int) -> int:
        if type(value) is not int or not low <= value <= high:
            self._refuse(key, value, f"a whole number from {low} to {high}")
        return value

    def _number(self, value: Any, key: str, low: float, high: float) -> float:
        # Compared before it becomes a float, which a whole number of 400 digits cannot.
        if type(value) not in (int, float) or not low <= value <= high or not math.isfinite(value):
            self._refuse(key, value, f"a number from {low:g} to {high:g}")
        return float(value)

    def _refuse(self, key: str, value: Any, expected: str) -> NoReturn:
        raise BundleError(f"{_short(value)} for {key}", expected=expected, subject=self.where)


def _short(value: Any) -> str:
    """Return a value for one line of an error: cut, and without characters that could steer a terminal."""
    try:
        text = ascii(value) if not isinstance(value, (str, Exception)) else ascii(str(value))[1:-1]
    except (ValueError, RecursionError):  # a number of more digits than Python prints, a list nested too deep
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."
