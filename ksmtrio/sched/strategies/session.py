# SPDX-License-Identifier: GPL-2.0-or-later
"""Sessions: a seed means the same execution on every machine, even where a strategy learns.

Seeds come in blocks of `BLOCK`. Each block is a session of its own, in which the executions come
one after the other: seed s is execution s % BLOCK of session s // BLOCK. A worker that takes whole
blocks therefore learns what any other worker would, and whoever wants one seed of a learning
strategy executes the earlier ones of its block first. Strategies that do not learn are sessions,
too; theirs need no earlier execution. Tests: `tests/unit/test_session.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ksmtrio.sched.strategies import LEARNING, STRATEGIES, StrategySpec, build, resolve
from ksmtrio.sched.strategies.base import Strategy
from ksmtrio.sched.strategies.learner import BLOCK, Feedback, Learner
from ksmtrio.sched.strategies.portfolio import Decision, Portfolio
from ksmtrio.sched.strategies.pos import PartialOrderSampling
from ksmtrio.sched.strategies.profile import Profile
from ksmtrio.sched.strategies.reads_from import ReadsFromLearner

__all__ = ["BLOCK", "Feedback", "Session"]


class Memoryless:
    """Learner of a strategy that learns nothing: each execution depends on its seed alone."""

    def __init__(
        self, name: str | None, seed: int, *, points: int, depth: int | None, profile: Profile
    ) -> None:
        self._name = name
        self._first = seed * BLOCK
        self._points = points
        self._depth = depth
        self._profile = profile

    def spec(self, number: int) -> StrategySpec:
        """Return the effective parameters of an execution."""
        return resolve(
            self._name,
            self._first + number,
            points=self._points,
            depth=self._depth,
            profile=self._profile,
        )

    def strategy(self, number: int) -> Strategy:
        """Return the strategy of that seed."""
        return build(self.spec(number))

    def learn(self, number: int, strategy: Strategy, feedback: Feedback) -> None:
        """Learn nothing."""


class Session:
    """One block of executions under one strategy.

    Args:
        name: of the strategy; None: the default.
        seed: number of the session; execution i of it has the seed ``seed * BLOCK + i``.
        points: number of schedule choices of an execution where it is known; 0 goes by the profile.
        depth: PCT depth; None draws it from the seed.
        profile: what earlier executions of the subject were like.

    Attributes:
        learns: whether an execution depends on the earlier ones of the session.

    Raises:
        BadInput: unknown name.
    """

    def __init__(
        self,
        name: str | None,
        seed: int,
        *,
        points: int = 0,
        depth: int | None = None,
        profile: Profile = Profile(),  # noqa: B008 - frozen
    ) -> None:
        def plain(member: str | None) -> Memoryless:
            return Memoryless(member, seed, points=points, depth=depth, profile=profile)

        self.learns = name in LEARNING
        self._learner: Learner
        if not self.learns:
            self._learner = plain(name)
            self._learner.spec(0)
            return
        guided = ReadsFromLearner(seed, PartialOrderSampling)
        self._learner = guided
        if name == "portfolio":
            members = {member: plain(member) for member in STRATEGIES if member != "replay"}
            self._learner = Portfolio(seed, {**members, "reads-from": guided}, guided)

    def strategy(self, number: int) -> Strategy:
        """Return the strategy for execution `number`; a session that learns goes in order."""
        return self._learner.strategy(number)

    def spec(self, number: int) -> StrategySpec:
        """Return name, seed and parameters of execution `number`, for reports and traces.

        Where the session learns, after its strategy was asked for.
        """
        return self._learner.spec(number)

    @property
    def decisions(self) -> Sequence[Decision]:
        """What the portfolio decided so far, in order; empty for all other strategies."""
        return self._learner.decisions if isinstance(self._learner, Portfolio) else ()

    def learn(self, number: int, strategy: Strategy, feedback: Feedback) -> None:
        """Tell what became of the execution that `strategy` steered."""
        self._learner.learn(number, strategy, feedback)
