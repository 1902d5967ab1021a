# SPDX-License-Identifier: GPL-2.0-or-later
"""What an explorer is, and what a preemption is.

An explorer hands out one strategy after the other, hears what each execution came to, and ends when
there is no schedule left that it has not covered. It knows nothing of scenarios and kernels.
Tests: `tests/unit/test_exploration_base.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

import attrs

from ksmtrio.sched.actor_state import ActorState, State
from ksmtrio.sched.strategies.base import Strategy
from ksmtrio.sched.tap import Tap

MEMORY_DEFAULT: Final = 512
"""MB that an explorer may use for what it remembers, if nobody says otherwise."""

SavedState: TypeAlias = dict[str, Any]
"""An explorer's state as JSON has it: strings, integers, booleans, lists and objects."""


@attrs.frozen(kw_only=True)
class Settings:
    """What the user asked of an explorer.

    Attributes:
        bound: preemptions at most, as `Preemptions` counts them; None: no bound.
        mode: variant of the algorithm; empty: the explorer's default.
        memory: MB that it may use for what it remembers.
    """

    bound: int | None = None
    mode: str = ""
    memory: int = MEMORY_DEFAULT


@attrs.frozen(order=True)
class Covered:
    """What was covered. Of those of several parts the greatest holds for the whole.

    Attributes:
        lacking: the greater, the less was covered; 0: nothing is missing.
        text: what, and which bound was hit, in one line.
    """

    lacking: int
    text: str


@attrs.define(kw_only=True)
class Counts:
    """What an exploration has done so far.

    Attributes:
        executions: that came to an end and are told apart from all others by the algorithm.
        redundant: equal, as far as the algorithm knows, to one that was executed before.
        blocked: ended without a result, as nothing was left to do in them (sleep sets).
        states: different states of the machine that were visited; 0 where none are kept. Parts do
            not know of each other's: a state that is new to two of them counts twice.
    """

    executions: int = 0
    redundant: int = 0
    blocked: int = 0
    states: int = 0

    def add(self, other: Counts) -> None:
        """Add what another part of the exploration has done."""
        self.executions += other.executions
        self.redundant += other.redundant
        self.blocked += other.blocked
        self.states += other.states


class Explorer(Protocol):
    """One exploration, or a part of one.

    The driver calls `next`, executes with the strategy and with `taps()` as recorder, calls
    `learn`, and so on until `next` returns None. `save`, `load` and `split` come between `learn`
    and `next` only.

    Attributes:
        counts: what was done; goes on from where a saved state left off.
        complete: there is nothing left, and nothing was left out.
    """

    counts: Counts
    complete: bool

    def next(self) -> Strategy | None:
        """Return the strategy of the next execution; None: there is nothing left to do."""
        ...

    def taps(self) -> Tap | None:
        """Return what is to listen to the execution just handed out."""
        ...

    def learn(self, stop_reason: str) -> None:
        """Hear why the execution ended; ``pruned``: its strategy gave it up."""
        ...

    def covered(self) -> Covered:
        """Return what was covered so far."""
        ...

    def work_left(self) -> int | None:
        """Return an estimate of the executions still to come; None: no idea."""
        ...

    def save(self) -> SavedState:
        """Return all that it takes to go on later, or elsewhere."""
        ...

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state; called on a fresh explorer with the same settings.

        Raises:
            BadInput: the state is no such thing.
        """
        ...

    def split(self, parts: int) -> list[SavedState]:
        """Give up to `parts` parts of the work away, each as a state with counts of zero.

        What is given away is no longer this explorer's. Empty: nothing can be given away.
        """
        ...


def preemptions(count: int) -> str:
    """Return a number of preemptions in words."""
    return f"{count} preemption{'s' * (count != 1)}"


GIVES_WAY: Final = frozenset({"yield", "sleep", "cpu_relax"})
"""Operations by which an actor lets others go first."""


class Preemptions:
    """Which schedule choices are free and which count as a preemption, along one execution.

    A choice counts when it takes the baton from an actor that could go on and did not give way,
    wakes a sleeper though somebody else can run, or lets an actor that gave way go on before all
    whom it gave way to have had a turn. The last is what keeps a loop that waits for others from
    having infinitely many executions with no preemption. Each choice counts once at most.

    `free` is to be called at every schedule choice, in order, and `took` with what came of it.

    Attributes:
        behind: index of an actor that gave way -> whom it gave way to and who has had no turn yet,
            as a set of bits by index.

    Source: Musuvathi, Qadeer, "Iterative Context Bounding for Systematic Testing of Multithreaded
    Programs", PLDI 2007; for actors that give way: "Fair Stateless Model Checking", PLDI 2008.
    """

    __slots__ = ("behind",)

    def __init__(self) -> None:
        self.behind: dict[int, int] = {}

    def free(self, enabled: Sequence[ActorState], current: ActorState | None) -> int:
        """Return the choices that do not count, as a set of bits; it is never empty.

        Args:
            enabled: as in `Strategy.pick`.
            current: as in `Strategy.pick`.
        """
        if current is not None and current.state is not State.FINISHED:
            if current.op not in GIVES_WAY:
                if current.state is State.RUNNABLE:
                    return 1 << enabled.index(current)
            elif current.state is not State.BLOCKED:
                others = 0
                for actor in enabled:
                    others |= 1 << actor.index
                self.behind[current.index] = others & ~(1 << current.index)
        return self._after_a_pause(enabled)

    def _after_a_pause(self, enabled: Sequence[ActorState]) -> int:
        """Return who may go on where nobody has the baton by right.

        Some actor is always behind nobody: whoever gave way first of all that have.
        """
        present = 0
        for actor in enabled:
            present |= 1 << actor.index
        runnable = sleeping = 0
        for place, actor in enumerate(enabled):
            if self.behind.get(actor.index, 0) & present:
                continue
            if actor.state is State.SLEEPING:
                sleeping |= 1 << place
            else:
                runnable |= 1 << place
        assert runnable or sleeping
        return runnable or sleeping

    def took(self, actor: ActorState) -> None:
        """Note who was picked."""
        behind = self.behind
        if behind:
            behind.pop(actor.index, None)
            others = ~(1 << actor.index)
            for index in behind:
                behind[index] &= others
