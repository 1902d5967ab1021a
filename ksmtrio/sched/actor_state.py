# SPDX-License-Identifier: GPL-2.0-or-later
"""What the scheduler and the locks know of one actor. Tests: `tests/unit/test_runtime.py`."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from ksmtrio.sched.runtime import Holdable


class State(Enum):
    """Where an actor stands; only RUNNABLE and SLEEPING actors are enabled."""

    UNBORN = "unborn"
    RUNNABLE = "runnable"
    SLEEPING = "sleeping"
    BLOCKED = "blocked"
    FINISHED = "finished"


@attrs.define(eq=False, repr=False)
class ActorState:
    """One emulated thread of execution.

    Attributes:
        index: creation order; the order in which enabled actors are listed.
        name: as in the scenario, e.g. ``ksmd``; also the prefix of the objects it creates.
        cpu: the CPU it runs on; owns pagevecs and per-CPU page lists.
        background: does not keep an execution from ending once it has no work (ksmd).
        like: class of identical actors, which may be taken for one another, or None.
        remembers: what it learned may be looked at after its end: it is not only of the emulated
            machine, but keeps results in variables.
        at: label of the pending, or last executed, operation.
        waiting_on: what it is blocked on.
        held: locks in order of acquisition.
        preempt_count: spinlocks held; the actor must not sleep unless it is 0.
        rcu_depth: nesting of RCU read-side sections; must not sleep either.
        rcu_epoch: runtime epoch at which the outermost RCU section began.
        idle: blocked with no work to do, or not born yet; does not count as hung, unless `ready`
            says otherwise.
        ready: the condition a wait-queue waiter sleeps for; None when it waits for none.
    """

    index: int
    name: str
    cpu: int
    background: bool = False
    state: State = State.RUNNABLE
    at: str = "start"
    op: str = "start"
    obj: Any = None
    waiting_on: Any = None
    held: list[Holdable] = attrs.field(factory=list)
    preempt_count: int = 0
    rcu_depth: int = 0
    rcu_epoch: int = 0
    idle: bool = False
    ready: Callable[[], bool] | None = None
    like: str | None = None
    remembers: bool = False
    handle: Any = None
    created: dict[str, int] = attrs.field(factory=dict)

    def __repr__(self) -> str:
        return f"<actor {self.name} {self.state.value} at {self.at}>"

    def __str__(self) -> str:
        return self.name
