# SPDX-License-Identifier: GPL-2.0-or-later
"""Swarm: each seed draws a strategy, its parameters and how fast each actor is.

Source: Groce, Zhang, Eide, Chen, Regehr, "Swarm Testing", ISSTA 2012: a mixture of many random
configurations finds what the best single one cannot, because one that leaves something out reaches
what the others crowd out. Here a slow actor leaves the others alone for long stretches, so that one
of them passes whole functions while another stands still in the middle of its own. No guarantee is
lost where no actor is slow, which is so in one half of the seeds; a slow actor is never kept from
running for ever. Tests: `tests/unit/test_swarm.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ksmtrio.prng import Stream
from ksmtrio.sched.actor_state import ActorState
from ksmtrio.sched.strategies.base import Strategy

MEMBERS: Final = ("random", "urw", "pct", "pct-fair", "pos", "surw")
"""What a seed draws from, with equal chances. Strategies that learn need more than a seed, and
round robin has too few different schedules."""

_SLOWNESS: Final = (1, 1, 2, 8, 64)
"""What an actor's slowness is drawn from: it has a say in one choice out of so many."""


def draw_member(seed: int) -> str:
    """Return the strategy that a seed draws."""
    return MEMBERS[Stream(seed, "swarm").below(len(MEMBERS))]


class Speeds:
    """Hides slow actors from a strategy, most of the time.

    Args:
        inner: picks among the actors that are not hidden.
        seed: of the speeds; an odd draw leaves all actors equally fast.
    """

    def __init__(self, inner: Strategy, seed: int) -> None:
        self._inner = inner
        self.watches = inner.watches
        self._stream = Stream(seed, "speeds")
        self._even = self._stream.one_in(2)
        self._slowness: dict[int, int] = {}

    def pick(self, enabled: Sequence[ActorState], current: ActorState | None) -> int:
        """Return an actor that is not hidden; when all are, any."""
        if self._even:
            return self._inner.pick(enabled, current)
        awake = [actor for actor in enabled if self._awake(actor)]
        if len(awake) in (0, len(enabled)):
            return self._inner.pick(enabled, current)
        chosen = awake[self._inner.pick(awake, current)] if len(awake) > 1 else awake[0]
        return enabled.index(chosen)

    def _awake(self, actor: ActorState) -> bool:
        slowness = self._slowness.get(actor.index)
        if slowness is None:
            slowness = self._slowness[actor.index] = _SLOWNESS[self._stream.below(len(_SLOWNESS))]
        return slowness == 1 or self._stream.one_in(slowness)

    def choose(self, stream: str, n: int) -> int:
        """Ask the inner strategy."""
        return self._inner.choose(stream, n)

    def demote(self, actor: ActorState) -> None:
        """Tell the inner strategy."""
        self._inner.demote(actor)

    def step(self, actor: ActorState) -> None:
        """Tell the inner strategy."""
        self._inner.step(actor)
