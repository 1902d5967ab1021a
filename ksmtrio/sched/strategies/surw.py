# SPDX-License-Identifier: GPL-2.0-or-later
"""Selectively uniform random walk: uniform over the orders of a few interesting events.

Source: Zhao, Wolff, Mathur, Roychoudhury, "Selectively Uniform Concurrency Testing", ASPLOS 2025,
section 3.2. The interesting events are the operations on one shared cell or lock, drawn from the
seed. Among them an intended actor, drawn with a probability in proportion to the interesting events
it has left, goes first: others wait before theirs until it has done its own. All other events are
steered by random priorities. Guarantee: where actor i takes exactly n_i interesting steps whatever
the schedule, and none of them ever blocks, each order of the interesting events is as likely as any
other; and every interleaving has a positive probability.

It is not uniform where the counts depend on the schedule or a lock keeps the intended actor out:
then the counts come from other executions, now and then one that is used up counts 1 all the same,
and the intended actor is drawn anew when it yields, ends, or keeps everybody waiting.

Tests: `tests/unit/test_surw.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ksmtrio.sched.actor_state import ActorState, State
from ksmtrio.sched.strategies.pos import EventPriorities
from ksmtrio.sched.strategies.urw import draw

_DOUBT_ONE_IN: Final = 8
"""How often the counts are not believed where they say that an actor has nothing left."""


class SelectiveWalk(EventPriorities):
    """`surw`.

    Args:
        seed: of all streams.
        target: name of the cell or lock whose operations are interesting; "": there is none.
        counts: interesting steps of each actor by index; an actor beyond the end counts 0.
    """

    def __init__(self, seed: int, *, target: str, counts: Sequence[int]) -> None:
        super().__init__(seed)
        self._target = target
        self._left = dict(enumerate(counts))
        self._seen: dict[int, ActorState] = {}
        self._intended: ActorState | None = None
        self._looked_at: dict[int, tuple[object, bool]] = {}

    def pick(self, enabled: Sequence[ActorState], current: ActorState | None) -> int:
        """Return an actor whose pending event is not interesting, or the intended one."""
        for actor in enabled:
            self._seen[actor.index] = actor
        if self._intended is None or self._intended.state is State.FINISHED:
            self._intended = self._draw(list(self._seen.values()))
        free = [a for a in enabled if a is self._intended or not self._interesting(a)]
        if not free:
            self._intended = self._draw(enabled)
            return enabled.index(self._intended)
        return enabled.index(free[super().pick(free, current)])

    def _draw(self, actors: Sequence[ActorState]) -> ActorState:
        """Draw the next intended actor; at least one is not finished.

        Sometimes those that seem to have nothing left weigh 1, in case their counts are wrong. If
        they are not, such an actor ends and the draw is repeated: the order stays uniform.
        """
        alive = [actor for actor in actors if actor.state is not State.FINISHED]
        weights = [max(0, self._left.get(actor.index, 0)) for actor in alive]
        if not any(weights) or self._schedule.one_in(_DOUBT_ONE_IN):
            weights = [max(1, weight) for weight in weights]
        return alive[draw(self._schedule, weights)]

    def _interesting(self, actor: ActorState) -> bool:
        """Return whether the pending operation is on the target; names are costly to compose."""
        if actor.obj is None or actor.op == "resume":
            return False
        before = self._looked_at.get(actor.index)
        if before is None or before[0] is not actor.obj:
            before = self._looked_at[actor.index] = actor.obj, actor.obj.name == self._target
        return before[1]

    def step(self, actor: ActorState) -> None:
        """Count the step if it is interesting; the intended actor has then done its own."""
        super().step(actor)
        if self._interesting(actor):
            self._left[actor.index] = self._left.get(actor.index, 0) - 1
            if actor is self._intended:
                self._intended = None

    def demote(self, actor: ActorState) -> None:
        """Have another one intended, maybe: this one waits for somebody who may wait for it."""
        super().demote(actor)
        if actor is self._intended:
            self._intended = None
