# SPDX-License-Identifier: GPL-2.0-or-later
"""The progress oracle sees tasks that wait for ever and executions without an end."""

from __future__ import annotations

from errno import EAGAIN

from ksmtrio.mm.swap import get_page, put_page
from ksmtrio.oracles.progress import ProgressOracle
from tests.kernel_world import AT, KernelWorld, machine, process
from tests.unit.oracle_world import World


def test_task_waiting_for_a_lock_that_is_never_released_hangs():
    world = World([ProgressOracle()])
    mutex = world.g.ksm.ksm_thread_mutex

    async def hotplug():
        await mutex.lock("ksm_memory_callback.1")

    async def ksmd():
        await mutex.lock("ksm_scan_thread.2")

    (finding,) = world.run(hotplug=hotplug, ksmd=ksmd)
    assert finding.signature == "progress:hung-task@ksm_scan_thread.2<-ksm_memory_callback.1"
    assert "ksmd" in finding.actors
    assert finding.message == (
        "INFO: task blocked for ever at ksm_scan_thread.2: ksmd waits for ksm_thread_mutex at "
        "ksm_scan_thread.2"
    )


def test_lost_wake_up_hangs():
    world = World([ProgressOracle()])

    async def body():
        await world.g.ksm.ksm_thread_wait.wait_event("f.1", lambda: False, idle=False)

    (finding,) = world.run(task=body)
    assert finding.signature == "progress:hung-task@f.1"


def test_idle_background_actor_does_not_hang():
    world = World([ProgressOracle()])

    async def body():
        await world.g.ksm.ksm_thread_wait.wait_event("ksm_scan_thread.7", lambda: False, idle=True)

    assert world.run(ksmd=body) == []


def test_step_bound_has_one_signature_and_says_who_still_runs():
    world = World([ProgressOracle()], points_max=20)

    async def spinner():
        while True:
            await world.rt.yield_("offline_pages.12")

    (finding,) = world.run(hotplug=spinner)
    assert finding.signature == "progress:step-bound@step_bound"
    assert finding.message == (
        "INFO: no progress: no end within 20 points; hotplug runnable at offline_pages.12"
    )
    assert finding.actors == ("hotplug",)


# -- I50: an offline ends within its timeout and one more round ----------------------------------


def rounds(world: World, *jiffies: int, again: bool = False):
    """Return the body of an offline whose rounds begin after so many jiffies each."""

    async def body():
        state = world.memory_blocks[1].state
        await state.write("memory_block_change_state.3", "going-offline")
        for wait in jiffies:
            for _ in range(wait):
                world.rt.clock.tick()
            await world.rt.cond_resched("offline_pages.8")
        await state.write("memory_block_change_state.3#2", "online")
        if again:
            await rounds(world, *jiffies)()

    return body


def test_offline_that_ends_with_the_round_after_its_timeout_is_silent():
    world = World([ProgressOracle()])
    assert world.run(hotplug=rounds(world, 0, 4, 4, 1)) == []


def test_offline_that_begins_another_round_after_its_timeout_is_noted():
    world = World([ProgressOracle()])
    (finding,) = world.run(hotplug=rounds(world, 0, 9, 0))
    assert finding.signature == "progress:offline-overrun@offline_pages.8"
    assert not finding.corrupting


def test_each_offline_has_a_timeout_of_its_own():
    world = World([ProgressOracle()])
    assert world.run(hotplug=rounds(world, 0, 4, 4, again=True)) == []


def test_offline_that_cannot_succeed_gives_up_in_time():
    """A page that somebody pins keeps the offline busy up to its timeout."""

    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        await get_page(page, AT)
        assert await w.offline(1) == -EAGAIN
        assert w.rt.clock.jiffies > w.g.offline_timeout_jiffies
        await put_page(w.g, page, AT)

    world = KernelWorld(machine(pages_per_block=32), process("A", 1, block=1))
    assert world.go(body).found == []
