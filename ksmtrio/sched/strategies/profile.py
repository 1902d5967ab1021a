# SPDX-License-Identifier: GPL-2.0-or-later
"""Profiles: what earlier executions tell a strategy about the one it is going to steer.

A profile is plain data, and what a strategy takes from it goes into its specification: a seed means
the same whoever measured. Tests: `tests/unit/test_strategy_profile.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median_low

import attrs

from ksmtrio.sched.actor_state import ActorState
from ksmtrio.sched.strategies.base import Strategy


@attrs.frozen
class Profile:
    """What executions of one subject were like.

    Attributes:
        choices: schedule choices of the longest; 0 when nothing was executed.
        steps: transitions of each actor by index, starts left out; the lower median.
        shared: by name, what at least two actors announced operations on, cells and locks alike,
            with how many of them each actor announced; the lower median.
    """

    choices: int = 0
    steps: tuple[int, ...] = ()
    shared: tuple[tuple[str, tuple[int, ...]], ...] = ()


class Profiler:
    """Passes a strategy's choices on and counts what each actor does.

    Args:
        inner: takes the choices; it may watch, too.
    """

    watches = True

    def __init__(self, inner: Strategy) -> None:
        self._inner = inner
        self.choices = 0
        self.steps: Counter[int] = Counter()
        self.touched: dict[str, Counter[int]] = {}

    def pick(self, enabled: Sequence[ActorState], current: ActorState | None) -> int:
        """Ask the inner strategy."""
        self.choices += 1
        return self._inner.pick(enabled, current)

    def choose(self, stream: str, n: int) -> int:
        """Ask the inner strategy."""
        return self._inner.choose(stream, n)

    def demote(self, actor: ActorState) -> None:
        """Tell the inner strategy."""
        self._inner.demote(actor)

    def step(self, actor: ActorState) -> None:
        """Count the transition, and what it was announced on."""
        if self._inner.watches:
            self._inner.step(actor)
        if actor.op == "start":
            self.steps[actor.index] = 0
        if actor.op == "start" or actor.index not in self.steps:
            return  # who never started brings the machine to rest after the end
        self.steps[actor.index] += 1
        if actor.obj is not None and actor.op != "resume":
            self.touched.setdefault(actor.obj.name, Counter())[actor.index] += 1


def profile_of(seen: Sequence[Profiler]) -> Profile:
    """Return what the executions have in common."""
    actors = 1 + max((index for one in seen for index in one.steps), default=-1)
    names = sorted({name for one in seen for name in one.touched})
    nothing: Counter[int] = Counter()
    counted = (
        (name, _medians([one.touched.get(name, nothing) for one in seen], actors)) for name in names
    )
    return Profile(
        choices=max((one.choices for one in seen), default=0),
        steps=_medians([one.steps for one in seen], actors),
        shared=tuple(
            (name, counts) for name, counts in counted if sum(count > 0 for count in counts) > 1
        ),
    )


def _medians(counts: Iterable[Counter[int]], actors: int) -> tuple[int, ...]:
    columns = list(counts)
    return tuple(median_low([column[index] for column in columns]) for index in range(actors))
