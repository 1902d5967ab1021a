# SPDX-License-Identifier: GPL-2.0-or-later
"""How a race is turned round: three ways to plan an execution in which the later event comes first.

Each plans at the state before the earlier event, and returns how many branches it added there.
Tests: `tests/unit/test_dpor.py`.

Source: Abdulla, Aronis, Jonsson, Sagonas, J. ACM 64(4), 2017, for the first two; for the last one
Flanagan and Godefroid, "Dynamic Partial-Order Reduction for Model Checking Software", POPL 2005,
and Coons, Musuvathi, McKinley, "Bounded Partial-Order Reduction", OOPSLA 2013.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from ksmtrio.sched.exploration.dpor_events import UNKNOWN, Event, Key, Order
from ksmtrio.sched.exploration.dpor_tree import Branch, holds, insert, redundant


class Node:
    """A state on the way of the present execution.

    Attributes:
        asleep: events whose executions from here were all explored, by name.
        tree: what is still to be executed from here.
        enabled: who was enabled, in order; empty where there was no choice.
        free: whether another actor may run without a preemption.
        preemptions: that it took to get here.
    """

    __slots__ = ("asleep", "enabled", "free", "preemptions", "tree")

    def __init__(self, asleep: dict[Key, Event], tree: list[Branch], preemptions: int = 0) -> None:
        self.asleep = asleep
        self.tree = tree
        self.enabled: tuple[int, ...] = ()
        self.free = True
        self.preemptions = preemptions

    def knows(self, key: Key) -> bool:
        """Return whether an event was explored from here, or is planned."""
        return key in self.asleep or holds(self.tree, key)

    def plan(self, event: Event) -> int:
        """Plan a single event; return how many branches that added."""
        if self.knows(event.key):
            return 0
        self.tree.append(Branch(event))
        return 1


@attrs.frozen
class Race:
    """Two conflicting events with nothing in between.

    Attributes:
        earlier: position of the first.
        later: the second, which need not have been executed: a lock may have kept it out.
        position: of the second, or the end of the execution.
        past: positions that happen before the second.
    """

    earlier: int
    later: Event
    position: int
    past: int


def by_sequence(order: Order, nodes: Sequence[Node], race: Race) -> int:
    """Plan all that does not depend on the earlier event, then the later (optimal)."""
    node = nodes[race.earlier]
    events = [order.events[k] for k in order.after(race.earlier)]
    events.append(race.later)
    if redundant(events, node.asleep.values()):
        return 0
    return insert(events, node.tree)


def by_first_event(order: Order, nodes: Sequence[Node], race: Race) -> int:
    """Plan one event with which that sequence may begin, unless one is known (source sets).

    Only what was executed before the later event counts: what came after it belongs to this one
    execution. The last of the candidates is planned, the later event itself if it is one: in all
    families that were measured this led to the fewest redundant executions.
    """
    node = nodes[race.earlier]
    mask = 0
    first: Event | None = None
    for position in order.after(race.earlier):
        if position >= race.position:
            break
        if not order.past[position] & mask:
            event = order.events[position]
            if node.knows(event.key):
                return 0
            first = event
        mask |= 1 << position
    if not race.past & mask:
        if node.knows(race.later.key):
            return 0
        first = race.later
    assert first is not None
    return node.plan(first)


def by_actor(order: Order, nodes: Sequence[Node], race: Race) -> int:
    """Plan the later event's actor, also where the earlier event's actor last got its turn.

    The second plan keeps the first sound under a bound on preemptions: what would need one more
    there needs none at the begin of the turn. An actor that is not enabled stands for all.
    """
    places = {race.earlier, turn_of(order, nodes, race.earlier)}
    return sum(_plan_actor(nodes[place], race.later.actor) for place in sorted(places))


def _plan_actor(node: Node, actor: int) -> int:
    actors = (actor,) if actor in node.enabled else node.enabled
    return sum(node.plan(Event((a, ()), UNKNOWN)) for a in actors)


def turn_of(order: Order, nodes: Sequence[Node], position: int) -> int:
    """Return where the turn began that an event belongs to: the last place to switch for free."""
    events = order.events
    while position and events[position - 1].actor == events[position].actor:
        if nodes[position].free:
            break
        position -= 1
    return position
