# SPDX-License-Identifier: GPL-2.0-or-later
"""Explorers on small worlds: run one to its end, and count preemptions in another way.

Tests: by use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import trio

from ksmtrio.sched.actor_state import ActorState, State
from ksmtrio.sched.exploration.base import Explorer
from ksmtrio.sched.strategies.base import Strategy, Unwatching
from tests.harness import Build, World, execute

EXECUTIONS_MAX = 20_000


@attrs.frozen
class Explored:
    """One execution of an exploration."""

    world: World
    choices: tuple[tuple[int, ...], ...]
    preemptions: int


class Counting(Unwatching):
    """Passes choices on and counts those that are preemptions, by words and sets."""

    def __init__(self, inner: Strategy) -> None:
        self._inner = inner
        self._waits_for: dict[str, set[str]] = {}
        self.preemptions = 0

    def pick(self, enabled: Sequence[ActorState], current: ActorState | None) -> int:
        """Ask the inner strategy; compare with what would have been free."""
        names = {actor.name for actor in enabled}
        if current is not None and current.name in names and gives_way(current):
            self._waits_for[current.name] = names - {current.name}
        index = self._inner.pick(enabled, current)
        picked = enabled[index]
        self.preemptions += not self._free(picked, enabled, current)
        self._waits_for.pop(picked.name, None)
        for waited in self._waits_for.values():
            waited.discard(picked.name)
        return index

    def _free(
        self, picked: ActorState, enabled: Sequence[ActorState], current: ActorState | None
    ) -> bool:
        if current in enabled and current is not None and not gives_way(current):
            return picked is current
        names = {actor.name for actor in enabled}
        first = [a for a in enabled if not self._waits_for.get(a.name, set()) & names]
        awake = [a for a in first if a.state is not State.SLEEPING]
        return picked in (awake or first)

    def choose(self, stream: str, n: int) -> int:
        """Ask the inner strategy; whatever is not the default counts."""
        index = self._inner.choose(stream, n)
        self.preemptions += index != 0
        return index

    def demote(self, actor: ActorState) -> None:
        """Pass it on."""
        self._inner.demote(actor)


def gives_way(actor: ActorState) -> bool:
    """Return whether the actor has just yielded, gone to sleep or relaxed."""
    return actor.op in ("yield", "sleep", "cpu_relax")


def explore_world(
    build: Build, explorer: Explorer, *, until: int | None = None, **options: Any
) -> list[Explored]:
    """Run an exploration, or the next `until` executions of it."""

    async def explore() -> list[Explored]:
        done: list[Explored] = []
        while until is None or len(done) < until:
            strategy = explorer.next()
            if strategy is None:
                break
            counting = Counting(strategy)
            world = await execute(build, counting, recorder=explorer.taps(), **options)
            rt = world.rt
            taken = (rt.choices.schedule, rt.choices.data, rt.choices.faults)
            explorer.learn(rt.stop_reason)
            done.append(Explored(world, tuple(map(tuple, taken)), counting.preemptions))
            assert len(done) <= EXECUTIONS_MAX, "the world is too large"
        return done

    return trio.run(explore)
