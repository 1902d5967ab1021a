# SPDX-License-Identifier: GPL-2.0-or-later
"""Wait queues: wake-ups, lost ones included."""

from __future__ import annotations

import pytest

from ksmtrio.locking.wait import WaitQueue
from ksmtrio.sched.cell import Cell
from tests.harness import Tape, World, every_schedule, run_actors


def signal(world: World, *, wakes: bool, idle: bool = False, waiters: int = 1) -> None:
    """One actor makes a condition true and, perhaps, says so; others wait for it."""
    queue, ready = WaitQueue(world.box, "ksm_thread_wait"), Cell(world.box, "ready", value=False)

    async def waiter() -> None:
        await queue.wait_event("w.1", lambda: ready.value, idle=idle)
        assert ready.value
        assert not world.rt.me.idle
        world.note("awake")

    async def waker() -> None:
        await ready.write("s.1", value=True)
        if wakes:
            await queue.wake_up("s.2")

    for number in range(waiters):
        world.actor(f"w{number}", waiter)
    world.actor("s", waker)


@pytest.mark.parametrize("waiters", [1, 2])
def test_no_schedule_loses_a_wake_up(waiters: int) -> None:
    worlds = every_schedule(lambda world: signal(world, wakes=True, waiters=waiters))
    assert len(worlds) > 3
    for world in worlds:
        assert world.splats == []
        assert len(world.log) == waiters


def test_missing_wake_up_hangs_in_some_schedules() -> None:
    worlds = every_schedule(lambda world: signal(world, wakes=False))
    messages = [[splat.message for splat in world.splats] for world in worlds]
    assert [] in messages
    assert ["w0 waits for ksm_thread_wait at w.1"] in messages
    assert {kind for world in worlds for kind in world.kinds} == {"hung-task"}


def test_idle_waiter_counts_as_hung_only_when_it_has_work_and_nobody_said_so() -> None:
    worlds = every_schedule(lambda world: signal(world, wakes=False, idle=True))
    assert {len(world.log) for world in worlds} == {0, 1}
    for world in worlds:
        assert [splat.kind for splat in world.splats] == ["hung-task"] * (1 - len(world.log))


def test_idle_waiter_without_work_never_counts_as_hung() -> None:
    def build(world: World) -> None:
        queue = WaitQueue(world.box, "ksm_thread_wait")

        async def waiter() -> None:
            await queue.wait_event("w.1", lambda: False, idle=True)

        world.actor("w", waiter)

    assert all(world.splats == [] for world in every_schedule(build))


def test_waiter_whose_condition_is_still_false_sleeps_on() -> None:
    def build(world: World) -> None:
        queue, count = WaitQueue(world.box, "wait"), Cell(world.box, "count", 0)

        async def waiter() -> None:
            await queue.wait_event("w.1", lambda: count.value == 2, idle=False)
            world.note(str(count.value))

        async def waker() -> None:
            for value in (1, 2):
                await count.write("s.1", value)
                await queue.wake_up("s.2")

        world.actor("w", waiter)
        world.actor("s", waker)

    worlds = every_schedule(build)
    assert all(world.log == ["w 2"] and world.splats == [] for world in worlds)


def test_wake_up_tells_the_recorder_how_many_it_woke() -> None:
    tape = Tape()
    run_actors(lambda world: signal(world, wakes=True, waiters=2), "w0", "w1", "s", recorder=tape)
    assert ("s.2", "wake_up", "ksm_thread_wait", 2) in tape.operations
