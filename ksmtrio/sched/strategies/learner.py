# SPDX-License-Identifier: GPL-2.0-or-later
"""What a strategy that learns from one execution to the next is, and what it is told.

A `Strategy` serves one execution and forgets; a `Learner` hands out one strategy after the other
and hears how each execution went. What it knows is a function of what it was told, in order, so
that equal histories lead to equal choices. Tests: `tests/unit/test_session.py`.
"""

from __future__ import annotations

from typing import Protocol

import attrs

from ksmtrio.sched.strategies.base import Strategy


@attrs.frozen
class Feedback:
    """What one execution came to, as far as a learner may know it.

    Attributes:
        new_behaviour: its behaviour was not seen before in the session.
        behaviour: hash of its behaviour: which write each read saw, in which order locks went.
        found: it showed a finding.
        points: schedule points it passed: its cost.
        choices: schedule choices among them.
    """

    new_behaviour: bool
    behaviour: int
    found: bool
    points: int
    choices: int


class Learner(Protocol):
    """Hands out strategies, in order, and learns from what became of each."""

    def strategy(self, number: int) -> Strategy:
        """Return the strategy for execution `number` of the session, counted from 0."""
        ...

    def learn(self, number: int, strategy: Strategy, feedback: Feedback) -> None:
        """Hear what became of that execution; called before the next strategy is asked for."""
        ...
