# SPDX-License-Identifier: GPL-2.0-or-later
"""Read/write semaphores: sharing, queues, and their deadlocks."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

from ksmtrio.locking.mutex import Mutex
from ksmtrio.locking.rwsem import RwSem
from ksmtrio.locking.wait import WaitQueue
from tests.harness import Body, World, alone, every_schedule, run_actors


def readers_and_writers(*roles: str) -> Callable[[World], None]:
    """Return a world of readers (r1, r2...) and writers (w1...), each once through the lock."""

    def build(world: World) -> None:
        sem = RwSem(world.box, "rwsem")

        def body(role: str) -> Body:
            async def read() -> None:
                await sem.down_read("r.1")
                world.enter()
                await world.rt.cond_resched("r.2")
                world.leave()
                await sem.up_read("r.3")

            async def write() -> None:
                await sem.down_write("w.1")
                world.enter()
                assert world.inside == [world.rt.me.name]
                assert sem.write_held_by(world.rt.me)
                await world.rt.cond_resched("w.2")
                assert world.inside == [world.rt.me.name]
                world.leave()
                await sem.up_write("w.3")

            return read if role.startswith("r") else write

        for role in roles:
            world.actor(role, body(role))

    return build


def test_readers_share_and_a_writer_is_alone_in_every_schedule() -> None:
    worlds = every_schedule(readers_and_writers("r1", "w1"))
    assert all(world.splats == [] and world.rt.stop_reason == "done" for world in worlds)
    worlds = every_schedule(readers_and_writers("r1", "r2"))
    assert {world.crowd for world in worlds} == {1, 2}


def test_two_readers_and_a_writer_end_in_every_order() -> None:
    def build(world: World) -> None:
        sem = RwSem(world.box, "rwsem")

        async def read() -> None:
            await sem.down_read("r.1")
            world.enter()
            assert "w" not in world.inside
            await sem.up_read("r.2")
            world.leave()

        async def write() -> None:
            await sem.down_write("w.1")
            world.enter()
            assert world.inside == ["w"]
            world.leave()
            await sem.up_write("w.2")

        world.actor("r1", read)
        world.actor("w", write)
        world.actor("r2", read)

    worlds = every_schedule(build)
    assert {tuple(w.log) for w in worlds} == set(permutations(["r1", "w", "r2"]))
    assert all(w.splats == [] for w in worlds)


def test_queued_writer_blocks_later_readers() -> None:
    build = readers_and_writers("r1", "w1", "r2")
    world = run_actors(build, "r1@r.2", "w1", "r2", "r1", "r2", "w1")
    assert world.log == ["r1", "w1", "r2"]
    world = run_actors(build, "r1@r.2", "r2@r.2", "w1", "r1")
    assert world.log == ["r1", "r2", "w1"]


def test_writer_waits_for_the_last_reader() -> None:
    world = run_actors(readers_and_writers("r1", "r2", "w1"), "r1@r.2", "r2@r.2", "w1", "r2", "w1")
    assert world.log == ["r1", "r2", "w1"]
    assert world.crowd == 2


def test_readers_at_the_head_of_the_queue_wake_together_up_to_the_next_writer() -> None:
    build = readers_and_writers("w1", "r1", "r2", "w2", "r3")
    world = run_actors(
        build, "w1@w.2", "r1", "r2", "w2", "r3", "w1", "r3", "r1@r.2", "r2@r.2", "r3", "w2"
    )
    assert world.log == ["w1", "r1", "r2", "w2", "r3"]
    assert world.crowd == 2


def test_lock_is_handed_over_so_that_a_newcomer_cannot_overtake() -> None:
    world = run_actors(readers_and_writers("w1", "r1", "w2"), "w1@w.2", "r1", "w1", "w2", "r1")
    assert world.log == ["w1", "r1", "w2"]
    world = run_actors(readers_and_writers("w1", "w2", "r1"), "w1@w.2", "w2", "w1", "r1", "w2")
    assert world.log == ["w1", "w2", "r1"]


def test_writers_are_served_in_order_of_arrival() -> None:
    for order in permutations(["w2", "w3", "w4"]):
        world = run_actors(readers_and_writers("w1", "w2", "w3", "w4"), "w1@w.2", *order, "w1")
        assert world.log == ["w1", *order]


def test_read_trylock_fails_on_a_writer_and_behind_a_queued_writer() -> None:
    def build(world: World) -> None:
        readers_and_writers("r1", "w1")(world)
        sem = RwSem(world.box, "other")

        async def tries() -> None:
            world.note(str(await sem.down_read_trylock("t.1")))
            world.note(str(await sem.down_read_trylock("t.1")))
            await sem.up_read("t.2")
            await sem.up_read("t.2")

        world.actor("t", tries)

    assert run_actors(build, "t", "r1").log[:2] == ["t True", "t True"]

    def contended(world: World) -> None:
        sem = RwSem(world.box, "rwsem")

        async def reader() -> None:
            await sem.down_read("r.1")
            await sem.up_read("r.2")

        async def writer() -> None:
            await sem.down_write("w.1")
            await sem.up_write("w.2")

        async def tries() -> None:
            world.log.append(await sem.down_read_trylock("t.1"))
            if world.log[-1]:
                await sem.up_read("t.2")

        world.actor("r", reader)
        world.actor("w", writer)
        world.actor("t", tries)

    assert run_actors(contended, "r@r.2", "t", "r").log == [True]
    assert run_actors(contended, "w@w.2", "t", "w").log == [False]
    assert run_actors(contended, "r@r.2", "w", "t", "r").log == [False]
    assert run_actors(contended, "r@r.2", "w", "r", "w", "t").log == [True]


def test_reading_twice_is_noticed_and_passes_while_no_writer_waits() -> None:
    async def op(world: World) -> None:
        sem = RwSem(world.box, "rwsem")
        await sem.down_read("f.1")
        await sem.down_read("f.2")
        await sem.up_read("f.3")
        assert sem.held_by(world.rt.me)
        await sem.up_read("f.4")
        assert not sem.held_by(world.rt.me)

    assert alone(op).kinds == ["recursive-lock"]


def test_reading_twice_deadlocks_around_a_queued_writer() -> None:
    def build(world: World) -> None:
        sem = RwSem(world.box, "rwsem")

        async def reader() -> None:
            await sem.down_read("r.1")
            await sem.down_read("r.2")

        async def writer() -> None:
            await sem.down_write("w.1")

        world.actor("r", reader)
        world.actor("w", writer)

    world = run_actors(build, "r@r.2", "w", "r")
    assert world.kinds == ["recursive-lock", "deadlock"]
    assert world.splats[1].message == "r waits for box.rwsem at r.2"


def test_cycle_through_the_second_of_two_readers_is_a_deadlock() -> None:
    def build(world: World) -> None:
        sem, mutex, wait = (
            RwSem(world.box, "rwsem"),
            Mutex(world.box, "m"),
            WaitQueue(world.box, "q"),
        )

        async def waits_for_ever() -> None:
            await sem.down_read("i.1")
            await wait.wait_event("i.2", lambda: False, idle=False)

        async def reader() -> None:
            await sem.down_read("r.1")
            await mutex.lock("r.2")

        async def writer() -> None:
            await mutex.lock("w.1")
            await sem.down_write("w.2")

        world.actor("i", waits_for_ever)
        world.actor("r", reader)
        world.actor("w", writer)

    world = run_actors(build, "i", "r@r.2", "w", "r")
    assert world.kinds == ["deadlock"]
    assert world.splats[0].message == "r waits for box.m at r.2; w waits for box.rwsem at w.2"


def test_two_offliners_and_a_registration_deadlock() -> None:
    """The hazard of two parallel offlines: mutex and rwsem are taken in both orders."""

    def build(world: World) -> None:
        chain, mutex = RwSem(world.box, "chain"), Mutex(world.box, "ksm")

        async def offline() -> None:
            await chain.down_read("o.1")
            await mutex.lock("o.2")
            await chain.up_read("o.3")
            await chain.down_read("o.4")
            await mutex.unlock("o.5")
            await chain.up_read("o.6")

        async def register() -> None:
            await chain.down_write("n.1")
            await chain.up_write("n.2")

        world.actor("t1", offline)
        world.actor("t2", offline)
        world.actor("reg", register)

    world = run_actors(build, "t1@o.4", "t2", "reg", "t1")
    assert world.kinds == ["deadlock"]
    assert world.splats[0].message == "t1 waits for box.chain at o.4; t2 waits for box.ksm at o.2"
    assert run_actors(build, "t1@o.4", "t2", "t1", "t2", "reg").splats == []


def test_read_hold_does_not_count_as_a_write_hold() -> None:
    async def op(world: World) -> None:
        sem = RwSem(world.box, "rwsem")
        await sem.down_read("f.1")
        assert not sem.write_held_by(world.rt.me)
        await sem.up_read("f.2")

    assert alone(op).kinds == []
