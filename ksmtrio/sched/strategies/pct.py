# SPDX-License-Identifier: GPL-2.0-or-later
"""Probabilistic concurrency testing.

Source: Burckhardt, Kothari, Musuvathi, Nagarakatte, "A Randomized Scheduler with Probabilistic
Guarantees of Finding Bugs", ASPLOS 2010. Guarantee: with n actors, k points and a bug of depth d,
one execution finds it with probability at least 1/(n k^(d-1)), as long as k is not underestimated
and no actor yields (a yield or sleep demotes its actor, for fairness; see `Pct.demote`).
"""

from __future__ import annotations

from collections.abc import Sequence

from ksmtrio.prng import Stream
from ksmtrio.sched.actor_state import ActorState
from ksmtrio.sched.strategies.base import SeededChoices


class Pct(SeededChoices):
    """`pct`: the enabled actor of highest priority runs; d-1 random points demote the runner.

    Args:
        seed: of all streams.
        depth: bug depth d to look for, at least 1.
        points: k, the expected number of schedule choices of an execution.
    """

    def __init__(self, seed: int, *, depth: int, points: int) -> None:
        super().__init__(seed)
        stream = Stream(seed, "schedule")
        self._stream = stream
        self._priority: dict[int, int] = {}
        self._changes = {1 + stream.below(max(points, 1)): d for d in range(depth - 1)}
        self._seen = 0
        self._floor = -depth

    def pick(self, enabled: Sequence[ActorState], current: ActorState | None) -> int:
        """Return the index of the enabled actor with the highest priority."""
        priority = self._priority
        self._seen += 1
        change = self._changes.get(self._seen)
        if change is not None and current is not None:
            priority[current.index] = -1 - change
        best = 0
        best_priority = -(1 << 62)
        for index, actor in enumerate(enabled):
            mine = priority.get(actor.index)
            if mine is None:
                mine = priority[actor.index] = self._fresh()
            if mine > best_priority:
                best, best_priority = index, mine
        return best

    def _fresh(self) -> int:
        """Draw an initial priority; 40 bits, so that ties do not happen in practice."""
        return 1 + self._stream.below(1 << 40)

    def demote(self, actor: ActorState) -> None:
        """Put the actor below all others, or wherever a fresh draw puts it, with equal probability.

        Below all alone would have a sleeper wake only after everybody else has finished; the fresh
        draw lets it wake in between, and still no actor spins for ever.
        """
        if self._stream.one_in(2):
            self._priority[actor.index] = self._fresh()
            return
        self._floor -= 1
        self._priority[actor.index] = self._floor
