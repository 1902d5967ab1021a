# SPDX-License-Identifier: GPL-2.0-or-later
"""The progress oracle: tasks that wait for ever, executions without an end (I50).

An offline may overrun its timeout by the round that it is in, and begins no further one.
Tests: `tests/unit/test_oracles_progress.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ksmtrio.oracles.notices import Heard, NoticeOracle, lock_taken, stuck_actors
from ksmtrio.sched.actor_state import ActorState, State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ksmtrio.machine import Machine
    from ksmtrio.mm.mm_types import Watchers
    from ksmtrio.oracles.base import Findings
    from ksmtrio.sched.cell import Cell, Death

AT_BOUND = "step_bound"
ROUND = "offline_pages.8"
"""Label of the point that begins a round of an offline, and looks at the clock."""


class StuckOracle(NoticeOracle):
    """Hung tasks (a lost wake-up, a lock kept for ever) and the step bound.

    Where the bound is met depends on the schedule, so that all runs into it share one signature;
    the message says where each actor was.
    """

    name = "progress"
    description = "no task hangs, every execution ends within its step bound"
    kinds: ClassVar[Mapping[str, bool]] = {"hung-task": True, "step-bound": True}

    def place(self, heard: Heard) -> str:
        """One place for the step bound."""
        return AT_BOUND if heard.kind == "step-bound" else heard.at

    def text(self, heard: Heard) -> str:
        """In the hung-task detector's manner."""
        if heard.kind == "hung-task":
            return f"INFO: task blocked for ever at {heard.at}: {heard.message}"
        where = "; ".join(f"{a.name} {a.state.value} at {a.at}" for a in self._unfinished())
        return f"INFO: no progress: {heard.message}; {where}"

    def conflict(self, heard: Heard) -> Death | None:
        """For a hung task: where the lock was taken that it waits for, if it is a lock."""
        return lock_taken(heard.target) if heard.kind == "hung-task" else None

    def involved(self, heard: Heard) -> tuple[str, ...]:
        """All who are stuck, or still running at the bound."""
        if heard.kind == "hung-task":
            return stuck_actors(self.rt)
        return tuple(a.name for a in self._unfinished())

    def _unfinished(self) -> list[ActorState]:
        return [a for a in self.rt.actors if a.state is not State.FINISHED and not a.idle]


class ProgressOracle(StuckOracle):
    """Further, in a kernel: an offline that goes on after its time."""

    def __init__(self) -> None:
        self._expire: dict[int, int] = {}
        self._overdue: dict[int, bool] = {}
        self._timeout = 0

    def watchers(self) -> Watchers:
        """States of memory blocks: an offline begins or ends."""
        return {"memory_block.state": (self._on_state,)}

    def attach(self, machine: Machine, findings: Findings) -> None:
        """Listen, and watch the rounds of offlines."""
        super().attach(machine, findings)
        self._timeout = machine.g.offline_timeout_jiffies
        machine.rt.marks.setdefault(ROUND, []).append(self._on_round)

    def _on_state(self, _cell: Cell[Any], _old: Any, _new: Any, _at: str) -> None:
        me = self.rt.current
        if me is not None:
            self._expire.pop(me.index, None)
            self._overdue.pop(me.index, None)

    def _on_round(self, actor: ActorState, at: str) -> None:
        """The kernel took its time at the first round or a little before."""
        jiffies = self.rt.clock.jiffies
        expire = self._expire.setdefault(actor.index, jiffies + self._timeout)
        if self._overdue.get(actor.index):
            self.findings.report(
                self.name,
                "offline-overrun",
                at,
                f"INFO: {actor.name} goes on offlining at jiffy {jiffies}, it was to end at "
                f"{expire}",
                corrupting=False,
            )
        self._overdue[actor.index] = jiffies > expire
