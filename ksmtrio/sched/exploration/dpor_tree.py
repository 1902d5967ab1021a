# SPDX-License-Identifier: GPL-2.0-or-later
"""Wakeup trees: what is still to be executed from a state, as sequences of events.

A sequence that could begin with an event which was explored already, or is about to be, is not
worth inserting: whatever follows it will be met there. Tests: `tests/unit/test_dpor_tree.py`.

Source: Abdulla, Aronis, Jonsson, Sagonas, "Source Sets: A Foundation for Optimal Dynamic Partial
Order Reduction", J. ACM 64(4), 2017 (wakeup trees, weak initials).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ksmtrio.sched.exploration.dpor_events import Event, Footprint, Key


class Branch:
    """A node of a wakeup tree.

    Attributes:
        event: leads here.
        children: what is to follow, first come first served; none at a leaf.
    """

    __slots__ = ("children", "event")

    def __init__(self, event: Event) -> None:
        self.event = event
        self.children: list[Branch] = []

    def leaves(self) -> int:
        """Return the number of executions it stands for."""
        count, todo = 0, [self]
        while todo:
            branch = todo.pop()
            count += not branch.children
            todo.extend(branch.children)
        return count


class Word:
    """A sequence of events, with what its prefixes touch."""

    __slots__ = ("_before", "_first", "events")

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = events
        self._first: dict[int, int] = {}
        reads = writes = adds = 0
        anything = False
        self._before = [(reads, writes, adds, anything)]
        for place, event in enumerate(events):
            self._first.setdefault(event.actor, place)
            footprint = event.footprint
            reads |= footprint.reads
            writes |= footprint.writes
            adds |= footprint.adds
            anything = anything or footprint.anything
            self._before.append((reads, writes, adds, anything))

    def may_begin_with(self, event: Event) -> bool:
        """Return whether some sequence equivalent to an extension of this one begins with it."""
        place = self._first.get(event.actor)
        if place is None:
            return not self._conflicts(len(self.events), event.footprint)
        mine = self.events[place]
        return mine.key == event.key and not self._conflicts(place, mine.footprint)

    def without(self, event: Event) -> Word:
        """Return what is left once an event that it may begin with is done."""
        place = self._first.get(event.actor)
        if place is None:
            return self
        return Word([*self.events[:place], *self.events[place + 1 :]])

    def _conflicts(self, length: int, other: Footprint) -> bool:
        """Return whether a footprint conflicts with the first events; as `Footprint.conflicts`."""
        reads, writes, adds, anything = self._before[length]
        if (
            writes & other.touched
            or other.writes & (reads | writes | adds)
            or adds & other.reads
            or other.adds & reads
        ):
            return True
        return bool((anything and other.changes) or (other.anything and writes | adds))


def redundant(events: Sequence[Event], asleep: Iterable[Event]) -> bool:
    """Return whether a sequence may begin with an event that was explored before."""
    word = Word(events)
    return any(word.may_begin_with(event) for event in asleep)


def insert(events: Sequence[Event], tree: list[Branch]) -> int:
    """Insert a sequence into a tree, unless an execution that is planned covers it.

    Returns:
        Number of branches that were added.
    """
    word = Word(events)
    children = tree
    while True:
        branch = next((b for b in children if word.may_begin_with(b.event)), None)
        if branch is None:
            break
        if not branch.children:
            return 0
        word = word.without(branch.event)
        children = branch.children
    for event in word.events:
        new = Branch(event)
        children.append(new)
        children = new.children
    return len(word.events)


def holds(tree: Iterable[Branch], key: Key) -> bool:
    """Return whether a branch begins with an event of that name."""
    return any(branch.event.key == key for branch in tree)
