# SPDX-License-Identifier: GPL-2.0-or-later
"""Sleeping bit locks: the page lock (PG_locked). Not FIFO; anyone may win after an unlock.

The bit itself lives in the flags word of the owner, so that lockless readers of the flags see it.
Tests: `tests/unit/test_bit_lock.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ksmtrio.locking.base import Lock
from ksmtrio.sched.cell import Flags, Shared
from ksmtrio.sched.tap import WRITE

if TYPE_CHECKING:
    from ksmtrio.sched.actor_state import ActorState


class BitLock(Lock):
    """The lock behind lock_page(). Kernel: mm/filemap.c, v2.6.33.

    The kernel does not record the owner; we do, for the locks oracle and for guards.
    """

    __slots__ = ("_bit", "_flags", "_holder", "_waiters")

    def __init__(
        self, owner: Shared, field: str, flags: Flags, bit: int, lock_class: str | None = None
    ) -> None:
        super().__init__(owner, field, lock_class)
        self._flags = flags
        self._bit = bit
        self._holder: ActorState | None = None
        self._waiters: list[ActorState] = []

    @property
    def name(self) -> str:
        """As in ``page_lock(pfn=42)``."""
        return f"{self.field}({self.owner.name})"

    def holders(self) -> Sequence[ActorState]:
        """Return the holder, if any."""
        return () if self._holder is None else (self._holder,)

    def held_by(self, actor: ActorState) -> bool:
        """Return whether `actor` holds it."""
        return self._holder is actor

    @property
    def locked(self) -> bool:
        """Whether the bit is set; for oracles and assertions."""
        return self._flags.has(self._bit)

    def _taken(self) -> bool:
        """Look at the bit: whoever writes the whole word, as the allocator does, may clear it."""
        return bool(self._flags.look() & self._bit)

    def _take(self, at: str, event: str) -> None:
        self._flags.change_in_step(at, set_=self._bit)
        self._holder = self.rt.me
        self._acquired(at, event)

    async def trylock(self, at: str) -> bool:
        """Take it without waiting; return whether it worked."""
        await self.rt.point(at, "trylock_page", self)
        if self._taken():
            if self.rt.recorder is not None:
                self.rt.recorder.operation(at, "trylock_page", self, False)
            return False
        self._take(at, "trylock_page")
        return True

    def set_page_locked(self, at: str) -> None:
        """__set_page_locked(): take the lock of a page that nobody else can see yet."""
        self._take(at, "set_page_locked")

    def clear_page_locked(self, at: str) -> None:
        """__clear_page_locked(): drop the lock of a page that nobody else can see any more."""
        self._holder = None
        self._flags.change_in_step(at, clear=self._bit)
        self._released(at, "clear_page_locked")

    def hand_over(self, to: ActorState) -> None:
        """Let `to` be who must unlock: the device that reads the page in."""
        holder = self._holder
        if holder is not None and self in holder.held:
            holder.held.remove(self)
        self._holder = to
        to.held.append(self)
        if self.rt.recorder is not None:
            self.rt.recorder.aside(self.name, WRITE)

    async def lock(self, at: str) -> None:
        """Take it; may sleep."""
        rt = self.rt
        rt.might_sleep(at)
        await rt.point(at, "lock_page", self)
        me = rt.me
        if self._holder is me:
            self._recursion(at)
        while self._taken():
            self._waiters.append(me)
            await rt.block(self, at)
        self._take(at, "lock_page")

    async def wait_unlocked(self, at: str) -> None:
        """Wait until nobody holds it, without taking it; may sleep."""
        rt = self.rt
        rt.might_sleep(at)
        await rt.point(at, "wait_on_page_locked", self)
        while self._taken():
            self._waiters.append(rt.me)
            await rt.block(self, at)

    async def unlock(self, at: str) -> None:
        """Release it and let every waiter compete."""
        rt = self.rt
        await rt.point(at, "unlock_page", self)
        if self._holder is not rt.me:
            self._foreign_unlock(at)
        self._holder = None
        self._flags.change_in_step(at, clear=self._bit)
        self._released(at, "unlock_page")
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            rt.wake(waiter)
