# SPDX-License-Identifier: GPL-2.0-or-later
"""The host without an event loop: a trampoline that steps the same coroutines as trio's tasks.

For searches of very many executions. Same choices in, same digests out as on `host_trio`; what
differs is only what a switch costs. Tests: `tests/unit/test_host_bare.py`,
`tests/determinism/test_hosts.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ksmtrio.errors import EmulatorError
from ksmtrio.sched.turn import Turn

if TYPE_CHECKING:
    from ksmtrio.sched.actor_state import ActorState

T = TypeVar("T")

Body = Callable[[], Awaitable[None]]


_PARK: Final = Turn([None])
"""Awaiting it yields once to the trampoline."""


class BareHost:
    """Runs the bodies of one execution by stepping whoever has the baton."""

    def __init__(self) -> None:
        self._next: ActorState | None = None

    def switch(self, to: ActorState | None) -> Awaitable[None]:
        """Give the baton to `to` (None: the execution is over) and park until it comes back."""
        self._next = to
        return _PARK

    def pass_on(self, to: ActorState | None) -> None:
        """Give the baton away for good; the caller's coroutine is about to end."""
        self._next = to

    async def run(
        self, actors: Sequence[ActorState], bodies: Sequence[Body], first: Callable[[], ActorState]
    ) -> None:
        """Run until someone switches to None, then close what is still parked.

        Args:
            actors: in creation order.
            bodies: one each; a body passes the baton on before it returns.
            first: asked once, for the first holder of the baton.

        Raises:
            EmulatorError: a body waits for an event loop.
        """
        coroutines: list[Any] = [body() for body in bodies]
        for actor, coroutine in zip(actors, coroutines, strict=True):
            actor.handle = coroutine.send
        try:
            self._next = first()
            while (to := self._next) is not None:
                try:
                    if to.handle(None) is not None:
                        raise EmulatorError(f"{to.name} waits for an event loop; use host trio")
                except StopIteration:
                    continue
        finally:
            for coroutine in coroutines:
                coroutine.close()


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run an execution on host `bare` to its end; it waits for nothing, so one step will do.

    Raises:
        EmulatorError: it waits for an event loop.
    """
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise EmulatorError("an execution on host bare waits for an event loop")
