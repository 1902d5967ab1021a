# SPDX-License-Identifier: GPL-2.0-or-later
"""Spinlocks: ticket locks, hence FIFO (x86 of v2.6.33). The holder must not sleep.

Unlocking is not a schedule point: nobody can tell a spinlock that is about to be released from one
that has been, except by waiting for it. Tests: `tests/unit/test_spinlock.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ksmtrio.locking.base import Lock
from ksmtrio.sched.cell import Shared
from ksmtrio.sched.tap import READ

if TYPE_CHECKING:
    from ksmtrio.sched.actor_state import ActorState


class SpinLock(Lock):
    """spinlock_t. Kernel: include/linux/spinlock.h, v2.6.33."""

    __slots__ = ("_holder", "_queue")

    def __init__(self, owner: Shared, field: str, lock_class: str | None = None) -> None:
        super().__init__(owner, field, lock_class)
        self._holder: ActorState | None = None
        self._queue: deque[ActorState] = deque()

    def holders(self) -> Sequence[ActorState]:
        """Return the holder, if any."""
        return () if self._holder is None else (self._holder,)

    def held_by(self, actor: ActorState) -> bool:
        """Return whether `actor` holds it."""
        return self._holder is actor

    @property
    def contended(self) -> bool:
        """spin_is_contended(): somebody waits for it."""
        if self.rt.recorder is not None:
            self.rt.recorder.aside(self.name, READ)
        return bool(self._queue)

    async def lock(self, at: str) -> None:
        """Take the lock, in order of arrival."""
        rt = self.rt
        await rt.point(at, "spin_lock", self)
        me = rt.me
        if self._holder is None:
            self._holder = me
        else:
            if self._holder is me:
                self._recursion(at)
            self._queue.append(me)
            await rt.block(self, at)
        me.preempt_count += 1
        self._acquired(at, "spin_lock")

    def unlock(self, at: str) -> None:
        """Release the lock to the longest waiter."""
        rt = self.rt
        rt.touch(at, self)
        if self._holder is not rt.me:
            self._foreign_unlock(at)
        if self in rt.me.held:
            rt.me.preempt_count -= 1
        self._released(at, "spin_unlock")
        if self._queue:
            self._holder = self._queue.popleft()
            rt.wake(self._holder)
        else:
            self._holder = None
