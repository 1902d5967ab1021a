# SPDX-License-Identifier: GPL-2.0-or-later
"""Listeners to the one stream of an execution: what was done, seen and chosen, in order.

The recorder, footprints, state hashes and coverage are taps. A tap changes nothing; one that needs
only part of the stream overrides only that part. Tests: `tests/unit/test_footprint.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ksmtrio.sched.actor_state import ActorState
    from ksmtrio.sched.runtime import Runtime

READ: Final = 1
WRITE: Final = 2
ADD: Final = 4
"""Kinds of access. An ADD is a write whose result nobody looked at: two of them commute."""

ANYTHING: Final = "*"
"""Name in `aside` of an access that may concern any word: a wait condition reads what it likes."""

RCU: Final = "rcu"
"""Name in `aside` of the order of deaths and read-side sections."""

JIFFIES: Final = "jiffies"
"""Name in `aside` of the virtual clock."""


def life_of(name: str) -> str:
    """Return the name in `aside` of an object's life: its death writes it, each access reads it."""
    return f"life {name}"


class Tap:
    """Hears everything, does nothing."""

    def attach(self, rt: Runtime) -> None:
        """An execution is being put together; what follows is of it."""

    def step(self, actor: ActorState) -> None:
        """A transition begins: the actor carries out its pending operation."""

    def operation(self, at: str, event: str, target: Any, value: Any) -> None:
        """A cell or lock operation was done; `value` is what it read, answered or wrote."""

    def guarded(self, obj: Any, field: str, value: Any, *, writes: bool) -> None:
        """A guarded field was assigned, or read; `writes`: by someone who may change its value."""

    def aside(self, name: str, kind: int) -> None:
        """Something else was touched: a life, a queue, the clock; `kind` is READ, WRITE or ADD."""

    def woke(self, actor: ActorState) -> None:
        """The present transition enabled an actor that was blocked or unborn."""

    def remembered(self, name: str, value: Any) -> None:
        """An oracle keeps something that the machine does not show, and may judge by it later."""

    def tracepoint(self, at: str, event: str, fields: dict[str, Any]) -> None:
        """A kernel tracepoint was passed."""

    def choice(self, stream: str, at: str, index: int, of: int, what: str) -> None:
        """A choice among `of` alternatives was taken."""


class Fan(Tap):
    """Passes the stream on to several taps, in order."""

    def __init__(self, *taps: Tap) -> None:
        self._taps = taps

    def attach(self, rt: Runtime) -> None:
        """Pass it on."""
        for tap in self._taps:
            tap.attach(rt)

    def step(self, actor: ActorState) -> None:
        """Pass it on."""
        for tap in self._taps:
            tap.step(actor)

    def operation(self, at: str, event: str, target: Any, value: Any) -> None:
        """Pass it on."""
        for tap in self._taps:
            tap.operation(at, event, target, value)

    def guarded(self, obj: Any, field: str, value: Any, *, writes: bool) -> None:
        """Pass it on."""
        for tap in self._taps:
            tap.guarded(obj, field, value, writes=writes)

    def aside(self, name: str, kind: int) -> None:
        """Pass it on."""
        for tap in self._taps:
            tap.aside(name, kind)

    def woke(self, actor: ActorState) -> None:
        """Pass it on."""
        for tap in self._taps:
            tap.woke(actor)

    def remembered(self, name: str, value: Any) -> None:
        """Pass it on."""
        for tap in self._taps:
            tap.remembered(name, value)

    def tracepoint(self, at: str, event: str, fields: dict[str, Any]) -> None:
        """Pass it on."""
        for tap in self._taps:
            tap.tracepoint(at, event, fields)

    def choice(self, stream: str, at: str, index: int, of: int, what: str) -> None:
        """Pass it on."""
        for tap in self._taps:
            tap.choice(stream, at, index, of, what)
