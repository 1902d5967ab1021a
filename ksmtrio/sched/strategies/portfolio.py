# SPDX-License-Identifier: GPL-2.0-or-later
"""Portfolio: shares executions out among all strategies, more to those that show more new things.

Source: Thompson, "On the Likelihood that One Unknown Probability Exceeds Another in View of the
Evidence of Two Samples", Biometrika 1933; Russo, Van Roy, Kazerouni, Osband, Wen, "A Tutorial on
Thompson Sampling", 2018 (for rewards that fade: old ones count less and less). First each member
gets one execution, in an order that is drawn: sessions are short, and which member a race wants
cannot be told beforehand. Then each has a beta distribution over the chance that its next execution
shows something new; one value is drawn from each, and the highest gets the execution. What an
execution costs does not count: members whose executions end early would be preferred for it. New
is, fully, a pair of a read and the write it saw that the session had not seen, or its first
finding; and by half a combination of known pairs. Guarantee: plain random takes every
`FLOOR_ONE_IN`-th execution, so that nothing which it can reach is out of reach.

Deterministic to the bit: a value of a beta distribution with whole parameters a and b is the a-th
smallest of a + b - 1 uniform ones, and those are integers. Tests: `tests/unit/test_portfolio.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from ksmtrio.prng import Stream
from ksmtrio.sched.strategies import StrategySpec
from ksmtrio.sched.strategies.base import Strategy
from ksmtrio.sched.strategies.learner import Feedback, Learner
from ksmtrio.sched.strategies.reads_from import ReadsFrom, ReadsFromLearner
from ksmtrio.sched.strategies.sightings import Pair, Sighted

FLOOR: Final = "random"
FLOOR_ONE_IN: Final = 8

_REWARD_MAX: Final = 2
_MEMORY: Final = 24
"""Rewards and misses of a member after which both are halved."""

_UNIFORM: Final = 1 << 32


@attrs.frozen
class Decision:
    """Who got an execution, and why.

    Attributes:
        seed: of the execution.
        member: who got it.
        why: ``floor`` (it was plain random's turn), ``first`` (the member had none yet) or
            ``drawn`` (the highest value).
        chance: the value drawn, in thousandths.
        won, lost: the member's rewards and misses at that time.
    """

    seed: int
    member: str
    why: str
    chance: int = 0
    won: int = 0
    lost: int = 0


@attrs.define
class _Standing:
    """What is known of a member.

    Attributes:
        won, lost: rewards and misses, the older ones halved.
        executions: all it ever had.
    """

    won: int = 0
    lost: int = 0
    executions: int = 0

    def add(self, reward: int) -> None:
        """Take one execution into account."""
        self.won += reward
        self.lost += _REWARD_MAX - reward
        self.executions += 1
        if self.won + self.lost > _MEMORY:
            self.won //= 2
            self.lost //= 2


class Portfolio:
    """`portfolio`.

    Args:
        seed: of the session.
        members: name -> learner, the floor and the next among them.
        guided: the member that also learns from the executions of all others.

    Attributes:
        decisions: in order of execution.
    """

    def __init__(self, seed: int, members: Mapping[str, Learner], guided: ReadsFromLearner) -> None:
        self.decisions: list[Decision] = []
        self._stream = Stream(seed, "portfolio")
        self._members = dict(members)
        self._guided = guided
        self._standings = {name: _Standing() for name in members}
        self._pairs: dict[Pair, None] = {}
        self._behaviours: dict[int, None] = {}
        self._found = False

    def strategy(self, number: int) -> Strategy:
        """Decide who gets the execution."""
        decision = self._decide(number)
        self.decisions.append(decision)
        strategy = self._members[decision.member].strategy(number)
        return strategy if isinstance(strategy, ReadsFrom) else Sighted(strategy)

    def spec(self, number: int) -> StrategySpec:
        """Return who got an execution, with its parameters."""
        member = self.decisions[number].member
        spec = self._members[member].spec(number)
        return attrs.evolve(spec, name=f"portfolio/{spec.name}")

    def learn(self, number: int, strategy: Strategy, feedback: Feedback) -> None:
        """Reward the member by what was new; have the guided one see it, too."""
        assert isinstance(strategy, ReadsFrom | Sighted)
        member = self.decisions[number].member
        sightings = strategy.sightings
        behaviour = sightings.behaviour()
        fresh = not self._pairs.keys() >= sightings.pairs.keys()
        fully = fresh or (feedback.found and not self._found)
        partly = behaviour not in self._behaviours
        reward = _REWARD_MAX if fully else int(partly)
        self._standings[member].add(reward)
        self._found |= feedback.found
        self._pairs.update(sightings.pairs)
        self._behaviours[behaviour] = None
        if isinstance(strategy, ReadsFrom):
            self._members[member].learn(number, strategy, feedback)
        else:
            self._members[member].learn(number, strategy.inner, feedback)
            self._guided.absorb(sightings, behaviour, feedback)

    def _decide(self, number: int) -> Decision:
        seed = self._guided.spec(number).seed
        if number % FLOOR_ONE_IN == 0:
            return Decision(seed, FLOOR, "floor")
        untried = [name for name, standing in self._standings.items() if not standing.executions]
        if untried:
            return Decision(seed, untried[self._stream.below(len(untried))], "first")
        best, highest = None, -1
        for name, standing in self._standings.items():
            chance = self._beta(1 + standing.won, 1 + standing.lost)
            if chance > highest:
                highest = chance
                best = Decision(
                    seed,
                    name,
                    "drawn",
                    chance=chance * 1000 // _UNIFORM,
                    won=standing.won,
                    lost=standing.lost,
                )
        assert best is not None
        return best

    def _beta(self, a: int, b: int) -> int:
        """Draw from the beta distribution, scaled to integers below `_UNIFORM`."""
        return sorted(self._stream.below(_UNIFORM) for _ in range(a + b - 1))[a - 1]
