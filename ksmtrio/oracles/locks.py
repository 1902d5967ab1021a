# SPDX-License-Identifier: GPL-2.0-or-later
"""The locks oracle: misuse of locks and actual deadlocks, as lockdep would word them.

Covers I12 and, for cycles that happen, I15; unguarded accesses cover I11 and I16. Misuse that the
kernel survives is noted and the run goes on, for its damage may still show. Tests:
`tests/unit/test_oracles_locks.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from ksmtrio.oracles.notices import Heard, NoticeOracle, lock_taken, stuck_actors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ksmtrio.sched.cell import Death

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

    def text(self, heard: Heard) -> str:
        """In lockdep's manner."""
        return f"{_WORDS[heard.kind]} at {heard.at}: {heard.message}"

    def conflict(self, heard: Heard) -> Death | None:
        """For a deadlock: where the lock was taken that the first of the cycle waits for."""
        return lock_taken(heard.target) if heard.kind == "deadlock" else heard.other

    def involved(self, heard: Heard) -> tuple[str, ...]:
        """For a deadlock: all who are stuck."""
        return stuck_actors(self.rt) if heard.kind == "deadlock" else ()
