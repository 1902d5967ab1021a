# SPDX-License-Identifier: GPL-2.0-or-later
"""The page lock: anyone may win; trylock and waiting without taking."""

from __future__ import annotations

from ksmtrio.locking.bit_lock import BitLock
from ksmtrio.sched.cell import Flags
from tests.harness import PG_LOCKED, Tape, World, alone, every_schedule, page_lock, run_actors


def lockers(world: World) -> None:
    """Three actors lock one page; a fourth only tries."""
    lock = page_lock(world.box)

    async def body() -> None:
        await lock.lock("f.1")
        world.enter()
        world.leave()
        await lock.unlock("f.2")

    async def tries() -> None:
        taken = await lock.trylock("t.1")
        world.note(str(taken))
        if taken:
            await lock.unlock("t.2")

    for name in "abc":
        world.actor(name, body)
    world.actor("t", tries)


def test_any_waiter_may_win_the_page_lock() -> None:
    for winner, loser in ("bc", "cb"):
        world = run_actors(lockers, "a@f.2", "b", "c", "a", winner, loser, "t")
        assert world.log[:3] == ["a", winner, loser]


def test_newcomer_may_win_the_page_lock_before_the_waiters() -> None:
    world = run_actors(lockers, "a@f.2", "b", "a", "c@f.2", "b", "c", "b", "t")
    assert world.log[:3] == ["a", "c", "b"]
    assert world.splats == []


def test_trylock_of_a_third_party_may_win_before_the_waiters() -> None:
    world = run_actors(lockers, "a@f.2", "b", "a", "t@t.2", "b", "t", "b", "c")
    assert world.log == ["a", "t True", "b", "c"]


def test_trylock_fails_at_once_on_a_locked_page() -> None:
    tape = Tape()
    world = run_actors(lockers, "a@f.2", "t", "a", recorder=tape)
    assert world.log[:2] == ["a", "t False"]
    assert ("t.1", "trylock_page", "page_lock(box)", False) in tape.operations


def test_waiting_for_a_page_does_not_take_it() -> None:
    def build(world: World) -> None:
        lock = page_lock(world.box)

        async def holder() -> None:
            await lock.lock("h.1")
            world.note("in")
            await world.rt.cond_resched("h.2")
            world.note("out")
            await lock.unlock("h.3")

        async def waiter() -> None:
            await lock.wait_unlocked("w.1")
            assert not lock.held_by(world.rt.me)
            world.note("on")

        world.actor("h", holder)
        world.actor("w", waiter)

    worlds = every_schedule(build)
    assert {tuple(w.log) for w in worlds} == {
        ("h in", "h out", "w on"),
        ("w on", "h in", "h out"),
    }
    assert all(w.splats == [] for w in worlds)


def test_waiter_for_an_unlocked_page_sleeps_on_when_a_newcomer_is_faster() -> None:
    def build(world: World) -> None:
        lock = page_lock(world.box)

        async def holder() -> None:
            for _ in range(2):
                await lock.lock("h.1")
                world.note("in")
                await lock.unlock("h.2")

        async def waiter() -> None:
            await lock.wait_unlocked("w.1")
            world.note("on")

        world.actor("h", holder)
        world.actor("w", waiter)

    #  after the first unlock w is woken, but h locks again before w looks
    turns = ["h@h.2", "w", "h@h.1", "h@h.2", "w", "h", "w"]
    assert run_actors(build, *turns).log == ["h in", "h in", "w on"]


def test_lockless_reader_of_the_flags_sees_the_lock_bit() -> None:
    async def op(world: World) -> None:
        flags = Flags(world.box, "flags", 0, {PG_LOCKED: "locked"})
        lock = BitLock(world.box, "page_lock", flags, PG_LOCKED)
        world.log.append(lock.locked)
        await lock.lock("f.1")
        world.log.extend([lock.locked, await flags.test("f.2", PG_LOCKED)])
        await lock.unlock("f.3")
        world.log.append(await flags.test("f.4", PG_LOCKED))

    assert alone(op).log == [False, True, True, False]
