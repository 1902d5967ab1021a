# SPDX-License-Identifier: GPL-2.0-or-later
"""Mutexes: who gets in when, and what misuse does."""

from __future__ import annotations

from itertools import permutations

from ksmtrio.locking.mutex import Mutex
from tests.harness import World, alone, every_schedule, run_actors


def queue_for_a_mutex(world: World) -> None:
    """Four actors take one mutex each; `a` is meant to come first, `b` and `d` to queue."""
    mutex = Mutex(world.box, "mutex")

    async def body() -> None:
        await mutex.lock("f.1")
        world.enter()
        world.leave()
        await mutex.unlock("f.2")

    for name in "abcd":
        world.actor(name, body)


def test_woken_head_takes_the_mutex_if_it_runs_first() -> None:
    world = run_actors(queue_for_a_mutex, "a@f.2", "b", "a", "b", "c")
    assert world.log[:3] == ["a", "b", "c"]


def test_running_newcomer_may_take_the_mutex_before_the_woken_head() -> None:
    world = run_actors(queue_for_a_mutex, "a@f.2", "b", "a", "c", "b")
    assert world.log[:3] == ["a", "c", "b"]


def test_woken_head_that_loses_keeps_its_place_in_the_queue() -> None:
    #  a holds; b, then d queue; a unlocks and wakes b; c is faster; b blocks again, still first
    world = run_actors(queue_for_a_mutex, "a@f.2", "b", "d", "a", "c@f.2", "b", "c", "d", "b")
    assert world.log == ["a", "c", "b", "d"]
    assert world.splats == []


def test_unlock_wakes_only_the_head() -> None:
    world = run_actors(queue_for_a_mutex, "a@f.2", "b", "d", "a", "d", "c", "b")
    assert world.log == ["a", "c", "b", "d"]


def test_waiters_that_no_newcomer_disturbs_are_served_in_order() -> None:
    for order in permutations("bcd"):
        world = run_actors(queue_for_a_mutex, "a@f.2", *order, "a")
        assert world.log == ["a", *order]


def test_last_holder_may_take_the_mutex_again_before_the_woken_head() -> None:
    def build(world: World) -> None:
        mutex = Mutex(world.box, "mutex")

        async def twice() -> None:
            for _ in range(2):
                await mutex.lock("f.1")
                world.enter()
                world.leave()
                await mutex.unlock("f.2")

        async def once() -> None:
            await mutex.lock("g.1")
            world.enter()
            world.leave()
            await mutex.unlock("g.2")

        world.actor("a", twice)
        world.actor("b", once)

    logs = {tuple(world.log) for world in every_schedule(build)}
    assert logs == {("a", "a", "b"), ("a", "b", "a"), ("b", "a", "a")}
    assert run_actors(build, "a@f.2", "b", "a", "b").log == ["a", "a", "b"]


def misused_mutex(world: World) -> None:
    """`x` unlocks what it does not hold; `a` and `b` lock as usual."""
    mutex = Mutex(world.box, "mutex")

    async def stranger() -> None:
        await mutex.unlock("x.1")

    async def body() -> None:
        await mutex.lock("f.1")
        world.enter()
        await world.rt.cond_resched("f.2")
        world.leave()
        await mutex.unlock("f.3")

    world.actor("x", stranger)
    world.actor("a", body)
    world.actor("b", body)


def test_unlock_of_a_free_mutex_lets_two_in_and_makes_the_third_wait() -> None:
    world = run_actors(misused_mutex, "x", "a@f.2", "b@f.2")
    assert world.kinds == ["unlock-of-unlocked"]
    assert world.crowd == 2


def test_count_of_two_does_not_let_a_third_in() -> None:
    def build(world: World) -> None:
        misused_mutex(world)
        world.actor("c", world.bodies[1])

    world = run_actors(build, "x", "a@f.2", "b@f.2", "c", "a", "c", "b")
    assert world.log == ["a", "b", "c"]
    assert world.crowd == 2
    assert world.kinds == ["unlock-of-unlocked"]
    #  both unlock before c runs: the second raises the count to 2 again
    world = run_actors(build, "x", "a@f.2", "b@f.2", "c", "a", "b", "c")
    assert world.log == ["a", "b"]
    assert world.kinds == ["unlock-of-unlocked", "hung-task"]


def test_foreign_unlock_lets_another_in_beside_the_holder() -> None:
    world = run_actors(misused_mutex, "a@f.2", "x", "b@f.2")
    assert world.kinds == ["foreign-unlock"]
    assert world.crowd == 2
    assert world.rt.stop_reason == "done"


def test_foreign_unlock_wakes_the_head_waiter() -> None:
    world = run_actors(misused_mutex, "a@f.2", "b", "x", "b@f.2")
    assert world.crowd == 2


def test_misuse_shows_in_some_schedules_only() -> None:
    crowds = [(world.crowd, tuple(world.kinds)) for world in every_schedule(misused_mutex)]
    assert {crowd for crowd, _ in crowds} == {1, 2}
    noticed = {kind for _, kinds in crowds for kind in kinds}
    assert noticed == {"foreign-unlock", "unlock-of-unlocked", "hung-task"}


def test_waiter_woken_at_a_count_of_two_sleeps_on_and_hangs() -> None:
    #  b queues behind a; a unlocks (count 1, b woken); x unlocks again (count 2); b wants exactly 1
    world = run_actors(misused_mutex, "a@f.2", "b", "a", "x", "b")
    assert world.kinds == ["unlock-of-unlocked", "hung-task"]
    assert world.splats[1].message == "b waits for box.mutex at f.1"


def test_mutex_tells_whether_it_is_free() -> None:
    async def op(world: World) -> None:
        mutex = Mutex(world.box, "mutex")
        seen = [mutex.free]
        await mutex.lock("f.1")
        seen.append(mutex.free)
        await mutex.unlock("f.2")
        assert [*seen, mutex.free] == [True, False, True]

    assert alone(op).splats == []


def test_mutex_survives_the_return_of_the_function_that_took_it() -> None:
    async def op(world: World) -> None:
        mutex = Mutex(world.box, "mutex")

        async def going_offline() -> None:
            await mutex.lock("f.1")

        async def offline() -> None:
            await mutex.unlock("f.2")

        await going_offline()
        assert mutex.held_by(world.rt.me)
        await offline()

    assert alone(op).splats == []
