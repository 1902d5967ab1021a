# SPDX-License-Identifier: GPL-2.0-or-later
"""The locks oracle: misuse of locks and actual deadlocks, as lockdep would word them.

Covers I12 and I15: cycles that happen, and those that the orders seen in one execution allow;
unguarded accesses cover I11 and I16. Misuse that the kernel survives is noted and the run goes on,
for its damage may still show. Tests:
`tests/unit/test_oracles_locks.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from ksmtrio.oracles.lock_order import Cycle, LockOrder
from ksmtrio.oracles.notices import Heard, NoticeOracle, lock_taken, stuck_actors
from ksmtrio.sched.cell import Death

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ksmtrio.machine import Machine
    from ksmtrio.oracles.base import Findings

_WORDS: Final = {
    "foreign-unlock": "WARNING: bad unlock balance",
    "unlock-of-unlocked": "WARNING: bad unlock balance",
    "unguarded-access": "WARNING: suspicious access",
    "sleeping-in-atomic": "BUG: sleeping function called from invalid context",
    "held-at-exit": "BUG: lock held at task exit time",
    "recursive-lock": "INFO: possible recursive locking detected",
    "deadlock": "INFO: circular locking dependency: deadlock",
}


class LocksOracle(NoticeOracle):
    """Recursion and deadlock end the run."""

    name = "locks"
    description = "locks are released by their holder, guarded fields touched with their lock held"
    kinds: ClassVar[Mapping[str, bool]] = {
        "foreign-unlock": False,
        "unlock-of-unlocked": False,
        "unguarded-access": False,
        "sleeping-in-atomic": False,
        "held-at-exit": False,
        "recursive-lock": True,
        "deadlock": True,
    }

    def __init__(self) -> None:
        self._order = LockOrder()

    def attach(self, machine: Machine, findings: Findings) -> None:
        """Listen, and watch the order of locks."""
        super().attach(machine, findings)
        machine.rt.on_acquire.append(self._order.acquired)

    def quiescent(self) -> None:
        """Predict deadlocks from the orders seen. The point names the locks, not a place."""
        for cycle in self._order.cycles():
            first, *rest = cycle.classes
            self.findings.report(
                self.name,
                "order-cycle",
                first,
                f"INFO: possible circular locking dependency: {_cycle_text(cycle)}",
                other=Death("held", None, "<-".join(reversed(rest)), 0),
                actors=tuple(dict.fromkeys(edge.actor for edge in cycle.edges)),
                corrupting=False,
            )

    def text(self, heard: Heard) -> str:
        """In lockdep's manner."""
        return f"{_WORDS[heard.kind]} at {heard.at}: {heard.message}"

    def conflict(self, heard: Heard) -> Death | None:
        """For a deadlock: where the lock was taken that the first of the cycle waits for."""
        return lock_taken(heard.target) if heard.kind == "deadlock" else heard.other

    def involved(self, heard: Heard) -> tuple[str, ...]:
        """For a deadlock: all who are stuck."""
        return stuck_actors(self.rt) if heard.kind == "deadlock" else ()


def _cycle_text(cycle: Cycle) -> str:
    inner = (*cycle.locks[1:], cycle.locks[0])
    return "; ".join(
        f"{edge.actor} took {lock} at {edge.inner_at} inside {outer} of {edge.outer_at}"
        for outer, lock, edge in zip(cycle.locks, inner, cycle.edges, strict=True)
    )
