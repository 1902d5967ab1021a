# SPDX-License-Identifier: GPL-2.0-or-later
"""Sleeping mutexes, counted as on x86 of v2.6.33.

Waiters are queued FIFO, but a running newcomer may be faster than the woken head. An unlock by
someone who does not hold it makes the mutex available all the same; unlocking it when it is free
raises the count to 2, after which two lockers succeed, but a waiter that was just woken does not:
it takes the mutex only at a count of exactly 1. Tests: `tests/unit/test_mutex.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ksmtrio.locking.base import Lock
from ksmtrio.sched.cell import Shared

if TYPE_CHECKING:
    from ksmtrio.sched.actor_state import ActorState


class Mutex(Lock):
    """struct mutex. Kernel: kernel/mutex.c, v2.6.33; uninterruptible.

    The count is the kernel's: 1 free, 0 locked, -1 locked with waiters; 2 and more after a misuse.
    """

    __slots__ = ("_count", "_holders", "_queue")

    def __init__(self, owner: Shared, field: str, lock_class: str | None = None) -> None:
        super().__init__(owner, field, lock_class)
        self._count = 1
        self._holders: list[ActorState] = []
        self._queue: list[ActorState] = []

    def holders(self) -> Sequence[ActorState]:
        """Return the holders; more than one only after a misuse."""
        return self._holders

    @property
    def free(self) -> bool:
        """Whether nobody holds it; for oracles."""
        return not self._holders

    async def lock(self, at: str) -> None:
        """Take the mutex; may sleep."""
        rt = self.rt
        rt.might_sleep(at)
        await rt.point(at, "mutex_lock", self)
        me = rt.me
        if me in self._holders:
            self._recursion(at)
        self._count -= 1
        if self._count < 0:
            await self._wait(me, at)
        self._holders.append(me)
        self._acquired(at, "mutex_lock")

    async def _wait(self, me: ActorState, at: str) -> None:
        """Queue until the count is exactly 1; a woken head that loses keeps its place."""
        self._queue.append(me)
        while True:
            free = self._count == 1
            self._count = -1
            if free:
                break
            await self.rt.block(self, at)
        self._queue.remove(me)
        if not self._queue:
            self._count = 0

    async def unlock(self, at: str) -> None:
        """Release the mutex and wake the first waiter, which competes for it again."""
        rt = self.rt
        await rt.point(at, "mutex_unlock", self)
        me = rt.me
        if me in self._holders:
            self._holders.remove(me)
        else:
            self._foreign_unlock(at)
        self._released(at, "mutex_unlock")
        self._count += 1
        if self._count <= 0:
            self._count = 1
            if self._queue:
                rt.wake_once(self._queue[0])
