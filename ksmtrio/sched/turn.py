# SPDX-License-Identifier: GPL-2.0-or-later
"""What actors wait for when the baton moves, and who moves it.

Tests: `tests/unit/test_host_bare.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from ksmtrio.sched.actor_state import ActorState


class Turn(tuple[None, ...]):
    """Awaiting it yields its elements, in C: nothing is cheaper to wait for.

    Hosts yield one None to park an actor; none at all is for an operation that need not wait.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        def __await__(self) -> Generator[None, None, None]: ...

    else:
        __await__ = tuple.__iter__


GO_ON: Final = Turn()
"""Awaited where the actor keeps the baton."""


class Host(Protocol):
    """How batons move; see `host_trio.TrioHost` and `host_bare.BareHost`."""

    def switch(self, to: ActorState | None) -> Awaitable[None]:
        """Hand over and park."""
        ...

    def pass_on(self, to: ActorState | None) -> None:
        """Hand over for good."""

    async def run(
        self,
        actors: Sequence[ActorState],
        bodies: Sequence[Callable[[], Awaitable[None]]],
        first: Callable[[], ActorState],
    ) -> None:
        """Run an execution to its end."""
