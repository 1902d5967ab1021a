# SPDX-License-Identifier: GPL-2.0-or-later
"""The memory notifier chain: order, veto, errno, and the semaphore around the callbacks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from ksmtrio.locking.mutex import Mutex
from ksmtrio.notifier import (
    NOTIFY_BAD,
    NOTIFY_DONE,
    NOTIFY_OK,
    NOTIFY_STOP_MASK,
    BlockingNotifierChain,
    MemoryNotify,
    NotifierBlock,
    notifier_from_errno,
    notifier_to_errno,
)
from tests.harness import Tape, World, every_schedule, run_actors

RANGE = MemoryNotify(start_pfn=8, nr_pages=4)


def block(world: World, name: str, priority: int = 0, answer: int = NOTIFY_OK) -> NotifierBlock:
    """Return a callback that logs the action and answers as told."""

    async def callback(action: str, arg: MemoryNotify) -> int:
        assert arg is RANGE
        await world.rt.cond_resched("cb.1")
        world.log.append((name, action))
        return answer

    return NotifierBlock(name, callback, priority)


def call(
    blocks: Callable[[World], list[NotifierBlock]],
    action: str = "MEM_GOING_OFFLINE",
    tape: Tape | None = None,
) -> tuple[int, World]:
    """Call a chain of blocks once, by one actor."""
    results: list[int] = []

    def build(world: World) -> None:
        chain = BlockingNotifierChain(world.rt, "memory_chain")
        for one in blocks(world):
            chain.register_at_boot(one)

        async def body() -> None:
            results.append(await chain.call_chain(action, RANGE))

        world.actor("a", body)

    world = run_actors(build, recorder=tape)
    return results[0], world


def test_callbacks_run_in_descending_priority_and_else_in_order_of_registration() -> None:
    priorities = [("slab", 1), ("first", 0), ("ksm", 100), ("second", 0), ("late", -5)]
    result, world = call(lambda w: [block(w, *one) for one in priorities])
    assert [name for name, _ in world.log] == ["ksm", "slab", "first", "second", "late"]
    assert {action for _, action in world.log} == {"MEM_GOING_OFFLINE"}
    assert result == NOTIFY_OK
    assert world.splats == []


def test_veto_stops_the_walk() -> None:
    result, world = call(
        lambda w: [block(w, "ksm", 100), block(w, "veto", 10, NOTIFY_BAD), block(w, "never")]
    )
    assert [name for name, _ in world.log] == ["ksm", "veto"]
    assert result == NOTIFY_BAD
    assert notifier_to_errno(result) == -1


def test_answer_is_that_of_the_last_callback() -> None:
    result, _ = call(lambda w: [block(w, "one"), block(w, "two", answer=NOTIFY_DONE)])
    assert result == NOTIFY_DONE


def test_empty_chain_answers_done() -> None:
    assert call(lambda _: [])[0] == NOTIFY_DONE


@pytest.mark.parametrize("errno", [-1, -12, -16, -22])
def test_errno_survives_the_way_through_a_veto(errno: int) -> None:
    veto = notifier_from_errno(errno)
    assert veto & NOTIFY_STOP_MASK
    assert notifier_to_errno(veto) == errno


@pytest.mark.parametrize("result", [NOTIFY_DONE, NOTIFY_OK])
def test_done_and_ok_are_no_error(result: int) -> None:
    assert notifier_to_errno(result) == 0


def test_bad_is_eperm() -> None:
    assert notifier_from_errno(-1) == NOTIFY_BAD


def test_error_of_zero_stops_the_walk_without_an_error() -> None:
    assert notifier_from_errno(0) == NOTIFY_STOP_MASK | NOTIFY_OK
    assert notifier_to_errno(notifier_from_errno(0)) == 0


def test_recorder_sees_the_tracepoint_with_its_range() -> None:
    tape = Tape()
    call(lambda w: [block(w, "ksm")], "MEM_OFFLINE", tape)
    fields = {"start_pfn": 8, "nr_pages": 4}
    assert tape.tracepoints == [("memory_notify.1", "memhp:mem_offline", fields)]


def test_semaphore_is_held_for_read_around_all_callbacks_and_dropped_after_a_veto() -> None:
    def blocks(world: World) -> list[NotifierBlock]:
        async def callback(_action: str, _arg: MemoryNotify) -> int:
            world.log.append([held.name for held in world.rt.me.held])
            return NOTIFY_BAD

        return [NotifierBlock("one", callback)]

    _, world = call(blocks)
    assert world.log == [["memory_chain.rwsem"]]
    assert world.splats == []


def test_callback_may_keep_a_mutex_from_one_call_to_the_next() -> None:
    def build(world: World) -> None:
        chain, mutex = BlockingNotifierChain(world.rt, "memory_chain"), Mutex(world.box, "ksm")

        async def callback(action: str, _arg: MemoryNotify) -> int:
            if action == "MEM_GOING_OFFLINE":
                await mutex.lock("cb.1")
            else:
                await mutex.unlock("cb.2")
            return NOTIFY_OK

        async def offline() -> None:
            await chain.call_chain("MEM_GOING_OFFLINE", RANGE)
            world.enter()
            world.leave()
            await chain.call_chain("MEM_OFFLINE", RANGE)

        async def ksmd() -> None:
            await mutex.lock("k.1")
            world.enter()
            world.leave()
            await mutex.unlock("k.2")

        chain.register_at_boot(NotifierBlock("ksm", callback, 100))
        world.actor("offline", offline)
        world.actor("ksmd", ksmd)

    worlds = every_schedule(build)
    assert {tuple(world.log) for world in worlds} == {("offline", "ksmd"), ("ksmd", "offline")}
    assert all(world.splats == [] for world in worlds)


@pytest.mark.parametrize(
    ("take", "drop", "noticed"),
    [("down_read", "up_read", 1), ("down_write", "up_write", 0)],
)
def test_chain_may_be_changed_only_under_the_semaphore_for_write(
    take: str, drop: str, noticed: int
) -> None:
    def build(world: World) -> None:
        chain = BlockingNotifierChain(world.rt, "memory_chain")

        async def body() -> None:
            lock: Callable[[str], Awaitable[None]] = getattr(chain.rwsem, take)
            unlock: Callable[[str], Awaitable[None]] = getattr(chain.rwsem, drop)
            await lock("f.1")
            chain.chain = (*chain.chain, block(world, "new"))
            await unlock("f.2")

        world.actor("a", body)

    world = run_actors(build)
    assert world.kinds == ["unguarded-access"] * noticed


def test_walk_waits_behind_a_queued_registration() -> None:
    def build(world: World) -> None:
        chain = BlockingNotifierChain(world.rt, "memory_chain")
        chain.register_at_boot(block(world, "old"))

        async def notify() -> None:
            await chain.call_chain("MEM_OFFLINE", RANGE)

        async def register() -> None:
            await chain.rwsem.down_write("r.1")
            chain.chain = (*chain.chain, block(world, "new"))
            await chain.rwsem.up_write("r.2")

        world.actor("n1", notify)
        world.actor("r", register)
        world.actor("n2", notify)

    world = run_actors(build, "n1@cb.1", "r", "n2", "n1", "r", "n2")
    assert [name for name, _ in world.log] == ["old", "old", "new"]
    assert world.splats == []
