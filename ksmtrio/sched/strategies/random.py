# SPDX-License-Identifier: GPL-2.0-or-later
"""Uniform random walk: at each point every enabled actor is as likely as any other."""

from __future__ import annotations

from collections.abc import Sequence

from ksmtrio.prng import Stream
from ksmtrio.sched.actor_state import ActorState
from ksmtrio.sched.strategies.base import SeededChoices


class RandomStrategy(SeededChoices):
    """`random`. Guarantee: each interleaving of n choices has probability > 0; none beyond that."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._below = Stream(seed, "schedule").below

    def pick(self, enabled: Sequence[ActorState], current: ActorState | None) -> int:
        """Return any index with equal probability."""
        return self._below(len(enabled))
