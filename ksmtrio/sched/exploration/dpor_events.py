# SPDX-License-Identifier: GPL-2.0-or-later
"""Events of an exploration by partial orders, and what happens before what in one execution.

An event is a transition of one actor with the choices taken in it. Footprints are kept as bit masks
over the names they touch, and the past of an event as a bit mask over the positions before it, so
that the usual question, do these two conflict, is a few operations on integers. Knows nothing of
search. Tests: `tests/unit/test_dpor_events.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeAlias

from ksmtrio.sched.footprint import Step
from ksmtrio.sched.tap import ADD, ANYTHING, READ, WRITE

Key: TypeAlias = tuple[int, tuple[int, ...]]
"""What an event is called at a given state: its actor, and its choices without trailing zeros."""

ACQUIRE: Final = "acquire"
"""Operation that is enabled only while its lock is free; see `program.IdealLock`."""


class Footprint:
    """What a transition touched; one object for all transitions that touched the same.

    Attributes:
        items: (number of the name, kind of access).
        reads: mask of the names that were read, likewise `writes` and `adds`.
        changes: writes and adds.
        touched: all of them.
        anything: whether just any name may have been read.
    """

    __slots__ = ("adds", "anything", "changes", "items", "reads", "touched", "writes")

    def __init__(self, items: tuple[tuple[int, int], ...], *, anything: bool = False) -> None:
        self.items = items
        self.reads = self.writes = self.adds = 0
        for number, kind in items:
            bit = 1 << number
            if kind & READ:
                self.reads |= bit
            if kind & WRITE:
                self.writes |= bit
            if kind & ADD:
                self.adds |= bit
        self.changes = self.writes | self.adds
        self.touched = self.reads | self.changes
        self.anything = anything

    def conflicts(self, other: Footprint) -> bool:
        """Return whether the order of the two can matter; as `footprint.dependent`."""
        if (
            self.writes & other.touched
            or other.writes & self.touched
            or self.adds & other.reads
            or other.adds & self.reads
        ):
            return True
        return bool((self.anything and other.changes) or (other.anything and self.changes))


NOTHING: Final = Footprint(())


def _unknown() -> Footprint:
    unknown = Footprint((), anything=True)
    unknown.reads = unknown.writes = unknown.touched = unknown.changes = -1
    return unknown


UNKNOWN: Final = _unknown()
"""Of an event that was never executed: it conflicts with all that touch something."""


class Event:
    """A transition.

    Attributes:
        key: see `Key`.
        actor: index of who did it.
        choices: taken in it, without trailing zeros.
        footprint: what it touched when it was last executed.
        woken_by: position of the event that enabled it in the execution it was seen in, or None.
        widths: number of alternatives of each of its choices.
        lock: number of the lock's name, if it is the acquisition of an ideal lock, else -1.
    """

    __slots__ = ("actor", "choices", "footprint", "key", "lock", "widths", "woken_by")

    def __init__(
        self,
        key: Key,
        footprint: Footprint,
        *,
        woken_by: int | None = None,
        widths: tuple[int, ...] = (),
        lock: int = -1,
    ) -> None:
        self.key = key
        self.actor, self.choices = key
        self.footprint = footprint
        self.woken_by = woken_by
        self.widths = widths
        self.lock = lock

    def __repr__(self) -> str:
        return f"<event of actor {self.actor}{self.choices or ''}>"

    def independent(self, other: Event) -> bool:
        """Return whether the two, of different actors, commute."""
        return self.actor != other.actor and not self.footprint.conflicts(other.footprint)

    def alternatives(self) -> Iterator[tuple[int, ...]]:
        """Yield the choices that would have led elsewhere, one changed at a time."""
        taken = self.choices + (0,) * (len(self.widths) - len(self.choices))
        for place, width in enumerate(self.widths):
            for other in range(width):
                if other != taken[place]:
                    yield stripped((*taken[:place], other))


def stripped(choices: Iterable[int]) -> tuple[int, ...]:
    """Return choices without trailing zeros: what is not said takes the ordinary outcome."""
    kept = list(choices)
    while kept and not kept[-1]:
        kept.pop()
    return tuple(kept)


class Names:
    """Numbers for names, and footprints by what they touch.

    Attributes:
        numbers: name -> number, in the order in which they were seen.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.numbers: dict[str, int] = {name: number for number, name in enumerate(names)}
        self._footprints: dict[tuple[tuple[int, int], ...], Footprint] = {}

    def number(self, name: str) -> int:
        """Return the number of a name."""
        return self.numbers.setdefault(name, len(self.numbers))

    def of(self, accesses: Mapping[str, int]) -> Footprint:
        """Return the footprint of some accesses."""
        return self.of_items(tuple((self.number(name), kind) for name, kind in accesses.items()))

    def of_items(self, items: tuple[tuple[int, int], ...]) -> Footprint:
        """Return the footprint of numbered accesses."""
        found = self._footprints.get(items)
        if found is None:
            anything = self.numbers.get(ANYTHING, -1)
            found = Footprint(items, anything=any(number == anything for number, _ in items))
            self._footprints[items] = found
        return found

    def event(self, step: Step) -> Event:
        """Return a step as an event."""
        taken = step.choices
        lock = self.number(next(iter(step.accesses))) if step.op == ACQUIRE else -1
        return Event(
            (step.actor, stripped(index for _, index, _ in taken) if taken else ()),
            self.of(step.accesses),
            woken_by=step.woken_by,
            widths=tuple(of for _, _, of in taken) if taken else (),
            lock=lock,
        )


class Order:
    """The happens-before order of one execution, built event by event, undone from the end.

    Attributes:
        events: in order of execution.
        past: of each event, a mask of the positions that happen before it.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.past: list[int] = []
        self._readers: dict[int, int] = {}
        self._writers: dict[int, int] = {}
        self._adders: dict[int, int] = {}
        self._changers = 0
        self._curious = 0
        self._of_actor: dict[int, list[int]] = {}

    def push(self, event: Event) -> list[int]:
        """Append an event; return the positions it is in a reversible race with, latest first.

        A race is a conflict with nothing in between. It can be reversed unless the earlier event
        enabled the later: by waking it, or by releasing the lock that it acquires. An acquisition
        races with the one before it instead, unless that happens before its actor's previous event.
        """
        position, bit = len(self.events), 1 << len(self.events)
        before, past = self.enabling(event)
        races: list[int] = []
        rest = self._conflicting(event) & ~past
        while rest:
            last = rest.bit_length() - 1
            races.append(last)
            past |= self.past[last] | 1 << last
            rest &= ~past
        rival = self._rival(event, before)
        if rival is not None:
            races.append(rival)
        self.events.append(event)
        self.past.append(past)
        self._of_actor.setdefault(event.actor, []).append(position)
        self._note(event, bit)
        return races

    def pop(self) -> None:
        """Take the last event back."""
        event = self.events.pop()
        self.past.pop()
        self._of_actor[event.actor].pop()
        self._note(event, ~(1 << len(self.events)))

    def enabling(self, event: Event) -> tuple[int, int]:
        """Return what happens before an event that is to come next, its footprint left aside.

        Returns:
            Two masks: what it needs in any case, and that together with the last release of the
            lock that it acquires.
        """
        before = 0
        own = self._of_actor.get(event.actor)
        if own:
            before = self.past[own[-1]] | 1 << own[-1]
        if event.lock < 0:
            if event.woken_by is not None:
                before |= self.past[event.woken_by] | 1 << event.woken_by
            return before, before
        users = self._writers.get(event.lock, 0)
        if not users:
            return before, before
        last = users.bit_length() - 1
        return before, before | self.past[last] | 1 << last

    def rival(self, actor: int, lock: int) -> tuple[int | None, int]:
        """Look at an acquisition that never came to pass.

        Returns:
            Position of the acquisition that it races with, if any, and what happens before it.
        """
        own = self._of_actor[actor][-1]
        past = self.past[own] | 1 << own
        return self._rival(Event((actor, ()), NOTHING, lock=lock), past), past

    def after(self, position: int) -> Iterator[int]:
        """Yield the later positions that the event there does not happen before."""
        for later in range(position + 1, len(self.events)):
            if not self.past[later] >> position & 1:
                yield later

    def _rival(self, event: Event, before: int) -> int | None:
        if event.lock < 0:
            return None
        users = self._writers.get(event.lock, 0)
        while users:
            last = users.bit_length() - 1
            other = self.events[last]
            if other.lock == event.lock:
                free = other.actor != event.actor and not before >> last & 1
                return last if free else None
            users ^= 1 << last
        return None

    def _conflicting(self, event: Event) -> int:
        footprint = event.footprint
        mask = 0
        for number, kind in footprint.items:
            if number == event.lock:
                continue
            mask |= self._writers.get(number, 0)
            if kind != READ:
                mask |= self._readers.get(number, 0)
            if kind != ADD:
                mask |= self._adders.get(number, 0)
        if footprint.anything:
            mask |= self._changers
        if footprint.changes:
            mask |= self._curious
        return mask

    def _note(self, event: Event, bit: int) -> None:
        """Set a position in the masks of what an event touched, or clear it: `bit` < 0."""
        footprint = event.footprint
        for number, kind in footprint.items:
            for of, table in (
                (READ, self._readers),
                (WRITE, self._writers),
                (ADD, self._adders),
            ):
                if kind & of:
                    mask = table.get(number, 0)
                    table[number] = mask & bit if bit < 0 else mask | bit
        if footprint.changes:
            self._changers = self._changers & bit if bit < 0 else self._changers | bit
        if footprint.anything:
            self._curious = self._curious & bit if bit < 0 else self._curious | bit
