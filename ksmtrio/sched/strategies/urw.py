# SPDX-License-Identifier: GPL-2.0-or-later
"""Uniform random walk over interleavings: an actor is as likely as it has steps left.

Source: Zhao, Wolff, Mathur, Roychoudhury, "Selectively Uniform Concurrency Testing", ASPLOS 2025,
section 3.1. Guarantee: where actor i takes exactly n_i steps whatever the schedule, and none ever
blocks, each of the (sum n_i)! / prod(n_i!) interleavings is as likely as any other. Of all the ways
to go on after a choice, the share that begins with actor i is its share of the steps left.

It does not hold where counts depend on the schedule (loops, retries) or where actors block or are
born later. The counts then come from other executions, an actor that outlives its count weighs 1,
and every interleaving still has a positive probability. Tests: `tests/unit/test_urw.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ksmtrio.prng import Stream
from ksmtrio.sched.actor_state import ActorState
from ksmtrio.sched.strategies.base import SeededChoices, index_to_start


class UniformWalk(SeededChoices):
    """`urw`.

    Args:
        seed: of all streams.
        counts: steps of each actor by index, starts left out; an actor beyond the end counts 0.
    """

    watches = True

    def __init__(self, seed: int, *, counts: Sequence[int]) -> None:
        super().__init__(seed)
        self._schedule = Stream(seed, "schedule")
        self._left = dict(enumerate(counts))

    def pick(self, enabled: Sequence[ActorState], current: ActorState | None) -> int:
        """Return an actor with a probability in proportion to its steps left; starts go first."""
        start = index_to_start(enabled)
        if start is not None:
            return start
        return draw(self._schedule, [max(1, self._left.get(a.index, 0)) for a in enabled])

    def step(self, actor: ActorState) -> None:
        """Count the step."""
        if actor.op != "start":
            self._left[actor.index] = self._left.get(actor.index, 0) - 1


def draw(stream: Stream, weights: Sequence[int]) -> int:
    """Return an index with a probability in proportion to its weight; their sum is positive."""
    ticket = stream.below(sum(weights))
    for index, weight in enumerate(weights):
        if ticket < weight:
            return index
        ticket -= weight
    raise AssertionError("a ticket is below the sum of the weights")
