# SPDX-License-Identifier: GPL-2.0-or-later
"""Strategies by name. A strategy with a seed is only a way to produce choices.

Tests: `tests/unit/test_strategies.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from ksmtrio.errors import BadInput
from ksmtrio.prng import Stream
from ksmtrio.sched.strategies.base import Strategy
from ksmtrio.sched.strategies.external import build_external, external_strategies
from ksmtrio.sched.strategies.pct import FairPct, Pct, expected_choices
from ksmtrio.sched.strategies.pos import PartialOrderSampling
from ksmtrio.sched.strategies.profile import Profile
from ksmtrio.sched.strategies.random import RandomStrategy
from ksmtrio.sched.strategies.round_robin import RoundRobin
from ksmtrio.sched.strategies.surw import SelectiveWalk
from ksmtrio.sched.strategies.swarm import Speeds, draw_member
from ksmtrio.sched.strategies.urw import UniformWalk

STRATEGIES: Final[dict[str, str]] = {
    "random": "uniform over the enabled actors at each point",
    "round-robin": "actors take turns; the seed sets the turn's length and who begins",
    "urw": "uniform over interleavings: an actor is as likely as it has steps left",
    "pct": "random priorities and d-1 random demotions (depth d, default drawn from 2..5)",
    "pct-fair": "pct for as long as an execution is expected to be, then random",
    "pos": "partial order sampling: random priorities of events, drawn anew where they race",
    "surw": "uniform over the orders of the operations on one shared word, drawn from the seed",
    "swarm": "each seed draws a strategy, its parameters and how fast each actor is; the default",
    "replay": "choices from a trace or a list; used by the verb of that name",
}
"""Name -> description of each strategy whose choices are a function of a seed alone."""

LEARNING: Final[dict[str, str]] = {
    "reads-from": "has reads see writes that no earlier execution of the block had them see",
    "portfolio": "shares executions out among all strategies, by what each has shown that was new",
}
"""Name -> description of each strategy that learns; see `ksmtrio.sched.strategies.session`."""

DEFAULT: Final = "swarm"
"""What is meant where no strategy is named."""

NO_PROFILE: Final = frozenset({"random", "round-robin", "pos", "reads-from"})
"""Strategies that want to know nothing of earlier executions."""

_PCT_DEPTHS: Final = (2, 3, 4, 5)


@attrs.frozen
class StrategySpec:
    """A strategy by name and seed, with every effective parameter. Plain data.

    Attributes:
        name: a strategy, ``interleave``, or ``A/B``: strategy A had B make the choices.
        seed: any integer from 0 on.
        depth: of `pct` and `pct-fair`, 0 elsewhere.
        points: their expected number of schedule choices, 0 elsewhere.
        target: the word that `surw` looks at, "" elsewhere.
        counts: of each actor, the steps that `urw` and `surw` expect; empty elsewhere.

    For a strategy of another package, `points` and `counts` are those of the profile, and `depth`
    is what the user asked for, or 0.
    """

    name: str
    seed: int
    depth: int = 0
    points: int = 0
    target: str = ""
    counts: tuple[int, ...] = ()


def resolve(
    name: str | None,
    seed: int,
    *,
    points: int = 0,
    depth: int | None = None,
    profile: Profile = Profile(),  # noqa: B008 - frozen
) -> StrategySpec:
    """Return the effective parameters for a seed.

    Args:
        name: a strategy that does not learn; None means `DEFAULT`.
        seed: of the execution.
        points: the number of schedule choices where it is known; 0 goes by the profile.
        depth: PCT depth; None draws it from the seed.
        profile: what earlier executions of the subject were like.

    Raises:
        BadInput: unknown name, or that of a strategy that learns.
    """
    if name is None:
        name = DEFAULT
    if name == "swarm":
        drawn = resolve(draw_member(seed), seed, points=points, depth=depth, profile=profile)
        return attrs.evolve(drawn, name=f"swarm/{drawn.name}")
    if name in LEARNING:
        raise BadInput(f"strategy {name!r} learns: a seed means nothing outside of its session")
    if name not in _MAKERS:
        if name in external_strategies():
            points = points or profile.choices
            return StrategySpec(name, seed, depth or 0, points, counts=profile.steps)
        known = ", ".join([*_MAKERS, "swarm", *LEARNING, *external_strategies()])
        raise BadInput(f"unknown strategy {name!r}; choose one of: {known}")
    if name in {"pct", "pct-fair"}:
        if depth is None:
            depth = _PCT_DEPTHS[Stream(seed, "pct depth").below(len(_PCT_DEPTHS))]
        if points == 0:
            points = expected_choices(Stream(seed, "pct points"), profile.choices)
        return StrategySpec(name, seed, depth, points)
    if name == "urw":
        return StrategySpec(name, seed, counts=profile.steps)
    if name == "surw" and profile.shared:
        chosen = Stream(seed, "surw target").below(len(profile.shared))
        target, counts = profile.shared[chosen]
        return StrategySpec(name, seed, target=target, counts=counts)
    return StrategySpec(name, seed)


_MAKERS: Final[dict[str, Callable[[StrategySpec], Strategy]]] = {
    "random": lambda spec: RandomStrategy(spec.seed),
    "round-robin": lambda spec: RoundRobin(spec.seed),
    "urw": lambda spec: UniformWalk(spec.seed, counts=spec.counts),
    "pct": lambda spec: Pct(spec.seed, depth=spec.depth, points=spec.points),
    "pct-fair": lambda spec: FairPct(spec.seed, depth=spec.depth, points=spec.points),
    "pos": lambda spec: PartialOrderSampling(spec.seed),
    "surw": lambda spec: SelectiveWalk(spec.seed, target=spec.target, counts=spec.counts),
}


def build(spec: StrategySpec) -> Strategy:
    """Return a fresh instance for one execution."""
    name = spec.name.removeprefix("swarm/")
    strategy = _MAKERS.get(name, build_external)(spec)
    return strategy if name == spec.name else Speeds(strategy, spec.seed)
