# SPDX-License-Identifier: GPL-2.0-or-later
"""Orders that footprints say are the same: an execution, and a shuffled one that must come out so.

Neighbouring transitions of different actors whose footprints do not conflict are swapped, over and
over; then the new order is executed. Whatever an actor learned or left behind that its footprint
did not tell shows as a difference. Tests: by use.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ksmtrio.execution import Outcome, run_subject
from ksmtrio.prng import Stream
from ksmtrio.sched.actor_state import ActorState
from ksmtrio.sched.cell import field_name
from ksmtrio.sched.footprint import Footprints, Step, dependent
from ksmtrio.sched.state import text_of
from ksmtrio.sched.strategies.random import RandomStrategy
from ksmtrio.sched.tap import JIFFIES
from ksmtrio.subject import KernelSubject


class Turnwise(RandomStrategy):
    """Random, in turns of a few steps."""

    def __init__(self, seed: int, turn: int) -> None:
        super().__init__(seed)
        self._turns = Stream(seed, "turns")
        self._turn = turn

    def pick(self, enabled: Sequence[ActorState], current: ActorState | None) -> int:
        """Go on, or draw anew."""
        if current is not None and current in enabled and not self._turns.one_in(self._turn):
            return enabled.index(current)
        return super().pick(enabled, current)


class Follow:
    """Has given transitions carried out in a given order, with their choices.

    Attributes:
        lost: where it could not go on as asked, or None.
    """

    watches = True

    def __init__(self, order: Sequence[Step]) -> None:
        self._order = order
        self._done = 0
        self._choices: list[int] = []
        self.lost: str | None = None

    def pick(self, enabled: Sequence[ActorState], current: ActorState | None) -> int:
        """Return the index of whose transition comes next."""
        del current
        if self._done < len(self._order) and self.lost is None:
            wanted = self._order[self._done]
            for index, actor in enumerate(enabled):
                if actor.index == wanted.actor:
                    return index
            self.lost = f"{wanted.at} is not enabled"
        return 0

    def step(self, actor: ActorState) -> None:
        """A transition begins: its choices are those it took before."""
        if self._done < len(self._order) and self.lost is None:
            wanted = self._order[self._done]
            self._choices = [index for _, index, _ in wanted.choices]
            if (wanted.actor, wanted.at, wanted.op) != (actor.index, actor.at, actor.op):
                self.lost = f"{actor.name} is at {actor.at}, not at {wanted.at}"
        self._done += 1

    def choose(self, stream: str, n: int) -> int:
        """Return what was chosen before."""
        del stream
        index = self._choices.pop(0) if self._choices else 0
        return index if index < n else 0

    def demote(self, actor: ActorState) -> None:
        """An order knows no priorities."""


class Learning(Footprints):
    """Footprints, with all that the operations of each transition returned.

    Attributes:
        learned: of each transition.
        ended: number of transitions before the machine came to rest, or None.
    """

    def __init__(self) -> None:
        super().__init__()
        self.learned: list[list[str]] = []
        self.ended: int | None = None

    def step(self, actor: ActorState) -> None:
        """Begin a transition."""
        super().step(actor)
        self.learned.append([])
        if self.ended is None and actor.name == "quiesce":
            self.ended = len(self.steps) - 1

    def operation(self, at: str, event: str, target: Any, value: Any) -> None:
        """Note an access, and its answer."""
        super().operation(at, event, target, value)
        self._learn(f"{at} {event}={text_of(value)}")

    def guarded(self, obj: Any, field: str, value: Any, *, writes: bool) -> None:
        """Note an access, and its answer."""
        super().guarded(obj, field, value, writes=writes)
        self._learn(f"{field_name(obj, field)}={text_of(value)}")

    def _learn(self, text: str) -> None:
        if self.learned:
            self.learned[-1].append(text)

    def of(self, actor: int) -> list[tuple[str, str, list[tuple[str, int]], list[str]]]:
        """Return the transitions of an actor: label, operation, what it touched and learned.

        Without ticks of the clock: the first one at rest counts as of whatever came last.
        """
        return [
            (step.at, step.op, sorted(_without_ticks(step.accesses)), learned)
            for step, learned in zip(self.steps, self.learned, strict=True)
            if step.actor == actor
        ]


def _without_ticks(accesses: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    return ((name, kind) for name, kind in accesses.items() if name != JIFFIES)


def shuffled(steps: Sequence[Step], draw: Stream, sweeps: int) -> list[int]:
    """Return another order of some transitions, by position, that footprints say is the same."""
    order = list(range(len(steps)))
    for _ in range(sweeps):
        for place in range(len(order) - 1):
            first, second = order[place], order[place + 1]
            if not draw.one_in(4) and commute(steps, first, second):
                order[place], order[place + 1] = second, first
    return order


def commute(steps: Sequence[Step], first: int, second: int) -> bool:
    """Return whether the later of two neighbours could as well have come before."""
    one, other = steps[first], steps[second]
    return (
        one.actor != other.actor
        and other.woken_by != first
        and not dependent(one.accesses, other.accesses)
    )


def difference(
    subject: KernelSubject, order: Sequence[int], then: Outcome, was: Learning
) -> str | None:
    """Execute in another order; return how that differs from what was seen, or None."""
    steps = was.steps
    order = [*order, *range(len(order), len(steps))]
    follow, now = Follow([steps[place] for place in order]), Learning()
    outcome = run_subject(
        subject, follow, recorder=now, marks=False, exact=False, final=True, host="bare"
    )
    if follow.lost is not None:
        return follow.lost
    for actor in range(1 + max(step.actor for step in steps)):
        for old, new in zip(was.of(actor), now.of(actor), strict=False):
            if old != new:
                return f"{old} became {new}"
    if len(now.steps) != len(steps):
        return f"{len(steps)} transitions became {len(now.steps)}"
    if sorted(outcome.signatures()) != sorted(then.signatures()):
        return f"{then.signatures()} became {outcome.signatures()}"
    return None if outcome.machine_digest == then.machine_digest else "the final state differs"


def first_difference(
    subject: KernelSubject, seed: int, *, turn: int = 4, sweeps: int = 30
) -> str | None:
    """Execute at random, then shuffled; return what should not depend on the order, or None."""
    was = Learning()
    then = run_subject(
        subject,
        Turnwise(seed, turn),
        recorder=was,
        marks=False,
        exact=False,
        final=True,
        host="bare",
    )
    if then.stop_reason != "done":
        return None
    order = shuffled(was.steps[: was.ended], Stream(seed, "shuffle"), sweeps)
    return difference(subject, order, then, was)
