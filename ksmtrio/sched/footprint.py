# SPDX-License-Identifier: GPL-2.0-or-later
"""Footprints: what each transition read and wrote, for partial orders and happens-before.

A transition is an actor's pending operation with all that follows up to its next announcement.
Names are the stable names of cells, locks and guarded fields, so that footprints of different
executions compare. Tests: `tests/unit/test_footprint.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

from ksmtrio.sched.cell import Cell, field_name
from ksmtrio.sched.tap import ADD, ANYTHING, READ, WRITE, Tap, life_of

if TYPE_CHECKING:
    from ksmtrio.sched.actor_state import ActorState

_READS: Final = frozenset({"read", "test_bit"})
_READS_IF_FALSE: Final = frozenset(
    {
        "cmpxchg",
        "inc_not_zero",
        "add_unless",
        "trylock_page",
        "down_read_trylock",
    }
)
_SETS: Final = {
    "set_bit": False,
    "test_and_set_bit": False,
    "clear_bit": True,
    "test_and_clear_bit": True,
}
"""Bit operation -> the old value at which it changes something."""


@attrs.define(eq=False)
class Step:
    """One transition of an execution.

    Attributes:
        actor: index of who did it.
        at: label of its operation.
        op: kind of operation, ``start`` or ``resume``.
        accesses: name -> READ, WRITE, ADD, or several of them.
        woken_by: index of the step that last enabled the actor since its previous step, or None.
        choices: data and fault choices taken in it: (stream, index, of).
    """

    actor: int
    at: str
    op: str
    accesses: dict[str, int] = attrs.field(factory=dict)
    woken_by: int | None = None
    choices: list[tuple[str, int, int]] = attrs.field(factory=list)


def dependent(one: Mapping[str, int], other: Mapping[str, int]) -> bool:
    """Return whether two footprints conflict: one name, and not both only read or only added."""
    if len(one) > len(other):
        one, other = other, one
    for name, kind in one.items():
        theirs = other.get(name)
        if theirs is not None and kind | theirs not in (READ, ADD):
            return True
    return _anything(one, other) or _anything(other, one)


def _anything(one: Mapping[str, int], other: Mapping[str, int]) -> bool:
    """Return whether `one` read just anything, and `other` changed something."""
    return ANYTHING in one and any(kind & ~READ for kind in other.values())


def kind_of(event: str, value: Any) -> int:
    """Return the kind of access that an operation was, from its event and what it answered.

    An operation that failed, or found what it would have made, has only looked.
    """
    name = event.partition(" ")[0]
    if name in _READS or (value is False and name in _READS_IF_FALSE):
        return READ
    if name in _SETS and value is not _SETS[name]:
        return READ
    return WRITE


class Footprints(Tap):
    """Collects the transitions of one execution.

    Attributes:
        steps: in order of execution; what the start state did is not among them.
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._now: dict[str, int] = {}
        self._choices: list[tuple[str, int, int]] = []
        self._woken: dict[int, int] = {}
        self._names: dict[Any, tuple[str, str]] = {}

    def step(self, actor: ActorState) -> None:
        """Begin a transition; its announced target is read at the least."""
        new = Step(actor.index, actor.at, actor.op, woken_by=self._woken.pop(actor.index, None))
        self.steps.append(new)
        self._now, self._choices = new.accesses, new.choices
        if actor.obj is not None:
            self._touch(actor.obj, READ)

    def operation(self, at: str, event: str, target: Any, value: Any) -> None:
        """Note an access to a cell or lock."""
        if target is not None:
            self._touch(target, kind_of(event, value))

    def guarded(self, obj: Any, field: str, value: Any, *, writes: bool) -> None:
        """Note an access to a guarded field."""
        self.aside(field_name(obj, field), WRITE if writes else READ)
        if obj.name:
            self.aside(life_of(obj.name), READ)

    def aside(self, name: str, kind: int) -> None:
        """Note any other access."""
        now = self._now
        now[name] = now.get(name, 0) | kind

    def woke(self, actor: ActorState) -> None:
        """Remember who enabled the actor."""
        self._woken[actor.index] = len(self.steps) - 1

    def choice(self, stream: str, at: str, index: int, of: int, what: str) -> None:
        """Note a data or fault choice."""
        if stream != "schedule":
            self._choices.append((stream, index, of))

    def _touch(self, target: Any, kind: int) -> None:
        names = self._names.get(target)
        if names is None:
            owner = target.owner if isinstance(target, Cell) else getattr(target, "owner", None)
            life = life_of(owner.name) if owner is not None and owner.name else ""
            names = self._names[target] = (target.name, life)
        now = self._now
        now[names[0]] = now.get(names[0], 0) | kind
        if names[1]:
            now[names[1]] = now.get(names[1], 0) | READ
