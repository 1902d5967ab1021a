# SPDX-License-Identifier: GPL-2.0-or-later
"""Strategies by name. A strategy with a seed is only a way to produce choices."""

from __future__ import annotations

from typing import Final

import attrs

from ksmtrio.errors import BadInput
from ksmtrio.prng import Stream
from ksmtrio.sched.strategies.base import Strategy
from ksmtrio.sched.strategies.pct import Pct
from ksmtrio.sched.strategies.random import RandomStrategy
from ksmtrio.sched.strategies.round_robin import RoundRobin

STRATEGIES: Final[dict[str, str]] = {
    "random": "uniform over the enabled actors at each point",
    "round-robin": "actors take turns; the seed sets the turn's length and who begins",
    "pct": "random priorities and d-1 random demotions (depth d, default drawn from 2..5)",
    "replay": "choices from a trace or a list; used by the verb of that name",
}
"""Strategy name -> description."""

_PCT_DEPTHS: Final = (2, 3, 4, 5)


@attrs.frozen
class StrategySpec:
    """A strategy by name and seed, with every effective parameter. Plain data.

    Attributes:
        name: ``random``, ``round-robin`` or ``pct``.
        seed: any integer from 0 on.
        depth: PCT depth, 0 elsewhere.
        points: PCT's expected number of schedule choices, 0 elsewhere.
    """

    name: str
    seed: int
    depth: int = 0
    points: int = 0


def resolve(name: str | None, seed: int, *, points: int, depth: int | None = None) -> StrategySpec:
    """Return the effective parameters for a seed.

    Args:
        name: a strategy; None lets the seed's parity pick `pct` (odd) or `random` (even).
        seed: of the execution.
        points: expected number of schedule choices, from a probe run.
        depth: PCT depth; None draws it from the seed.

    Raises:
        BadInput: unknown name.
    """
    if name is None:
        name = "pct" if seed % 2 else "random"
    if name not in STRATEGIES or name == "replay":
        known = ", ".join(s for s in STRATEGIES if s != "replay")
        raise BadInput(f"unknown strategy {name!r}; choose one of: {known}")
    if name != "pct":
        return StrategySpec(name, seed)
    if depth is None:
        depth = _PCT_DEPTHS[Stream(seed, "pct depth").below(len(_PCT_DEPTHS))]
    return StrategySpec(name, seed, depth, points)


def build(spec: StrategySpec) -> Strategy:
    """Return a fresh instance for one execution."""
    if spec.name == "random":
        return RandomStrategy(spec.seed)
    if spec.name == "round-robin":
        return RoundRobin(spec.seed)
    return Pct(spec.seed, depth=spec.depth, points=spec.points)
