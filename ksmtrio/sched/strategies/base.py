# SPDX-License-Identifier: GPL-2.0-or-later
"""What a strategy is: the source of every choice of an execution.

Tests: `tests/unit/test_strategies.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ksmtrio.prng import Stream
from ksmtrio.sched.actor_state import ActorState


class Strategy(Protocol):
    """Takes choices. One instance serves one execution.

    Attributes:
        watches: whether `step` is to be called.
    """

    watches: bool

    def pick(self, enabled: Sequence[ActorState], current: ActorState | None) -> int:
        """Return the index of who runs next.

        Args:
            enabled: at least two actors, in creation order.
            current: who asks; not in `enabled` when it has just blocked or finished.
        """
        ...

    def choose(self, stream: str, n: int) -> int:
        """Return an index below `n` for the ``data`` or ``faults`` stream; 0 is the default."""
        ...

    def demote(self, actor: ActorState) -> None:
        """The actor yielded or sleeps: it should not run before others have."""
        ...

    def step(self, actor: ActorState) -> None:
        """The actor carries out the operation that it has announced; told of each, if watching."""
        ...


class Unwatching:
    """Base of the strategies that look at choices only."""

    watches = False

    def step(self, actor: ActorState) -> None:
        """Never called."""


def index_to_start(enabled: Sequence[ActorState]) -> int | None:
    """Return the first actor that has not begun yet, or None.

    A start, up to the first point, touches nothing that others share. Strategies that sample by
    steps or events take starts first: as events of their own they would skew the sample.
    """
    for index, actor in enumerate(enabled):
        if actor.op == "start":
            return index
    return None


class SeededChoices(Unwatching):
    """Data and fault choices drawn from streams of their own; base of the seeded strategies.

    Data choices take the ordinary outcome three times in four, faults happen one time in eight:
    rare enough that a run gets past the first of them.
    """

    def __init__(self, seed: int) -> None:
        self._data = Stream(seed, "data")
        self._faults = Stream(seed, "faults")

    def choose(self, stream: str, n: int) -> int:
        """Return an index below `n`."""
        if stream == "data":
            return self._data.below(n) if self._data.one_in(4) else 0
        return int(self._faults.one_in(8))

    def demote(self, actor: ActorState) -> None:
        """Nothing to demote where there are no priorities."""
