# SPDX-License-Identifier: GPL-2.0-or-later
"""The seam to trio: the only place where the emulated world meets the event loop.

Each actor is one trio task. All but the baton's holder are parked in `wait_task_rescheduled`, so
trio never has two of ours to order and its run order cannot matter. Public names of trio only.
Tests: `tests/unit/test_host_trio.py`, `tests/determinism/`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import trio
from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled

if TYPE_CHECKING:
    from ksmtrio.sched.actor_state import ActorState

Body = Callable[[], Awaitable[None]]


class TrioHost:
    """Runs the bodies of one execution, one nursery for all, and hands the baton over."""

    def __init__(self) -> None:
        self._main: Task | None = None
        self._parked = 0
        self._cancelled = False

    async def switch(self, to: ActorState | None) -> None:
        """Give the baton to `to` (None: the execution is over) and park until it comes back."""
        self._wake(to)
        await wait_task_rescheduled(self._abort)

    def pass_on(self, to: ActorState | None) -> None:
        """Give the baton away for good; the caller's task is about to end."""
        self._wake(to)

    def _abort(self, _: object) -> Abort:
        self._cancelled = True
        return Abort.SUCCEEDED

    def _wake(self, to: ActorState | None) -> None:
        if self._cancelled:  # from outside: trio has rescheduled every parked task already
            return
        task = self._main if to is None else to.handle
        assert task is not None
        reschedule(task)

    async def _task(self, actor: ActorState, body: Body, total: int) -> None:
        actor.handle = current_task()
        self._parked += 1
        if self._parked == total:
            self._wake(None)
        await wait_task_rescheduled(self._abort)
        await body()

    async def run(
        self, actors: Sequence[ActorState], bodies: Sequence[Body], first: Callable[[], ActorState]
    ) -> None:
        """Run until someone switches to None, then cancel what is still parked.

        Args:
            actors: in creation order.
            bodies: one each; a body passes the baton on before it returns.
            first: asked once, when all are parked, for the first holder of the baton.
        """
        self._main = current_task()
        self._parked = 0
        self._cancelled = False
        async with trio.open_nursery() as nursery:
            for actor, body in zip(actors, bodies, strict=True):
                nursery.start_soon(self._task, actor, body, len(actors), name=actor.name)
            await wait_task_rescheduled(self._abort)
            await self.switch(first())
            nursery.cancel_scope.cancel()
