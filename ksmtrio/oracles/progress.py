# SPDX-License-Identifier: GPL-2.0-or-later
"""The progress oracle: tasks that wait for ever, executions without an end.

Tests: `tests/unit/test_oracles_progress.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ksmtrio.oracles.notices import Heard, NoticeOracle, lock_taken, stuck_actors
from ksmtrio.sched.actor_state import ActorState, State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ksmtrio.sched.cell import Death

AT_BOUND = "step_bound"


class ProgressOracle(NoticeOracle):
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
