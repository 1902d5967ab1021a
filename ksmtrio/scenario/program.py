# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads the programs of actors: operations with their arguments and expected answers.

Each fault is a `ScenarioError` with its line. Whether what an operation names exists is checked in
`check.py`. Tests: `tests/unit/test_scenario_load.py`.
"""

from __future__ import annotations

import re
from typing import Any, Final

from ksmtrio.scenario.operations import ADVICES, OPS, REQUIRED, Answers, ArgType
from ksmtrio.scenario.reader import (
    Place,
    Table,
    errno_name,
    int_in,
    last_key,
    list_of,
    name_of,
    shown,
    word_of,
)
from ksmtrio.scenario.schema import CONTENT_MAX, FrozenMap, Op

COUNT_MAX: Final = 1_000_000
TEXT_MAX: Final = 4096
"""Longest text that is written to or expected of a file: one page."""

_WORDS: Final = {
    ArgType.MBIND_FLAGS: ("STRICT", "MOVE", "MOVE_ALL"),
    ArgType.MOVE_FLAGS: ("MOVE", "MOVE_ALL"),
    ArgType.PROT: ("READ", "WRITE"),
    ArgType.MMAP_FLAGS: ("SHARED", "LOCKED"),
}
_ERRNO: Final = re.compile(r"-E[A-Z0-9]+")


def read_op(place: Place, value: object) -> Op:
    """Return one operation of a program."""
    if not isinstance(value, dict):
        raise place.error(f"{last_key(place)} is {shown(value)}", "expected a table with an op")
    if "op" not in value:
        raise place.error(f"{last_key(place)} has no 'op'", f"expected one of: {', '.join(OPS)}")
    op = word_of(place.at("op"), value["op"], tuple(OPS))
    spec = OPS[op]
    answers = spec.answers is not Answers.NOTHING
    common = ("op", "repeat", "expect") if answers else ("op", "repeat")
    table = Table(place, value, (*common, *spec.arguments))
    args = {}
    for name, argument in spec.arguments.items():
        if name in table:
            args[name] = _argument(place.at(name), table.value[name], argument.type)
        elif argument.default is REQUIRED:
            raise place.error(f"{op} has no {name!r}", f"expected {argument.type.value}")
        else:
            args[name] = argument.default
    return Op(
        op=op,
        args=FrozenMap(args),
        repeat=table.integer("repeat", 1, 1, COUNT_MAX),
        expect=_expect(place.at("expect"), table.value.get("expect"), spec.answers),
        line=place.line,
    )


def _argument(place: Place, value: object, kind: ArgType) -> Any:
    """Return an argument of an operation, lists as tuples."""
    match kind:
        case ArgType.PAGE | ArgType.NODE | ArgType.BLOCK:
            return int_in(place, value, 0, COUNT_MAX)
        case ArgType.COUNT:
            return int_in(place, value, 1, COUNT_MAX)
        case ArgType.VALUE:
            return int_in(place, value, 0, CONTENT_MAX)
        case ArgType.HALF:
            return int_in(place, value, 0, 1)
        case ArgType.ADVICE:
            return word_of(place, value, ADVICES)
        case ArgType.MODE:
            return word_of(place, value, ("DEFAULT", "PREFERRED", "BIND", "INTERLEAVE"))
        case ArgType.SIGNAL:
            return word_of(place, value, ("KILL", "USR1"))
        case ArgType.MBIND_FLAGS | ArgType.MOVE_FLAGS | ArgType.PROT | ArgType.MMAP_FLAGS:
            words = _WORDS[kind]
            return tuple(word_of(spot, item, words) for spot, item in list_of(place, value))
        case ArgType.PAGES | ArgType.NODES:
            items = list_of(place, value)
            if not items:
                raise place.error(f"{last_key(place)} is empty", f"expected {kind.value}")
            return tuple(int_in(spot, item, 0, COUNT_MAX) for spot, item in items)
        case ArgType.PROCESS | ArgType.ACTOR | ArgType.CHILD:
            return name_of(place, value)
        case ArgType.PATH | ArgType.TEXT:
            return _text(place, value)


def _text(place: Place, value: object) -> str:
    if not isinstance(value, str) or len(value) > TEXT_MAX:
        raise place.error(
            f"{last_key(place)} is {shown(value)}", f"expected up to {TEXT_MAX} characters"
        )
    return value


def _expect(
    place: Place, value: object, answers: Answers
) -> int | str | tuple[int | str, ...] | None:
    """Return the answer that an operation should give."""
    if value is None:
        return None
    if isinstance(value, list):
        if answers is not Answers.STATUSES:
            raise place.error("expect is a list", f"this operation answers {answers.value}")
        return tuple(_answer(spot, item) for spot, item in list_of(place, value))
    if answers is Answers.TEXT and isinstance(value, str) and not _ERRNO.fullmatch(value):
        return _text(place, value)
    return _answer(place, value)


def _answer(place: Place, value: object) -> int | str:
    if isinstance(value, str):
        return errno_name(place, value)
    return int_in(place, value, -4095, CONTENT_MAX)
