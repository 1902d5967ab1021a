# SPDX-License-Identifier: GPL-2.0-or-later
"""The trio host: many executions in one event loop, faults, cancellation from outside."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from ksmtrio.errors import EmulatorError
from ksmtrio.sched.choices import Choices
from ksmtrio.sched.host_trio import TrioHost
from ksmtrio.sched.runtime import Runtime
from ksmtrio.sched.strategies.random import RandomStrategy
from ksmtrio.sched.strategies.replay import Replay
from tests.harness import Turns, World, execute, steppers


def test_many_executions_in_one_loop_are_independent() -> None:
    async def many() -> list[World]:
        worlds = [await execute(steppers, RandomStrategy(seed)) for seed in range(50)]
        return [*worlds, *[await execute(steppers, RandomStrategy(seed)) for seed in range(50)]]

    worlds = trio.run(many)
    logs = [world.log for world in worlds]
    assert logs[:50] == logs[50:]
    assert len({tuple(log) for log in logs}) > 20


def test_one_host_serves_many_executions_in_turn() -> None:
    async def many() -> list[Any]:
        host, logs = TrioHost(), []
        for _ in range(3):
            rt = Runtime(RandomStrategy(4), host)
            world = World(rt, None)  # type: ignore[arg-type]
            steppers(world)
            await rt.run(world.bodies)
            logs.append(world.log)
        return logs

    logs = trio.run(many)
    assert len(logs[0]) == 6
    assert logs == [logs[0]] * 3


def test_fault_of_ours_leaves_the_loop_usable() -> None:
    def broken(world: World) -> None:
        steppers(world, actors=2)

        async def body() -> None:
            raise KeyError("x")

        world.actor("b", body)

    async def program() -> list[Any]:
        with pytest.raises(EmulatorError):
            await execute(broken, Turns("b"))
        return (await execute(steppers, Turns())).log

    assert len(trio.run(program)) == 6


@pytest.mark.parametrize("after", range(1, 12))
def test_cancellation_from_outside_unwinds_quietly(after: int) -> None:
    """An interrupt reaches the loop between two hand-overs; nobody may be rescheduled twice."""

    def build(world: World) -> None:
        async def spins() -> None:
            while True:
                await world.rt.cond_resched("f.1")

        world.actor("a", spins)
        world.actor("b", spins)

    async def program() -> bool:
        async def canceller() -> None:
            for _ in range(after):
                await trio.lowlevel.checkpoint()
            scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(canceller)
            with trio.CancelScope() as scope:
                strategy = Replay(Choices([1, 0] * 100_000), exact=False)
                await execute(build, strategy, points_max=1_000_000)
        return scope.cancelled_caught

    assert trio.run(program)
