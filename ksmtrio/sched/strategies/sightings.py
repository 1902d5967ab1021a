# SPDX-License-Identifier: GPL-2.0-or-later
"""Sightings: which write each read of an execution has seen, as far as announcements tell.

An event is a label on a named cell or lock; who carried it out does not matter, so that what was
learned of one task holds for all that run the same code. An operation that may change its word
counts as a write, one that may look at it as a read; taking a lock is both. A read that sees what
nobody wrote sees the initial write, whose label is `INITIAL`. Tests:
`tests/unit/test_sightings.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, Final, TypeAlias

from ksmtrio.sched.actor_state import ActorState
from ksmtrio.sched.strategies.base import Strategy

INITIAL: Final = ""
"""Label of the write that was there before the first."""

_HASH_BYTES: Final = 8

_ONLY_READ: Final = frozenset(
    {"read", "test_bit", "load", "hlist_empty", "page_order", "wait_event", "wait_on_page_locked"}
)

_ONLY_WRITE: Final = frozenset(
    {
        "write",
        "release",
        "mutex_unlock",
        "up_read",
        "up_write",
        "unlock_page",
        "clear_page_locked",
        "wake_up",
    }
)

Event: TypeAlias = tuple[str, str]
"""Name of a cell or lock, and label."""

Pair: TypeAlias = tuple[str, str, str]
"""Name of a cell or lock, label of a read, label of the write that it saw."""


def reads(op: str) -> bool:
    """Return whether an operation of this kind may learn what is in the word."""
    return op not in _ONLY_WRITE


def writes(op: str) -> bool:
    """Return whether an operation of this kind may change the word."""
    return op not in _ONLY_READ


class Sightings:
    """What was seen in one execution; told of each transition.

    Attributes:
        last: name -> label of the last write, `INITIAL` where it is missing.
        readers: event that reads -> bit set of the actors that carried it out.
        writers: event that writes -> likewise.
        pairs: what was seen, in order of first appearance.
    """

    def __init__(self) -> None:
        self.last: dict[str, str] = {}
        self.readers: dict[Event, int] = {}
        self.writers: dict[Event, int] = {}
        self.pairs: dict[Pair, None] = {}
        self._names: dict[Any, str] = {}

    def name_of(self, target: Any) -> str:
        """Return the name of a cell or lock; composing it anew each time is costly."""
        name = self._names.get(target)
        if name is None:
            name = self._names[target] = target.name
        return name

    def step(self, actor: ActorState) -> None:
        """Note the transition that begins."""
        if actor.obj is None:
            return
        name, at, op = self.name_of(actor.obj), actor.at, actor.op
        event, who = (name, at), 1 << actor.index
        if op not in _ONLY_WRITE:
            self.readers[event] = self.readers.get(event, 0) | who
            self.pairs[name, at, self.last.get(name, INITIAL)] = None
        if op not in _ONLY_READ:
            self.writers[event] = self.writers.get(event, 0) | who
            self.last[name] = at

    def behaviour(self) -> int:
        """Return a hash of what was seen, whatever the order; equal in every process."""
        return hash_of_pairs(self.pairs)


def hash_of_pairs(pairs: Iterable[Pair]) -> int:
    """Return a hash of a set of pairs, equal in every process."""
    digest = blake2b(repr(sorted(pairs)).encode(), digest_size=_HASH_BYTES)
    return int.from_bytes(digest.digest(), "big")


class Sighted:
    """Passes a strategy's choices on and keeps the sightings of the execution."""

    watches = True

    def __init__(self, inner: Strategy) -> None:
        self.inner = inner
        self.sightings = Sightings()

    def pick(self, enabled: Sequence[ActorState], current: ActorState | None) -> int:
        """Ask the inner strategy."""
        return self.inner.pick(enabled, current)

    def choose(self, stream: str, n: int) -> int:
        """Ask the inner strategy."""
        return self.inner.choose(stream, n)

    def demote(self, actor: ActorState) -> None:
        """Tell the inner strategy."""
        self.inner.demote(actor)

    def step(self, actor: ActorState) -> None:
        """Note the transition."""
        if self.inner.watches:
            self.inner.step(actor)
        self.sightings.step(actor)
