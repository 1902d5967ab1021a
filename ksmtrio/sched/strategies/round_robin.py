# SPDX-License-Identifier: GPL-2.0-or-later
"""Round robin: the actors take turns of a fixed length. The seed shifts who begins and how long."""

from __future__ import annotations

from collections.abc import Sequence

from ksmtrio.sched.actor_state import ActorState
from ksmtrio.sched.strategies.base import Unwatching

QUANTUM_DEFAULT = 1


class RoundRobin(Unwatching):
    """`round-robin`. The seed sets the turn (``seed % 7`` extra points) and who begins."""

    def __init__(self, seed: int) -> None:
        self._quantum = QUANTUM_DEFAULT + seed % 7
        self._offset = seed // 7
        self._left = self._quantum
        self._last = -1

    def pick(self, enabled: Sequence[ActorState], current: ActorState | None) -> int:
        """Keep the current actor for its quantum, then take the next by creation order."""
        if self._last < 0:
            index = self._offset % len(enabled)
            return self._take(enabled, index)
        self._left -= 1
        if self._left > 0:
            for index, actor in enumerate(enabled):
                if actor is current:
                    return index
        last = self._last
        for index, actor in enumerate(enabled):
            if actor.index > last:
                return self._take(enabled, index)
        return self._take(enabled, 0)

    def _take(self, enabled: Sequence[ActorState], index: int) -> int:
        self._last = enabled[index].index
        self._left = self._quantum
        return index

    def choose(self, stream: str, n: int) -> int:
        """Return the default: no unusual outcome, no fault."""
        return 0

    def demote(self, actor: ActorState) -> None:
        """End the actor's turn."""
        self._left = 0
