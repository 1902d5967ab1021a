# SPDX-License-Identifier: GPL-2.0-or-later
"""Partial order sampling: a random priority for each pending event, drawn anew where it races.

Source: Yuan, Yang, Gu, "Partial Order Aware Concurrency Sampling", CAV 2018. Guarantee: each
partial order of an execution has a positive probability. Events that do not race cost no
probability at all, as the order among them is not part of the partial order; and an event that lost
against one it races with starts afresh, instead of staying behind whatever else comes.

Two pending operations race here when they are announced on one cell or lock and not both only read.
Words that a step touches beside the one it announces (`*_in_step`, guarded fields) are not seen: an
event may then keep a priority that the paper would draw anew, which lowers the odds of some orders
and makes none impossible. The paper knows no yields; here one has all priorities drawn anew.

Tests: `tests/unit/test_pos.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ksmtrio.prng import Stream
from ksmtrio.sched.actor_state import ActorState
from ksmtrio.sched.strategies.base import SeededChoices, index_to_start

READS: Final = frozenset({"read", "test_bit"})
"""Kinds of operations that change nothing."""

_PRIORITY_RANGE: Final = 1 << 40
"""Wide enough that ties do not happen in practice; the first of them wins."""


def race(one: ActorState, other: ActorState) -> bool:
    """Return whether the pending operations of two actors depend on their order."""
    return (
        one.obj is not None and one.obj is other.obj and not (one.op in READS and other.op in READS)
    )


class EventPriorities(SeededChoices):
    """Runs the pending event of highest priority; each event draws one. In the paper: BasicPOS.

    Starts go first.
    """

    watches = True

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._schedule = Stream(seed, "schedule")
        self._priority: dict[int, int] = {}

    def pick(self, enabled: Sequence[ActorState], current: ActorState | None) -> int:
        """Return the actor whose pending event has the highest priority."""
        start = index_to_start(enabled)
        if start is not None:
            return start
        priority = self._priority
        best, highest = 0, -1
        for index, actor in enumerate(enabled):
            mine = priority.get(actor.index)
            if mine is None:
                mine = priority[actor.index] = self._schedule.below(_PRIORITY_RANGE)
            if mine > highest:
                best, highest = index, mine
        return best

    def step(self, actor: ActorState) -> None:
        """Forget the priority of the event: it is pending no more."""
        self._priority.pop(actor.index, None)

    def demote(self, actor: ActorState) -> None:
        """Draw all priorities anew: who spins must not outrun a low priority for long."""
        self._priority.clear()


class PartialOrderSampling(EventPriorities):
    """`pos`."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._others: Sequence[ActorState] = ()

    def pick(self, enabled: Sequence[ActorState], current: ActorState | None) -> int:
        """Return the actor whose pending event has the highest priority."""
        self._others = enabled
        return super().pick(enabled, current)

    def step(self, actor: ActorState) -> None:
        """Forget the priorities of the event and of all pending ones that race with it."""
        super().step(actor)
        if actor.obj is not None:
            for other in self._others:
                if other is not actor and race(actor, other):
                    self._priority.pop(other.index, None)
