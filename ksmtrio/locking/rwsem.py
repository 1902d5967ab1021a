# SPDX-License-Identifier: GPL-2.0-or-later
"""Read/write semaphores: a queued writer blocks later readers; readers at the head wake together.

Waiters get the lock handed over in queue order. Tests: `tests/unit/test_rwsem.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ksmtrio.locking.base import Lock
from ksmtrio.sched.cell import Shared

if TYPE_CHECKING:
    from ksmtrio.sched.actor_state import ActorState


class RwSem(Lock):
    """struct rw_semaphore. Kernel: lib/rwsem.c, v2.6.33; uninterruptible."""

    __slots__ = ("_queue", "_readers", "_writer")

    def __init__(self, owner: Shared, field: str, lock_class: str | None = None) -> None:
        super().__init__(owner, field, lock_class)
        self._writer: ActorState | None = None
        self._readers: list[ActorState] = []
        self._queue: list[tuple[ActorState, bool]] = []

    @property
    def shared(self) -> bool:
        """Whether its holders are readers."""
        return self._writer is None

    def holders(self) -> Sequence[ActorState]:
        """Return the writer or the readers."""
        return self._readers if self._writer is None else (self._writer,)

    def held_by(self, actor: ActorState) -> bool:
        """Return whether `actor` holds it in any mode."""
        return self._writer is actor or actor in self._readers

    def write_held_by(self, actor: ActorState) -> bool:
        """Return whether `actor` holds it for write."""
        return self._writer is actor

    async def down_read(self, at: str) -> None:
        """Take it for read; may sleep, also behind a writer that only waits."""
        rt = self.rt
        rt.might_sleep(at)
        await rt.point(at, "down_read", self)
        me = rt.me
        if self.held_by(me):
            self._recursion(at)
        if self._writer is None and not self._queue:
            self._readers.append(me)
        else:
            self._queue.append((me, False))
            await rt.block(self, at)
        self._acquired(at, "down_read")

    async def down_read_trylock(self, at: str) -> bool:
        """Take it for read without waiting; return whether it worked."""
        rt = self.rt
        await rt.point(at, "down_read_trylock", self)
        taken = self._writer is None and not self._queue
        if taken:
            self._readers.append(rt.me)
            self._acquired(at, "down_read_trylock")
        return taken

    async def down_write(self, at: str) -> None:
        """Take it for write; may sleep."""
        rt = self.rt
        rt.might_sleep(at)
        await rt.point(at, "down_write", self)
        me = rt.me
        if self.held_by(me):
            self._recursion(at)
        if self._writer is None and not self._readers and not self._queue:
            self._writer = me
        else:
            self._queue.append((me, True))
            await rt.block(self, at)
        self._acquired(at, "down_write")

    async def up_read(self, at: str) -> None:
        """Release a read hold."""
        rt = self.rt
        await rt.point(at, "up_read", self)
        if rt.me in self._readers:
            self._readers.remove(rt.me)
        else:
            self._foreign_unlock(at)
        self._released(at, "up_read")
        self._grant()

    async def up_write(self, at: str) -> None:
        """Release the write hold."""
        rt = self.rt
        await rt.point(at, "up_write", self)
        if self._writer is rt.me:
            self._writer = None
        else:
            self._foreign_unlock(at)
            self._writer = None
        self._released(at, "up_write")
        self._grant()

    def _grant(self) -> None:
        """Hand the lock to the queue's head: one writer, or all readers up to the next."""
        while self._queue and self._writer is None:
            actor, wants_write = self._queue[0]
            if wants_write and self._readers:
                return
            self._queue.pop(0)
            if wants_write:
                self._writer = actor
            else:
                self._readers.append(actor)
            self.rt.wake(actor)
