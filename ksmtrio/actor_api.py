# SPDX-License-Identifier: GPL-2.0-or-later
"""What an actor kind is and how kinds are found: by the entry-point group ``ksmtrio.actors``.

ksmtrio never imports an actor; a third party adds a kind by an entry point of its own. Tests:
`tests/unit/test_actors.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol

from ksmtrio.errors import BadInput
from ksmtrio.scenario.schema import ActorSpec

if TYPE_CHECKING:
    from ksmtrio.machine import Machine

GROUP = "ksmtrio.actors"


class Actor(Protocol):
    """One emulated thread: built from its scenario entry, then run to its end.

    `background` actors (kernel threads) do not keep an execution going once they have no work.
    The class docstring's first line is its description in `ksmtrio list actors`.
    """

    background: bool

    async def run(self) -> None:
        """Do the actor's work; every await is a possible interleaving."""
        ...


ActorFactory = Callable[["Machine", ActorSpec], Actor]
"""What an entry point must load to; usually the actor class itself."""


@cache
def actor_kinds() -> dict[str, str]:
    """Return kind -> where it is defined, sorted by kind."""
    return {e.name: e.value for e in sorted(entry_points(group=GROUP), key=lambda e: e.name)}


@cache
def load_actor_kind(kind: str) -> ActorFactory:
    """Return the factory of a kind.

    Raises:
        BadInput: no such kind is installed.
    """
    for entry in entry_points(group=GROUP):
        if entry.name == kind:
            factory: ActorFactory = entry.load()
            return factory
    known = ", ".join(actor_kinds()) or "none; install the package first"
    raise BadInput(f"unknown actor kind {kind!r}; installed kinds: {known}")
