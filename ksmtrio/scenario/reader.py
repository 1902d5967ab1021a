# SPDX-License-Identifier: GPL-2.0-or-later
"""Typed access to a parsed TOML document, with one-line errors that name the line.

Owns the form of a scenario error: ``file:line: what is wrong; what is allowed``. Knows no key of
the format. Tests: `tests/unit/test_scenario_load.py`.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Collection
from typing import Any, Final, TypeVar

import attrs

from ksmtrio.errors import ScenarioError
from ksmtrio.scenario.lines import KeyPath, line_of
from ksmtrio.scenario.schema import PageRef

T = TypeVar("T")

LIST_MAX: Final = 4096
"""Longest list that is read."""

_SHOWN_MAX: Final = 40
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_PAGE_REF: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]{0,31}):([0-9]{1,6})")


def shown(value: object) -> str:
    """Return `value` as one short line of ASCII."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    text = ascii(value)
    return text if len(text) <= _SHOWN_MAX else f"{text[: _SHOWN_MAX - 3]}..."


def is_int(value: object) -> bool:
    """Return whether `value` is an integer and not a boolean."""
    return isinstance(value, int) and not isinstance(value, bool)


@attrs.frozen
class Place:
    """A spot in a scenario: everything an error needs to know.

    Attributes:
        source: name of the file.
        lines: key path -> line.
        path: where in the document.
    """

    source: str
    lines: dict[KeyPath, int]
    path: KeyPath = ()

    @property
    def line(self) -> int:
        """Line of this spot, counted from 1."""
        return line_of(self.lines, self.path)

    def at(self, *keys: str | int) -> Place:
        """Return the spot `keys` further down."""
        return Place(self.source, self.lines, (*self.path, *keys))

    def error(self, wrong: str, allowed: str) -> ScenarioError:
        """Return the error for this spot."""
        return scenario_error(self.source, self.line, wrong, allowed)


def scenario_error(source: str, line: int | None, wrong: str, allowed: str) -> ScenarioError:
    """Return an error of the one form that scenario errors have."""
    where = one_line(source) if line is None else f"{one_line(source)}:{line}"
    return ScenarioError(f"{where}: {wrong}; {allowed}")


def one_line(text: str) -> str:
    """Return `text` without line breaks and control characters."""
    return "".join(c if c.isprintable() else "?" for c in text)


class Table:
    """A TOML table that is being read.

    Args:
        place: where it stands.
        value: what the parser found there.
        keys: keys that are allowed in it.

    Raises:
        ScenarioError: it is no table, or has a key that is not allowed.
    """

    def __init__(self, place: Place, value: object, keys: Collection[str]) -> None:
        if not isinstance(value, dict):
            raise place.error(f"{last_key(place)} is {shown(value)}", "expected a table")
        self.place = place
        self.value: dict[str, Any] = value
        for key in value:
            if key not in keys:
                allowed = f"allowed here: {', '.join(keys)}" if keys else "no key is allowed here"
                raise place.at(key).error(f"unknown key {shown(key)}", allowed)

    def __contains__(self, key: str) -> bool:
        return key in self.value

    def required(self, key: str) -> Any:
        """Return the raw value of a key that has to be there."""
        if key not in self.value:
            raise self.place.error(f"{last_key(self.place)} has no {key!r}", "it is required")
        return self.value[key]

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        """Return an integer in [low, high]."""
        return int_in(self.place.at(key), self.value.get(key, default), low, high)

    def optional_integer(self, key: str, low: int, high: int) -> int | None:
        """Return an integer in [low, high], or None when the key is absent."""
        return self.integer(key, low, low, high) if key in self.value else None

    def boolean(self, key: str, *, default: bool) -> bool:
        """Return true or false."""
        value = self.value.get(key, default)
        if not isinstance(value, bool):
            raise self.place.at(key).error(f"{key} is {shown(value)}", "expected true or false")
        return value

    def string(self, key: str, default: str | None = None) -> str:
        """Return a string; required when there is no default."""
        value = self.required(key) if default is None else self.value.get(key, default)
        if not isinstance(value, str):
            raise self.place.at(key).error(f"{key} is {shown(value)}", "expected a string")
        return value

    def name(self, key: str = "name") -> str:
        """Return a required name."""
        return name_of(self.place.at(key), self.string(key))

    def word(self, key: str, default: str, words: Collection[str]) -> str:
        """Return one of `words`."""
        return word_of(self.place.at(key), self.string(key, default), words)

    def items(self, key: str) -> list[tuple[Place, Any]]:
        """Return the elements of a list, each with its spot; none when the key is absent."""
        return list_of(self.place.at(key), self.value.get(key, []))

    def tables(self, key: str, read: Callable[[Place, object], T]) -> tuple[T, ...]:
        """Return what `read` makes of each table of an array of tables."""
        value = self.value.get(key, [])
        if isinstance(value, dict):
            raise self.place.at(key).error(
                f"{key} is a single table", f"write [[...{key}]] with two brackets"
            )
        return tuple(read(place, item) for place, item in self.items(key))

    def page_refs(self, key: str) -> tuple[PageRef, ...]:
        """Return a list of pages."""
        return tuple(page_ref(place, item) for place, item in self.items(key))


def last_key(place: Place) -> str:
    """Return what a spot is called: ``[machine]``, ``[[actor]] 2``, ``page``."""
    names = [key for key in place.path if isinstance(key, str)]
    if not names:
        return "the scenario"
    last = place.path[-1]
    return f"{one_line(names[-1])} {last + 1}" if isinstance(last, int) else one_line(names[-1])


def int_in(place: Place, value: object, low: int, high: int) -> int:
    """Return `value` if it is an integer in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise place.error(
            f"{last_key(place)} is {shown(value)}", f"expected an integer from {low} to {high}"
        )
    return value


def name_of(place: Place, value: object) -> str:
    """Return `value` if it is a name."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise place.error(
            f"{last_key(place)} {shown(value)} is not a name",
            "expected up to 32 letters, digits, '_', '-', '.', not beginning with a digit",
        )
    return value


def word_of(place: Place, value: object, words: Collection[str]) -> str:
    """Return `value` if it is one of `words`."""
    if not isinstance(value, str) or value not in words:
        raise place.error(
            f"{last_key(place)} is {shown(value)}",
            f"expected one of: {', '.join(word or chr(34) * 2 for word in words)}",
        )
    return value


def list_of(place: Place, value: object) -> list[tuple[Place, Any]]:
    """Return the elements of `value`, each with its spot, if it is a list of moderate length."""
    if not isinstance(value, list):
        raise place.error(f"{last_key(place)} is {shown(value)}", "expected a list")
    if len(value) > LIST_MAX:
        raise place.error(
            f"{last_key(place)} has {len(value)} elements", f"at most {LIST_MAX} are allowed"
        )
    return [(place.at(index), item) for index, item in enumerate(value)]


def page_ref(place: Place, value: object) -> PageRef:
    """Return the page that ``A:0`` names; whether it exists is checked later."""
    match = _PAGE_REF.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise place.error(
            f"{last_key(place)} is {shown(value)}",
            'expected a page as "A:0": a process, a colon, a page number',
        )
    return PageRef(match[1], int(match[2]))


def errno_name(place: Place, value: object) -> str:
    """Return ``-EBUSY`` for ``-EBUSY`` or ``EBUSY``: the name of a known errno, with its sign."""
    name = value.removeprefix("-") if isinstance(value, str) else ""
    if not name.startswith("E") or not hasattr(errno, name):
        raise place.error(
            f"{last_key(place)} is {shown(value)}", 'expected the name of an errno, as "-EBUSY"'
        )
    return f"-{name}"
