# SPDX-License-Identifier: GPL-2.0-or-later
"""Behaviours: what an execution was, whatever the order of things that do not concern each other.

Two executions are of one reads-from class if every actor carried out the same operations and each
saw the same write: written by whom, the how-manieth of that actor on that word. They are of one
lock-order class if every lock was taken by the same actors in the same order, where those who share
it have no order. They behave alike if both hold. Classes are hashes, equal in every process; a few
bytes of an execution that is otherwise forgotten. Tests: `tests/unit/test_behaviour.py`.

Source of the equivalence: M. Chalupa, K. Chatterjee, A. Pavlogiannis, N. Sinha, K. Vaidya,
"Data-Centric Dynamic Partial Order Reduction", POPL 2018.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import attrs

from ksmtrio.sched.cell import Cell
from ksmtrio.sched.footprint import kind_of
from ksmtrio.sched.tap import READ, Tap

if TYPE_CHECKING:
    from ksmtrio.sched.actor_state import ActorState

_HASH_BYTES: Final = 8
_START: Final = (-1, 0)
"""Who wrote a word first: the start state."""

_SHARED: Final = frozenset({"down_read", "down_read_trylock"})
_ALONE: Final = frozenset(
    {
        "acquire",
        "down_write",
        "lock_page",
        "mutex_lock",
        "spin_lock",
        "set_page_locked",
        "trylock_page",
    }
)


@attrs.frozen
class Behaviour:
    """Hashes of 64 bits of the classes of one execution."""

    reads_from: int
    lock_order: int

    def both(self) -> int:
        """Return the class of executions that are alike in both respects."""
        return _hash(repr((self.reads_from, self.lock_order)))


class Behaviours(Tap):
    """Listens to one execution; then `behaviour` says how it behaved."""

    def __init__(self) -> None:
        self._me = -1
        self._names: dict[Any, str] = {}
        self._last: dict[str, tuple[int, int]] = {}
        self._writes: dict[tuple[str, int], int] = {}
        self._stories: dict[int, list[object]] = {}
        self._story: list[object] = []
        self._locks: dict[str, list[tuple[int, bool]]] = {}

    def step(self, actor: ActorState) -> None:
        """Note who is running."""
        if actor.index != self._me:
            self._me = actor.index
            self._story = self._stories.setdefault(actor.index, [])

    def operation(self, at: str, event: str, target: Any, value: Any) -> None:
        """Note what was seen, written, taken."""
        if target is None or self._me < 0:
            return
        name = self._names.get(target)
        if name is None:
            name = self._names[target] = target.name
        if isinstance(target, Cell):
            self._access(name, at, event, value)
        elif value is False:
            self._story.append((at, name, len(self._locks.get(name, ()))))
        elif event in _ALONE or event in _SHARED:
            self._locks.setdefault(name, []).append((self._me, event in _SHARED))

    def choice(self, stream: str, at: str, index: int, of: int, what: str) -> None:
        """Note what the machine decided for an actor."""
        if stream != "schedule":
            self._story.append((at, stream, index))

    def _access(self, name: str, at: str, event: str, value: Any) -> None:
        if event == "write":
            self._story.append((at, name))
        else:
            self._story.append((at, name, self._last.get(name, _START)))
            if kind_of(event, value) == READ:
                return
        me = self._me
        nr = self._writes[name, me] = self._writes.get((name, me), 0) + 1
        self._last[name] = (me, nr)

    def behaviour(self) -> Behaviour:
        """Return the classes of what was heard so far."""
        return Behaviour(
            reads_from=_hash(repr(sorted(self._stories.items()))),
            lock_order=_hash(repr([(n, _unordered(o)) for n, o in sorted(self._locks.items())])),
        )


def _unordered(order: list[tuple[int, bool]]) -> list[list[int]]:
    """Return the holders of a lock one after the other; those who shared it at a time, sorted."""
    groups: list[list[int]] = []
    sharing = False
    for actor, shared in order:
        if shared and sharing:
            groups[-1].append(actor)
        else:
            groups.append([actor])
        sharing = shared
    return [sorted(group) for group in groups]


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=_HASH_BYTES).digest(), "big")
