# SPDX-License-Identifier: GPL-2.0-or-later
"""A stateful search as data: what is put aside, what is known, and both as JSON has them.

Tests: `tests/unit/test_stateful.py`.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

import attrs
import msgspec

from ksmtrio.errors import BadInput
from ksmtrio.sched.exploration.base import Counts, SavedState
from ksmtrio.sched.exploration.quiet import LeftOut
from ksmtrio.sched.state import STATE_BYTES

Sleep = dict[int, dict[str, int]]
"""Actors that need not run next, with what their pending transitions touch."""

Option = tuple[int, int]
"""Preemptions on the way, this choice included, and the choice."""

_DIGITS: Final = 2 * STATE_BYTES


@attrs.define(eq=False)
class Branch:
    """Alternatives that are left at one choice of an execution.

    Attributes:
        path: all choices of that execution, in order; shared by its branches.
        place: number of the choice in `path`.
        options: what to choose instead; the next one first.
        sleep: actors that need not be tried there.
        step: number of the transition that the choice decides, or is part of.
        data: the choice is not who runs, but what an actor gets.
    """

    path: array[int]
    place: int
    options: list[Option]
    sleep: Sleep
    step: int
    data: bool = False


@attrs.define
class Knowledge:
    """What a search can go on from, apart from its settings.

    Attributes:
        states: hash of each known state -> who was asleep each time.
        todo: branches, in order.
        left_out: branches that are needless as long as a transition is quiet.
        kinds: accesses by name and actor.
        counts: what was done so far.
        begun: the first execution has been made.
        cut: the bound has kept something out.
    """

    states: dict[int, tuple[int, ...]]
    todo: list[Branch]
    left_out: list[LeftOut[Branch]] = attrs.field(factory=list)
    kinds: dict[str, dict[int, int]] = attrs.field(factory=dict)
    counts: Counts = attrs.field(factory=Counts)
    begun: bool = True
    cut: bool = False


_Count = Annotated[int, msgspec.Meta(ge=0)]
_Small = Annotated[int, msgspec.Meta(ge=0, lt=1 << 16)]
_Hash = Annotated[str, msgspec.Meta(pattern=f"^[0-9a-f]{{{_DIGITS}}}$")]
_Hashes = Annotated[str, msgspec.Meta(pattern=f"^([0-9a-f]{{{_DIGITS}}})*$")]
_Options = Annotated[list[tuple[_Count, _Small]], msgspec.Meta(min_length=1)]


class _Branch(msgspec.Struct, array_like=True):
    path: _Count
    place: _Count
    options: _Options
    sleep: list[tuple[_Count, dict[str, _Count]]]
    step: _Count
    data: bool


class _LeftOut(msgspec.Struct, array_like=True):
    actor: _Count
    accesses: dict[str, _Count]
    branch: _Branch


class _Saved(msgspec.Struct, forbid_unknown_fields=True):
    paths: list[list[_Small]]
    todo: list[_Branch]
    left_out: list[_LeftOut]
    kinds: dict[str, list[tuple[_Count, _Count]]]
    states: _Hashes
    asleep: dict[_Hash, _Hashes]
    counts: tuple[_Count, _Count, _Count, _Count]
    begun: bool
    cut: bool


class _Paths:
    """Paths, each once."""

    def __init__(self) -> None:
        self.all: list[list[int]] = []
        self._numbers: dict[bytes, int] = {}

    def number(self, path: array[int]) -> int:
        """Return the number of a path."""
        key = path.tobytes()
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.all)
            self.all.append(path.tolist())
        return number


def to_data(knowledge: Knowledge) -> SavedState:
    """Return it as JSON has it."""
    paths = _Paths()
    counts = knowledge.counts
    saved = _Saved(
        todo=[_plain(branch, paths) for branch in knowledge.todo],
        left_out=[
            _LeftOut(entry.actor, dict(entry.accesses), _plain(entry.what, paths))
            for entry in knowledge.left_out
        ],
        paths=paths.all,
        kinds={name: list(by.items()) for name, by in knowledge.kinds.items()},
        states=_hex(knowledge.states),
        asleep={_hex([s]): _hex(who) for s, who in knowledge.states.items() if who},
        counts=(counts.executions, counts.redundant, counts.blocked, counts.states),
        begun=knowledge.begun,
        cut=knowledge.cut,
    )
    data: SavedState = msgspec.to_builtins(saved)
    return data


def from_data(state: Mapping[str, Any]) -> Knowledge:
    """Return what was saved.

    Raises:
        BadInput: it is none of `stateful`.
    """
    try:
        saved = msgspec.convert(state, _Saved)
        paths = [array("H", path) for path in saved.paths]
        executions, redundant, blocked, states = saved.counts
        return Knowledge(
            states=dict.fromkeys(_ints(saved.states), ())
            | {int(s, 16): tuple(_ints(who)) for s, who in saved.asleep.items()},
            todo=[_branch(branch, paths) for branch in saved.todo],
            left_out=[
                LeftOut(entry.actor, entry.accesses, _branch(entry.branch, paths))
                for entry in saved.left_out
            ],
            kinds={name: dict(by) for name, by in saved.kinds.items()},
            counts=Counts(
                executions=executions, redundant=redundant, blocked=blocked, states=states
            ),
            begun=saved.begun,
            cut=saved.cut,
        )
    except msgspec.ValidationError as error:
        raise BadInput(f"not a state of stateful: {error}") from error
    except IndexError as error:
        raise BadInput("not a state of stateful: a branch of a path that is not there") from error


def _plain(branch: Branch, paths: _Paths) -> _Branch:
    return _Branch(
        paths.number(branch.path),
        branch.place,
        branch.options,
        list(branch.sleep.items()),
        branch.step,
        branch.data,
    )


def _branch(saved: _Branch, paths: list[array[int]]) -> Branch:
    path = paths[saved.path]
    if saved.place > len(path):
        raise IndexError
    sleep = dict(saved.sleep)
    return Branch(path, saved.place, list(saved.options), sleep, saved.step, saved.data)


def _hex(hashes: Iterable[int]) -> str:
    return "".join(f"{value:0{_DIGITS}x}" for value in hashes)


def _ints(text: str) -> list[int]:
    return [int(text[i : i + _DIGITS], 16) for i in range(0, len(text), _DIGITS)]
