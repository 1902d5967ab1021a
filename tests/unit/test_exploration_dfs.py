# SPDX-License-Identifier: GPL-2.0-or-later
"""Depth-first search: against all schedules there are, with preemptions counted in another way."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import msgspec
import pytest
import trio

from ksmtrio.errors import BadInput
from ksmtrio.locking.mutex import Mutex
from ksmtrio.locking.wait import WaitQueue
from ksmtrio.sched.cell import Cell
from ksmtrio.sched.exploration.base import Covered, Settings
from ksmtrio.sched.exploration.dfs import Dfs
from tests.exploring import Counting, Explored, explore_world
from tests.exploring_classes import Path
from tests.harness import Build, World, execute, steppers
from tests.programs import lost_update

FAULTS: dict[str, Any] = {"faults": ("alloc",)}


def three_steppers(world: World) -> None:
    steppers(world, actors=3, steps=1)


def locked(world: World) -> None:
    """Two contenders for a mutex."""
    mutex = Mutex(world.box, "m")

    async def body() -> None:
        await mutex.lock("f.1")
        world.note("in")
        await mutex.unlock("f.2")

    world.actor("a", body)
    world.actor("b", body)


def drowsy(world: World) -> None:
    """A sleeper, a yielder and one that does neither."""

    async def sleeper() -> None:
        await world.rt.sleep("s.1")
        world.note("awake")

    async def yielder() -> None:
        await world.rt.yield_("y.1")
        world.note("on")

    async def walker() -> None:
        await world.rt.cond_resched("w.1")

    world.actor("s", sleeper)
    world.actor("y", yielder)
    world.actor("w", walker)


def chancy(world: World) -> None:
    """Data and fault choices in the middle of it, and a waiter."""
    word, queue = Cell(world.box, "word", 0), WaitQueue(world.box, "q")

    async def chooser() -> None:
        await word.write("c.1", 1 + world.rt.choose(3, "c.1"))
        await queue.wake_up("c.2")

    async def waiter() -> None:
        await queue.wait_event("w.1", lambda: word.value > 0, idle=False)
        world.note("fails" if world.rt.fault("alloc", "w.2") else "works")

    world.actor("c", chooser)
    world.actor("w", waiter)


WORLDS = [three_steppers, locked, drowsy, chancy, lost_update]


@cache
def every_execution(build: Build) -> list[Explored]:
    """Return all there are, by brute force, over all three streams."""

    async def explore() -> list[Explored]:
        found, todo = [], [list[int]()]
        while todo:
            prefix = todo.pop()
            path = Path(prefix)
            counting = Counting(path)
            world = await execute(build, counting, **FAULTS)
            for place in range(len(prefix), len(path.taken)):
                todo += [[*path.taken[:place], c] for c in range(1, path.widths[place])]
            choices = world.rt.choices
            taken = (choices.schedule, choices.data, choices.faults)
            found.append(Explored(world, tuple(map(tuple, taken)), counting.preemptions))
        return found

    return trio.run(explore)


def keys(explored: list[Explored]) -> list[Any]:
    return [one.choices for one in explored]


@pytest.mark.parametrize("build", WORLDS)
def test_without_a_bound_each_execution_comes_once(build: Build) -> None:
    search = Dfs(Settings())
    seen = keys(explore_world(build, search, **FAULTS))
    assert sorted(seen) == sorted(keys(every_execution(build)))
    assert search.complete
    assert search.counts.executions == len(seen)
    assert search.covered() == Covered(0, "all executions")


@pytest.mark.parametrize("build", WORLDS)
@pytest.mark.parametrize("bound", [0, 1, 2])
def test_with_a_bound_each_execution_within_it_comes_once(build: Build, bound: int) -> None:
    search = Dfs(Settings(bound=bound))
    seen = explore_world(build, search, **FAULTS)
    within = [one for one in every_execution(build) if one.preemptions <= bound]
    assert sorted(keys(seen)) == sorted(keys(within))
    assert search.complete
    assert f"at most {bound} preemption" in search.covered().text


@pytest.mark.parametrize("build", WORLDS)
def test_executions_come_by_the_number_of_their_preemptions(build: Build) -> None:
    counts = [one.preemptions for one in explore_world(build, Dfs(Settings(bound=9)), **FAULTS)]
    assert counts == sorted(counts)
    assert Counter(counts) == Counter(one.preemptions for one in every_execution(build))


@pytest.mark.parametrize("build", WORLDS)
def test_without_memory_for_branches_they_are_taken_at_once(build: Build) -> None:
    wanted = keys(explore_world(build, Dfs(Settings(bound=3)), **FAULTS))
    short = Dfs(Settings(bound=3, memory=0))
    assert sorted(keys(explore_world(build, short, **FAULTS))) == sorted(wanted)


@pytest.mark.parametrize("bound", [2, None])
@pytest.mark.parametrize("build", WORLDS)
def test_a_saved_search_goes_on_where_it_was(build: Build, bound: int | None) -> None:
    settings = Settings(bound=bound)
    wanted = keys(explore_world(build, Dfs(settings), **FAULTS))
    seen: list[Any] = []
    state = Dfs(settings).save()
    for _ in range(len(wanted) + 1):
        search = Dfs(settings)
        search.load(msgspec.json.decode(msgspec.json.encode(state)))
        seen += keys(explore_world(build, search, until=3, **FAULTS))
        state = search.save()
    assert seen == wanted
    assert search.complete
    assert search.counts.executions == len(wanted)


@pytest.mark.parametrize("bound", [2, None])
@pytest.mark.parametrize("build", WORLDS)
def test_parts_cover_the_whole_once(build: Build, bound: int | None) -> None:
    settings = Settings(bound=bound)
    wanted = keys(explore_world(build, Dfs(settings), **FAULTS))
    seen: list[Any] = []
    parts = [Dfs(settings).save()]
    while parts:
        part = Dfs(settings)
        part.load(parts.pop())
        seen += keys(explore_world(build, part, until=2, **FAULTS))
        parts += part.split(2)
        if not part.complete:
            parts.append(part.save())
    assert sorted(seen) == sorted(wanted)


def test_two_that_wait_for_a_third_by_yielding_let_it_run() -> None:
    def build(world: World) -> None:
        flag = Cell(world.box, "flag", 0)

        async def waits() -> None:
            while not await flag.read("w.1"):
                await world.rt.yield_("w.2")

        async def sets() -> None:
            await flag.write("s.1", 1)

        world.actor("a", waits)
        world.actor("b", waits)
        world.actor("c", sets)

    search = Dfs(Settings(bound=1))
    explored = explore_world(build, search)
    assert search.complete
    assert {one.world.rt.stop_reason for one in explored} == {"done"}


def test_the_estimate_of_work_left_ends_at_nothing() -> None:
    search = Dfs(Settings(bound=2))
    assert search.work_left() is None
    explore_world(three_steppers, search, until=5)
    assert search.work_left()
    explore_world(three_steppers, search)
    assert search.work_left() == 0


def test_a_hundred_actors_can_be_saved() -> None:
    def build(world: World) -> None:
        steppers(world, actors=100, steps=1)

    search = Dfs(Settings())
    explore_world(build, search, until=3)
    other = Dfs(Settings())
    other.load(msgspec.json.decode(msgspec.json.encode(search.save())))
    assert keys(explore_world(build, other, until=2)) == keys(explore_world(build, search, until=2))


@pytest.mark.parametrize("change", [{"level": -1}, {"nodes": [[0]]}, {"unknown": 1}])
def test_a_state_that_is_none_is_bad_input(change: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="not a state of dfs"):
        Dfs(Settings()).load({**Dfs(Settings()).save(), **change})
