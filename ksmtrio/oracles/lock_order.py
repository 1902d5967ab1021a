# SPDX-License-Identifier: GPL-2.0-or-later
"""Lock classes taken inside each other, and the cycles among them: deadlocks that did not happen.

The idea is lockdep's (kernel/locking/lockdep.c): an order seen once counts for ever. An edge a -> b
says that somebody who held a lock of class a waited, or might have waited, for one of class b;
trylocks cannot wait and make no edge into what they take. Locks of one class are told apart where
somebody holds two of them (parent's and child's mmap_sem, the pte locks of a moved range): there
the edge is between the two locks. Unlike lockdep, an edge remembers which locks were held
exclusively outside it: a cycle whose edges all have one such lock in common cannot come to pass.
Tests: `tests/unit/test_oracles_lock_order.py`.
"""

from __future__ import annotations

from itertools import pairwise, product
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ksmtrio.sched.actor_state import ActorState

CANNOT_WAIT: Final = frozenset({"trylock_page", "down_read_trylock"})
"""Events of acquisitions that take a lock only if it is free."""

GATES_MAX: Final = 8
"""Sets of outer locks that are remembered for an edge; more are as good as none."""


class Edge(NamedTuple):
    """One way in which an edge was seen.

    Attributes:
        gates: names of locks held exclusively outside the edge's outer lock.
        actor: who took the locks.
        outer_at, inner_at: labels of the two acquisitions.
    """

    gates: frozenset[str]
    actor: str
    outer_at: str
    inner_at: str


class Cycle(NamedTuple):
    """A cycle of lock classes, or of locks of one class.

    Attributes:
        locks: each is taken inside the one before, the first inside the last.
        classes: their classes; the same, unless locks of one class are told apart.
        edges: how each was seen, from locks[0] on.
    """

    locks: tuple[str, ...]
    classes: tuple[str, ...]
    edges: tuple[Edge, ...]


class LockOrder:
    """The orders seen in one execution."""

    def __init__(self) -> None:
        self._edges: dict[tuple[str, str], list[Edge]] = {}
        self._classes: dict[str, str] = {}
        self._nests: set[tuple[Any, ...]] = set()

    def acquired(self, actor: ActorState, lock: Any, event: str) -> None:
        """Enter the edges into a lock that was just taken (a `LockWatcher`)."""
        held: list[Any] = actor.held
        if len(held) < 2 or event in CANNOT_WAIT:
            return
        readers = 0
        for outer in held:
            readers = 2 * readers + outer.shared
        nest = (readers, *held)
        if nest in self._nests:
            return
        self._nests.add(nest)
        for number, outer in enumerate(held[:-1]):
            key = (outer.lock_class, lock.lock_class)
            if key[0] == key[1]:
                if outer is lock:
                    continue  # recursion: a finding of its own
                key = (outer.name, lock.name)
                self._classes.update(dict.fromkeys(key, lock.lock_class))
            ways = self._edges.get(key)
            if ways is None:
                ways = self._edges[key] = []
            self._enter(ways, actor, held[:number], outer, lock)
            recorder = lock.rt.recorder
            if recorder is not None:
                known = sorted(sorted(way.gates) for way in ways)
                recorder.remembered(f"order {key[0]} {key[1]}", known)

    def _enter(
        self, ways: list[Edge], actor: ActorState, around: list[Any], outer: Any, lock: Any
    ) -> None:
        """Keep the ways with the fewest locks around them; one without any suffices."""
        gates = frozenset(gate.name for gate in around if not gate.shared)
        if any(way.gates <= gates for way in ways):
            return
        if len(ways) >= GATES_MAX:
            gates = frozenset()
        ways[:] = [way for way in ways if not gates <= way.gates]
        ways.append(Edge(gates, actor.name, outer.acquired_at, lock.acquired_at))

    def cycles(self) -> list[Cycle]:
        """Return every cycle that can come to pass, those of fewest locks first."""
        found: list[Cycle] = []
        for path in sorted(_simple_cycles(_without_loose_ends(self._edges)), key=len):
            if any(set(cycle.locks) <= set(path) for cycle in found):
                continue
            edges = self._possible(path)
            if edges is not None:
                found.append(Cycle(path, tuple(self._classes.get(n, n) for n in path), edges))
        return found

    def _possible(self, path: tuple[str, ...]) -> tuple[Edge, ...] | None:
        """Choose a way for each edge so that no lock is around all of them."""
        steps = pairwise((*path, path[0]))
        for ways in product(*(self._edges[step] for step in steps)):
            if not frozenset.intersection(*(way.gates for way in ways)):
                return ways
        return None


def _without_loose_ends(edges: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return what follows what, without all that is on no cycle; empty for a sound order."""
    left = sorted(edges)
    while True:
        inner = {to for _, to in left}
        outer = {from_ for from_, _ in left}
        kept = [(from_, to) for from_, to in left if from_ in inner and to in outer]
        if len(kept) == len(left):
            break
        left = kept
    after: dict[str, list[str]] = {}
    for from_, to in left:
        after.setdefault(from_, []).append(to)
    return after


def _simple_cycles(after: dict[str, list[str]]) -> Iterator[tuple[str, ...]]:
    """Yield each simple cycle once, beginning with its least member."""
    for start, first in after.items():
        path, branches = [start], [iter(first)]
        while branches:
            to = next(branches[-1], None)
            if to is None:
                branches.pop()
                path.pop()
            elif to == start:
                yield tuple(path)
            elif to > start and to not in path:
                path.append(to)
                branches.append(iter(after[to]))
