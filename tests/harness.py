# SPDX-License-Identifier: GPL-2.0-or-later
"""Small worlds for tests: a few actors, one structure, and a listener that keeps every notice.

A test describes a world in a function `build(world)`, which creates locks and cells on `world.box`
and names its actors. `run_actors` runs it once; `every_schedule` runs it once for each schedule
there is; `Turns` spells out one schedule by actor names and labels. Tests: by use.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any

import attrs
import trio

from ksmtrio.execution import start
from ksmtrio.locking.bit_lock import BitLock
from ksmtrio.sched.actor_state import ActorState
from ksmtrio.sched.cell import Death, Flags, SharedObject
from ksmtrio.sched.choices import Choices
from ksmtrio.sched.hosts import HOST_DEFAULT, make_host
from ksmtrio.sched.runtime import Runtime
from ksmtrio.sched.strategies.base import Strategy, Unwatching
from ksmtrio.sched.strategies.replay import Replay
from ksmtrio.sched.tap import Tap

Body = Callable[[], Awaitable[None]]
Build = Callable[["World"], None]

EXECUTIONS_MAX = 20_000
PG_LOCKED = 1


class Box(SharedObject):
    """A structure on which a test hangs the cells and locks it needs."""

    type_stable = False

    def __init__(self, rt: Runtime, label: str = "box") -> None:
        super().__init__(rt)
        self._label = label

    @property
    def name(self) -> str:
        """What the test called it."""
        return self._label


@attrs.frozen
class Splat:
    """One notice of the machine."""

    kind: str
    target: Any
    at: str
    message: str
    other: Death | None


@attrs.define(eq=False)
class World:
    """One execution as a test sees it.

    Attributes:
        fatal: kinds of notices that end the execution, as an oracle may do.
        log: whatever the bodies noted, in order.
        inside: actors in the critical section now; `crowd` is the most there ever were.
    """

    rt: Runtime
    box: Box
    fatal: frozenset[str] = frozenset()
    splats: list[Splat] = attrs.field(factory=list)
    log: list[Any] = attrs.field(factory=list)
    bodies: list[Body] = attrs.field(factory=list)
    inside: list[str] = attrs.field(factory=list)
    crowd: int = 0

    @property
    def kinds(self) -> list[str]:
        """Kinds of all notices, in order."""
        return [splat.kind for splat in self.splats]

    def actor(self, name: str, body: Body, *, background: bool = False) -> ActorState:
        """Add an actor; the order of calls is the creation order."""
        self.bodies.append(body)
        return self.rt.add_actor(name, cpu=len(self.bodies) - 1, background=background)

    def listen(self, kind: str, target: Any, at: str, message: str, other: Death | None) -> None:
        """Keep a notice and end the execution when its kind is fatal."""
        self.splats.append(Splat(kind, target, at, message, other))
        if kind in self.fatal:
            self.rt.end(kind)

    def note(self, word: str) -> None:
        """Log a word under the current actor's name."""
        self.log.append(f"{self.rt.me.name} {word}")

    def enter(self) -> None:
        """Enter the critical section."""
        self.inside.append(self.rt.me.name)
        self.crowd = max(self.crowd, len(self.inside))
        self.log.append(self.rt.me.name)

    def leave(self) -> None:
        """Leave the critical section."""
        self.inside.remove(self.rt.me.name)


@attrs.define(eq=False)
class Tape(Tap):
    """A recorder that keeps everything."""

    operations: list[tuple[str, str, str, Any]] = attrs.field(factory=list)
    tracepoints: list[tuple[str, str, dict[str, Any]]] = attrs.field(factory=list)
    choices: list[tuple[str, str, int, int, str]] = attrs.field(factory=list)

    def operation(self, at: str, event: str, target: Any, value: Any) -> None:
        """Keep an operation under the name of its target."""
        self.operations.append((at, event, target.name, value))

    def tracepoint(self, at: str, event: str, fields: dict[str, Any]) -> None:
        """Keep a tracepoint."""
        self.tracepoints.append((at, event, fields))

    def choice(self, stream: str, at: str, index: int, of: int, what: str) -> None:
        """Keep a choice."""
        self.choices.append((stream, at, index, of, what))


class Turns(Unwatching):
    """One schedule, spelled out: each turn is an actor and the label at which it must pause.

    An actor pauses before it carries out the operation at the label. A turn without a label lasts
    until the actor blocks or finishes. After the last turn whoever runs goes on, or else the first
    enabled actor.
    """

    def __init__(self, *turns: str) -> None:
        self._turns = [turn.partition("@")[::2] for turn in turns]
        self._begun = False

    def pick(self, enabled: Sequence[ActorState], current: ActorState | None) -> int:
        """Return the index of the actor whose turn it is."""
        while self._turns:
            name, stop = self._turns[0]
            blocked_since = self._begun and (current is None or current.name != name)
            for index, actor in enumerate(enabled):
                if actor.name == name and actor.at != stop and not blocked_since:
                    self._begun = True
                    return index
            self._turns.pop(0)
            self._begun = False
        return enabled.index(current) if current in enabled else 0

    def choose(self, stream: str, n: int) -> int:
        """Return the ordinary outcome."""
        return 0

    def demote(self, actor: ActorState) -> None:
        """A spelled-out schedule knows no priorities."""


class Watched(Unwatching):
    """Passes a strategy's choices on and remembers among how many actors each was taken."""

    def __init__(self, inner: Strategy) -> None:
        self._inner = inner
        self.alternatives: list[int] = []
        self.seen: list[list[int]] = []

    def pick(self, enabled: Sequence[ActorState], current: ActorState | None) -> int:
        """Ask the inner strategy."""
        self.alternatives.append(len(enabled))
        self.seen.append([actor.index for actor in enabled])
        return self._inner.pick(enabled, current)

    def choose(self, stream: str, n: int) -> int:
        """Ask the inner strategy."""
        return self._inner.choose(stream, n)

    def demote(self, actor: ActorState) -> None:
        """Tell the inner strategy."""
        self._inner.demote(actor)


async def execute(
    build: Build,
    strategy: Strategy,
    *,
    fatal: Iterable[str] = (),
    recorder: Tap | None = None,
    faults: Iterable[str] = (),
    points_max: int = 2_000,
    host: str = HOST_DEFAULT,
) -> World:
    """Run one execution, on host trio inside a running loop."""
    rt = Runtime(
        strategy,
        make_host(host),
        points_max=points_max,
        recorder=recorder,
        faults=frozenset(faults),
    )
    world = World(rt, Box(rt), frozenset(fatal))
    rt.listeners.append(world.listen)
    build(world)
    await rt.run(world.bodies)
    return world


def run_actors(
    build: Build,
    *turns: str,
    choices: Choices | None = None,
    exact: bool = False,
    strategy: Strategy | None = None,
    host: str = HOST_DEFAULT,
    **options: Any,
) -> World:
    """Run one execution: by `turns`, or else by `strategy`, or else by replay of `choices`."""
    if turns:
        strategy = Turns(*turns)
    elif strategy is None:
        strategy = Replay(choices or Choices(), exact=exact)
    return start(host, partial(execute, build, strategy, host=host, **options))


def every_schedule(build: Build, **options: Any) -> list[World]:
    """Run every schedule of a small world once, all in one trio loop.

    Depth first over the choice tree: each execution follows a prefix; each choice after the prefix
    leaves its other alternatives behind as new prefixes.
    """

    async def explore() -> list[World]:
        worlds: list[World] = []
        todo: list[list[int]] = [[]]
        while todo:
            prefix = todo.pop()
            strategy = Watched(Replay(Choices(schedule=prefix), exact=False))
            world = await execute(build, strategy, **options)
            taken = world.rt.choices.schedule
            assert taken[: len(prefix)] == prefix
            for place in range(len(prefix), len(taken)):
                todo.extend(
                    [*taken[:place], other]
                    for other in range(strategy.alternatives[place])
                    if other != taken[place]
                )
            worlds.append(world)
            assert len(worlds) <= EXECUTIONS_MAX, "the world is too large to enumerate"
        return worlds

    return trio.run(explore)


def page_lock(owner: Box) -> BitLock:
    """Return a page lock with a flags word of its own."""
    return BitLock(owner, "page_lock", Flags(owner, "flags", 0, {PG_LOCKED: "locked"}), PG_LOCKED)


def alone(op: Callable[[World], Awaitable[None]], **options: Any) -> World:
    """Run one coroutine as the only actor."""

    def build(world: World) -> None:
        async def body() -> None:
            await op(world)

        world.actor("a", body)

    return run_actors(build, **options)


def steppers(world: World, *, actors: int = 3, steps: int = 2) -> None:
    """Actors that only pass points and log each step."""

    async def body() -> None:
        for step in range(steps):
            await world.rt.cond_resched("f.1")
            world.note(str(step))

    for number in range(actors):
        world.actor(f"a{number}", body)
