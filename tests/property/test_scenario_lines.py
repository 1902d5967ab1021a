# SPDX-License-Identifier: GPL-2.0-or-later
"""The line scanner finds the parser's key paths, each on the line where it was written."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ksmtrio.scenario.lines import KeyPath, line_map

NAMES = st.sampled_from(
    ["a", "b1", "c-d", "e_f", "1", "x.y", "q'", 'd"', "#n", "[k]", "=", "é", ""]
)
SCALARS = st.sampled_from(
    [
        "1",
        "-2",
        "0x1f",
        "1.5e3",
        "inf",
        "true",
        "1979-05-27 07:32:00",
        '"s"',
        '""',
        '"a # b ] } , = \\" \\\\"',
        "'lit # ] }'",
        "''",
        '"""one\ntwo # no comment\n\\""" ] """',
        "'''a\n'b' ''\n] } #'''",
        '"""two quotes"""""',
        "''''a'''''",
        '"""\n"""',
    ]
)
FILLERS = st.lists(st.sampled_from([" ", "\t", "\n", "# c ] } \" '''\n", "\r\n"]), max_size=3)


class Writer:
    """Writes a document piece by piece and remembers where each key path begins."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data
        self.text = ""
        self.lines: dict[KeyPath, int] = {}

    def write(self, text: str) -> None:
        self.text += text

    def note(self, path: KeyPath) -> None:
        self.lines.setdefault(path, self.text.count("\n") + 1)

    def pick(self, *options: Any) -> Any:
        return self.data.draw(st.sampled_from(options))

    def blank(self) -> None:
        self.write(self.pick("", " ", "\t "))

    def filler(self) -> None:
        self.write("".join(self.data.draw(FILLERS)))

    def end_of_line(self) -> None:
        self.write(self.pick("\n", " # a = [1]\n", "\r\n", "\n\n"))

    def key(self, name: str) -> None:
        bare = bool(name) and all(c in "abcdefx1-_" for c in name)
        options = ['"' + name.replace('"', '\\"') + '"']
        options += [name] if bare else []
        options += ["'" + name + "'"] if "'" not in name else []
        self.write(self.pick(*options))

    def dotted(self, names: list[str]) -> None:
        for index, name in enumerate(names):
            if index:
                self.blank()
                self.write(".")
                self.blank()
            self.key(name)

    def value(self, path: KeyPath, depth: int) -> None:
        kind = self.pick("scalar", "array", "inline") if depth else "scalar"
        if kind == "scalar":
            self.write(self.data.draw(SCALARS))
        elif kind == "array":
            self.array(path, depth)
        else:
            self.inline(path, depth)

    def array(self, path: KeyPath, depth: int) -> None:
        self.write("[")
        self.filler()
        count = self.pick(0, 1, 2, 3)
        for index in range(count):
            self.note((*path, index))
            self.value((*path, index), depth - 1)
            self.filler()
            if index < count - 1 or self.pick(True, False):
                self.write(",")
                self.filler()
        self.write("]")

    def inline(self, path: KeyPath, depth: int) -> None:
        self.write("{")
        names = self.data.draw(st.lists(NAMES, unique=True, max_size=3))
        for index, name in enumerate(names):
            self.write(", " if index else " ")
            self.pair(path, name, depth - 1)
        self.write(" }")

    def pair(self, path: KeyPath, name: str, depth: int) -> None:
        names = [name, *self.data.draw(st.lists(NAMES, max_size=2))]
        for length in range(1, len(names) + 1):
            self.note((*path, *names[:length]))
        self.dotted(names)
        self.blank()
        self.write("=")
        self.blank()
        self.value((*path, *names), depth)

    def body(self, path: KeyPath, taken: set[str]) -> None:
        for name in self.data.draw(st.lists(NAMES, unique=True, max_size=3)):
            if name not in taken:
                self.blank()
                self.pair(path, name, 2)
                self.end_of_line()

    def header(self, path: KeyPath, names: list[str], *, array: bool) -> None:
        self.write("[[" if array else "[")
        self.blank()
        self.dotted(names)
        self.blank()
        self.write("]]" if array else "]")
        assert path
        self.end_of_line()

    def document(self) -> None:
        sections = self.data.draw(st.lists(NAMES, unique=True, max_size=3))
        self.body((), set(sections))
        for name in sections:
            self.filler_lines()
            if self.pick(True, False):
                self.array_of_tables(name)
            else:
                parent = self.pick((), ("t",))
                path = (name, *parent)
                for length in range(1, len(path) + 1):
                    self.note(path[:length])
                self.header(path, list(path), array=False)
                self.body(path, set())

    def array_of_tables(self, name: str) -> None:
        for index in range(self.pick(1, 2, 3)):
            self.note((name,))
            self.note((name, index))
            self.header((name, index), [name], array=True)
            self.body((name, index), {"sub"})
            for nested in range(self.pick(0, 1, 2)):
                path = (name, index, "sub", nested)
                self.note(path[:3])
                self.note(path)
                self.header(path, [name, "sub"], array=True)
                self.body(path, set())

    def filler_lines(self) -> None:
        self.write(self.pick("", "\n", "# [x]\n", "\t\n"))


def paths_of(value: Any, path: KeyPath = ()) -> set[KeyPath]:
    """Return every key path inside a parsed value."""
    if isinstance(value, dict):
        pairs: list[tuple[str | int, Any]] = list(value.items())
    elif isinstance(value, list):
        pairs = list(enumerate(value))
    else:
        return set()
    found: set[KeyPath] = set()
    for key, item in pairs:
        found.add((*path, key))
        found |= paths_of(item, (*path, key))
    return found


@given(st.data())
@settings(max_examples=50)
def test_every_key_path_is_found_on_its_line(data: st.DataObject) -> None:
    writer = Writer(data)
    writer.document()
    assert paths_of(tomllib.loads(writer.text)) == set(writer.lines), writer.text
    assert line_map(writer.text) == writer.lines, writer.text


@given(st.text(alphabet="[]{}\"'=.,#a1 \n\\", max_size=40))
def test_whatever_the_parser_accepts_the_scanner_walks(text: str) -> None:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(line_map(text)) == paths_of(document)
