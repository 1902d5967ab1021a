# SPDX-License-Identifier: GPL-2.0-or-later
"""Probabilistic concurrency testing, and its fair variant.

Source: Burckhardt, Kothari, Musuvathi, Nagarakatte, "A Randomized Scheduler with Probabilistic
Guarantees of Finding Bugs", ASPLOS 2010. Guarantee: with n actors, k schedule choices and a bug of
depth d, one execution finds it with probability at least 1/(n k^(d-1)), as long as k is not
underestimated and no actor yields (a yield or sleep demotes its actor, for fairness; see
`Pct.demote`). Only choices among at least two actors count; elsewhere a demotion would do nothing.

How many choices there will be is not known beforehand. `expected_choices` therefore draws k anew
for each seed, in doublings of what a profile saw. If the true number is at most 2^j times that, the
guarantee holds with k 2^j in place of k and a factor 3/4 4^-j: what is lost to a wrong estimate is
polynomial, where a fixed estimate would never place a change point in the rest of the execution.
Tests: `tests/unit/test_pct.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ksmtrio.prng import Stream
from ksmtrio.sched.actor_state import ActorState
from ksmtrio.sched.strategies.base import SeededChoices

_DOUBLING_ONE_IN: Final = 4
"""One seed in so many takes twice the estimate, one in the square of it four times, and so on."""

_UNKNOWN_BITS: Final = 14
"""Without an estimate, k is a power of two up to two to this: the step bound of an execution."""


def expected_choices(stream: Stream, estimate: int) -> int:
    """Return the number of schedule choices to reckon with.

    Args:
        stream: of the seed, for this purpose.
        estimate: from a profile; 0: nothing is known, and each order of magnitude is as likely.
    """
    if estimate == 0:
        return 1 << (1 + stream.below(_UNKNOWN_BITS))
    while estimate < 1 << _UNKNOWN_BITS and stream.one_in(_DOUBLING_ONE_IN):
        estimate *= 2
    return estimate


class Pct(SeededChoices):
    """`pct`: the enabled actor of highest priority runs; d-1 random choices demote it.

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
        """Return the index of the enabled actor with the highest priority, after a change."""
        self._seen += 1
        best = self._highest(enabled)
        change = self._changes.get(self._seen)
        if change is None:
            return best
        self._priority[enabled[best].index] = -1 - change
        return self._highest(enabled)

    def _highest(self, enabled: Sequence[ActorState]) -> int:
        priority = self._priority
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


class FairPct(Pct):
    """`pct-fair`: `pct` for the k choices that were expected, then each enabled actor as likely.

    An actor that spins without yielding, at the highest priority, keeps the others out for ever
    under `pct`; here it does so for k choices. What `pct` guarantees holds all the same, since its
    change points lie among those k.

    Source: the fair suffix is that of Microsoft's Coyote, strategy FairPCT.
    """

    def __init__(self, seed: int, *, depth: int, points: int) -> None:
        super().__init__(seed, depth=depth, points=points)
        self._unfair = points

    def pick(self, enabled: Sequence[ActorState], current: ActorState | None) -> int:
        """Return the index of the actor with the highest priority, or of any."""
        if self._seen < self._unfair:
            return super().pick(enabled, current)
        return self._stream.below(len(enabled))
