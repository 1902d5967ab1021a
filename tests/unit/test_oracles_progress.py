# SPDX-License-Identifier: GPL-2.0-or-later
"""The progress oracle sees tasks that wait for ever and executions without an end."""

from __future__ import annotations

from ksmtrio.oracles.progress import ProgressOracle
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
            await world.rt.yield_("offline_pages.8")

    (finding,) = world.run(hotplug=spinner)
    assert finding.signature == "progress:step-bound@step_bound"
    assert finding.message == (
        "INFO: no progress: no end within 20 points; hotplug runnable at offline_pages.8"
    )
    assert finding.actors == ("hotplug",)
