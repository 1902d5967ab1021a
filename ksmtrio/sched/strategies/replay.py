# SPDX-License-Identifier: GPL-2.0-or-later
"""Replay of recorded choices, exact or as guidance for hand-written and generated choice lists."""

from __future__ import annotations

from collections.abc import Sequence

from ksmtrio.errors import ReplayDiverged
from ksmtrio.sched.actor_state import ActorState
from ksmtrio.sched.choices import Choices
from ksmtrio.sched.strategies.base import Unwatching


class Replay(Unwatching):
    """`replay`: takes the given choices in order.

    Args:
        choices: what to take.
        exact: raise `ReplayDiverged` when they run out; otherwise out-of-range values are taken
            modulo the alternatives, and after the end the current actor goes on (any list of
            integers is then a valid schedule).
    """

    def __init__(self, choices: Choices, *, exact: bool = True) -> None:
        self._schedule = iter(choices.schedule)
        self._streams = {"data": iter(choices.data), "faults": iter(choices.faults)}
        self._exact = exact

    def pick(self, enabled: Sequence[ActorState], current: ActorState | None) -> int:
        """Return the next recorded index."""
        index = next(self._schedule, None)
        if index is None:
            if self._exact:
                raise ReplayDiverged("the recorded schedule choices ended before the execution did")
            return enabled.index(current) if current in enabled else 0
        return index if self._exact else index % len(enabled)

    def choose(self, stream: str, n: int) -> int:
        """Return the next recorded index of the stream."""
        index = next(self._streams[stream], None)
        if index is None:
            if self._exact:
                raise ReplayDiverged(
                    f"the recorded {stream} choices ended before the execution did"
                )
            return 0
        return index if self._exact else index % n

    def demote(self, actor: ActorState) -> None:
        """Demotion is already in the recorded choices."""
