# SPDX-License-Identifier: GPL-2.0-or-later
"""Where in a TOML document each value stands.

The standard parser forgets lines once it has accepted a document. This scanner walks an accepted
document a second time and maps every key path to the line of its first mention; it reads structure
only and never a value. Nothing else may be concluded from it. Tests:
`tests/property/test_scenario_lines.py` (same paths as the parser, known lines).
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from typing import Final, TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys and list indices from the top, as ``("actor", 1, "program", 0, "page")``."""

DEPTH_MAX: Final = 32
"""Longest key path that is followed."""

_BLANK: Final = re.compile(r"[ \t]*")
_FILLER: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_STRING: Final = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}'
    r"|'''(?:[^']|'(?!''))*'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR: Final = re.compile(r"[^,\]}#\n]+")


class TooDeep(ValueError):
    """A key path is longer than `DEPTH_MAX`.

    Attributes:
        line: where, counted from 1.
    """

    def __init__(self, line: int) -> None:
        super().__init__(f"line {line}: nested deeper than {DEPTH_MAX} keys")
        self.line = line


def line_map(text: str) -> dict[KeyPath, int]:
    """Return the line of the first mention of each key path in `text`, counted from 1.

    Args:
        text: a document that `tomllib` accepts.

    Raises:
        TooDeep: a key path is longer than `DEPTH_MAX`.
        ValueError: the document is not TOML after all.
    """
    return _Scanner(text).scan()


def line_of(lines: dict[KeyPath, int], path: KeyPath) -> int:
    """Return the line of `path`, or of the closest thing around it; 1 for the document itself."""
    for length in range(len(path), 0, -1):
        line = lines.get(path[:length])
        if line is not None:
            return line
    return 1


class _Scanner:
    """One walk over one document.

    Attributes:
        lines: what `scan` returns.
        elements: path of an array of tables -> how many tables it has so far.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.breaks = [match.start() for match in re.finditer("\n", text)]
        self.lines: dict[KeyPath, int] = {}
        self.elements: dict[KeyPath, int] = {}

    def scan(self) -> dict[KeyPath, int]:
        """Walk the document."""
        table: KeyPath = ()
        self._skip(_FILLER)
        while self.at < len(self.text):
            if self._next("["):
                table = self._header()
            else:
                self._pair(table)
            self._skip(_FILLER)
        return self.lines

    def _header(self) -> KeyPath:
        """Read ``[a.b]`` or ``[[a.b]]``; return the path of the table that it opens."""
        line = self._line()
        self._take("[")
        array = self._next("[")
        if array:
            self._take("[")
        keys = self._dotted_key()
        for _ in range(2 if array else 1):
            self._take("]")
        path: KeyPath = ()
        for position, key in enumerate(keys):
            path = (*path, key)
            self._note(path, line)
            last = position == len(keys) - 1
            if array and last:
                self.elements[path] = self.elements.get(path, 0) + 1
            if path in self.elements:
                path = (*path, self.elements[path] - 1)
                self._note(path, line)
        return path

    def _pair(self, path: KeyPath) -> None:
        """Step over ``a.b = value`` inside `path`."""
        line = self._line()
        for key in self._dotted_key():
            path = (*path, key)
            self._note(path, line)
        self._take("=")
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        """Step over a value, noting what is inside."""
        self._skip(_BLANK)
        if self._next("["):
            self._array(path)
        elif self._next("{"):
            self._inline_table(path)
        elif self._next('"') or self._next("'"):
            self._skip(_STRING)
        else:
            self._skip(_SCALAR)

    def _array(self, path: KeyPath) -> None:
        self._take("[")
        index = 0
        self._skip(_FILLER)
        while not self._next("]"):
            self._note((*path, index), self._line())
            self._value((*path, index))
            index += 1
            self._separator("]")
        self._take("]")

    def _inline_table(self, path: KeyPath) -> None:
        self._take("{")
        self._skip(_FILLER)
        while not self._next("}"):
            self._pair(path)
            self._separator("}")
        self._take("}")

    def _separator(self, end: str) -> None:
        self._skip(_FILLER)
        if not self._next(end):
            self._take(",")
            self._skip(_FILLER)

    def _dotted_key(self) -> list[str]:
        keys = [self._key()]
        self._skip(_BLANK)
        while self._next("."):
            self._take(".")
            self._skip(_BLANK)
            keys.append(self._key())
            self._skip(_BLANK)
        return keys

    def _key(self) -> str:
        self._skip(_BLANK)
        quoted = self._next('"') or self._next("'")
        start = self.at
        if not self._skip(_STRING if quoted else _BARE_KEY):
            raise self._surprise("a key")
        raw = self.text[start : self.at]
        return str(tomllib.loads(f"key = {raw}")["key"]) if quoted else raw

    def _note(self, path: KeyPath, line: int) -> None:
        if len(path) > DEPTH_MAX:
            raise TooDeep(line)
        self.lines.setdefault(path, line)

    def _next(self, symbol: str) -> bool:
        return self.text.startswith(symbol, self.at)

    def _take(self, symbol: str) -> None:
        self._skip(_BLANK)
        if not self._next(symbol):
            raise self._surprise(repr(symbol))
        self.at += len(symbol)

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        match = pattern.match(self.text, self.at)
        if match is None:
            return False
        moved = match.end() > self.at
        self.at = match.end()
        return moved

    def _surprise(self, wanted: str) -> ValueError:
        return ValueError(f"line {self._line()}: expected {wanted}")

    def _line(self) -> int:
        return bisect_left(self.breaks, self.at) + 1
