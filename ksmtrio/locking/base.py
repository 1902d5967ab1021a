# SPDX-License-Identifier: GPL-2.0-or-later
"""What all emulated locks share: a name, a class, an owner object, and misuse notices.

Tests: `tests/unit/test_locking.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ksmtrio.sched.cell import Death, Shared, field_name

if TYPE_CHECKING:
    from ksmtrio.sched.actor_state import ActorState
    from ksmtrio.sched.runtime import Runtime


class Lock:
    """Base of the locks.

    Attributes:
        owner: the structure that embeds the lock; using the lock after its death is a finding.
        field: kernel name of the lock, e.g. ``mmap_sem``.
        lock_class: lockdep class; locks of one class are interchangeable in ordering rules.
        acquired_at: label where the present holder took it.
    """

    __slots__ = ("acquired_at", "field", "lock_class", "owner", "rt")

    def __init__(self, owner: Shared, field: str, lock_class: str | None = None) -> None:
        self.rt: Runtime = owner.rt
        self.owner = owner
        self.field = field
        self.lock_class = lock_class or field
        self.acquired_at = ""

    @property
    def name(self) -> str:
        """Kernel name with its owner, e.g. ``mm(A).mmap_sem``."""
        return field_name(self.owner, self.field)

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def holders(self) -> Sequence[ActorState]:
        """Return who holds the lock."""
        raise NotImplementedError

    @property
    def shared(self) -> bool:
        """Whether its holders are readers, who do not keep each other out."""
        return False

    def held_by(self, actor: ActorState) -> bool:
        """Return whether `actor` holds the lock in any mode."""
        return actor in self.holders()

    def _acquired(self, at: str, event: str) -> None:
        rt = self.rt
        me = rt.me
        me.held.append(self)
        self.acquired_at = at
        for watcher in rt.on_acquire:
            watcher(me, self, event)
        if rt.recorder is not None:
            rt.recorder.operation(at, event, self, None)

    def _released(self, at: str, event: str) -> None:
        rt = self.rt
        me = rt.me
        if self in me.held:
            me.held.remove(self)
        if rt.recorder is not None:
            rt.recorder.operation(at, event, self, None)
        for watcher in rt.on_release.get(self.lock_class, ()):
            watcher(me, self, at)

    def _foreign_unlock(self, at: str) -> None:
        """Unlock by someone who does not hold it: noticed, then carried out as the kernel would."""
        holders = self.holders()
        who = f"held by {', '.join(h.name for h in holders)}" if holders else "held by nobody"
        other = Death("held", holders[0], self.acquired_at, 0) if holders else None
        kind = "foreign-unlock" if holders else "unlock-of-unlocked"
        message = f"{self.rt.me.name} unlocks {self.name}, {who}"
        self.rt.notice(kind, self, at, message, other)

    def _recursion(self, at: str) -> None:
        self.rt.notice(
            "recursive-lock",
            self,
            at,
            f"{self.rt.me.name} takes {self.name} which it already holds",
        )
