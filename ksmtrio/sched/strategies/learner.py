# SPDX-License-Identifier: GPL-2.0-or-later
"""What a strategy that learns from one execution to the next is, and what it is told.

A `Strategy` serves one execution and forgets; a `Learner` hands out one strategy after the other
and hears how each execution went. What it knows is a function of what it was told, in order, so
that equal histories lead to equal choices. Tests: `tests/unit/test_session.py`.
"""

from __future__ import annotations

from typing import Final, Protocol

import attrs

from ksmtrio.sched.strategies import StrategySpec
from ksmtrio.sched.strategies.base import Strategy

BLOCK: Final = 64
"""Executions of a session: enough to learn from, and few enough to execute again for one seed."""


@attrs.frozen
class Feedback:
    """What one execution came to, as far as its strategy could not see that itself.

    Attributes:
        found: it showed a finding.
        choices: schedule choices it took.
    """

    found: bool
    choices: int


class Learner(Protocol):
    """Hands out strategies, in order, and learns from what became of each."""

    def strategy(self, number: int) -> Strategy:
        """Return the strategy for execution `number` of the session, counted from 0."""
        ...

    def spec(self, number: int) -> StrategySpec:
        """Return name, seed and parameters of an execution whose strategy was handed out."""
        ...

    def learn(self, number: int, strategy: Strategy, feedback: Feedback) -> None:
        """Hear what became of that execution; called before the next strategy is asked for."""
        ...
