# SPDX-License-Identifier: GPL-2.0-or-later
"""Wait queues: sleep until somebody says that a condition may have become true.

Tests: `tests/unit/test_wait.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ksmtrio.sched.cell import Shared
from ksmtrio.sched.tap import ANYTHING, READ

if TYPE_CHECKING:
    from ksmtrio.sched.actor_state import ActorState
    from ksmtrio.sched.runtime import Runtime


class WaitQueue:
    """wait_queue_head_t. Kernel: kernel/wait.c, v2.6.33."""

    __slots__ = ("_waiters", "field", "owner", "rt")

    def __init__(self, owner: Shared, field: str) -> None:
        self.rt: Runtime = owner.rt
        self.owner = owner
        self.field = field
        self._waiters: list[ActorState] = []

    @property
    def name(self) -> str:
        """Kernel name."""
        return self.field

    async def wait_event(self, at: str, condition: Callable[[], bool], *, idle: bool) -> None:
        """Sleep until `condition` holds; it is evaluated with the actor already queued.

        Args:
            at: label.
            condition: evaluated atomically; queueing first means that no wake-up is lost.
            idle: waiting for work, which may never come; such a waiter does not count as hung.
        """
        rt = self.rt
        rt.might_sleep(at)
        await rt.point(at, "wait_event", self)
        me = rt.me
        while not self._holds(condition):
            self._waiters.append(me)
            me.idle, me.ready = idle, condition
            await rt.block(self, at)
            me.idle, me.ready = False, None

    def _holds(self, condition: Callable[[], bool]) -> bool:
        """Evaluate a condition, which may look at any word."""
        if self.rt.recorder is not None:
            self.rt.recorder.aside(ANYTHING, READ)
        return condition()

    async def wake_up(self, at: str) -> None:
        """Wake all waiters; each checks its condition again."""
        rt = self.rt
        await rt.point(at, "wake_up", self)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            rt.wake(waiter)
        if rt.recorder is not None:
            rt.recorder.operation(at, "wake_up", self, len(waiters))
