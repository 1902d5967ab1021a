# SPDX-License-Identifier: GPL-2.0-or-later
"""The locks oracle words misuse of locks; only recursion and deadlock end the run."""

from __future__ import annotations

import pytest

from ksmtrio.locking.spinlock import SpinLock
from ksmtrio.oracles.locks import LocksOracle
from ksmtrio.sched.strategies.round_robin import RoundRobin
from tests.unit.oracle_world import World


def test_foreign_unlock_is_noted_and_the_run_goes_on():
    world = World([LocksOracle()], strategy=RoundRobin(0))
    mutex = world.g.ksm.ksm_thread_mutex
    done: list[str] = []

    async def ksmd():
        await mutex.lock("ksm_scan_thread.2")
        await world.rt.sleep("ksm_scan_thread.7")

    async def hotplug():
        await mutex.unlock("ksm_memory_callback.5")
        done.append("hotplug")

    findings = world.run(ksmd=ksmd, hotplug=hotplug)
    assert done == ["hotplug"]
    first = findings[0]
    assert first.signature == "locks:foreign-unlock@ksm_memory_callback.5<-ksm_scan_thread.2"
    assert first.actors == ("hotplug", "ksmd")
    assert not first.corrupting
    assert first.message == (
        "WARNING: bad unlock balance at ksm_memory_callback.5: hotplug unlocks ksm_thread_mutex, "
        "held by ksmd"
    )


def test_unlock_of_free_mutex_is_noted():
    world = World([LocksOracle()])

    async def body():
        await world.g.ksm.ksm_thread_mutex.unlock("ksm_memory_callback.5")

    (finding,) = world.run(hotplug=body)
    assert finding.signature == "locks:unlock-of-unlocked@ksm_memory_callback.5"
    assert not finding.corrupting


def test_unguarded_access_is_noted_once_per_place():
    world = World([LocksOracle()])

    async def body():
        await world.rt.cond_resched("stable_tree_search.2")
        for _ in range(3):
            assert world.g.ksm.stable_root

    (finding,) = world.run(ksmd=body)
    assert finding.signature == "locks:unguarded-access@stable_tree_search.2"
    assert "stable_root touched by ksmd without ksm_thread_mutex" in finding.message
    assert not finding.corrupting


def test_sleeping_with_a_spinlock_is_noted():
    world = World([LocksOracle()])
    lock = SpinLock(world.g, "test_lock")

    async def body():
        await lock.lock("f.1")
        await world.rt.sleep("f.2")
        lock.unlock("f.3")

    (finding,) = world.run(task=body)
    assert finding.signature == "locks:sleeping-in-atomic@f.2"
    assert not finding.corrupting


def test_lock_held_at_exit_is_noted():
    world = World([LocksOracle()])

    async def body():
        await world.g.ksm.ksm_thread_mutex.lock("ksm_memory_callback.1")

    (finding,) = world.run(hotplug=body)
    assert finding.signature == "locks:held-at-exit@ksm_memory_callback.1"
    assert not finding.corrupting


def test_recursion_ends_the_run():
    world = World([LocksOracle()])

    async def body():
        await world.g.ksm.ksm_thread_mutex.lock("f.1")
        await world.g.ksm.ksm_thread_mutex.lock("f.2")

    (finding,) = world.run(task=body)
    assert finding.signature == "locks:recursive-lock@f.2"
    assert finding.corrupting


@pytest.mark.parametrize(("seed", "last"), [(0, "two"), (7, "one")])
def test_deadlock_has_one_signature_whoever_blocks_last(seed: int, last: str):
    world = World([LocksOracle()], strategy=RoundRobin(seed))
    first, second = world.g.ksm.ksm_thread_mutex, world.a.mmap_sem

    async def one():
        await first.lock("one.1")
        await second.down_write("one.3")

    async def two():
        await second.down_write("two.1")
        await first.lock("two.3")

    (finding,) = world.run(one=one, two=two)
    assert finding.signature == "locks:deadlock@one.3<-two.1"
    assert finding.actors[0] == last
    assert sorted(finding.actors) == ["one", "two"]
    assert finding.corrupting


def test_proper_locking_is_silent():
    world = World([LocksOracle()])

    async def body():
        await world.g.ksm.ksm_thread_mutex.lock("f.1")
        assert world.g.ksm.stable_root
        await world.g.ksm.ksm_thread_mutex.unlock("f.2")

    assert world.run(a=body, b=body) == []
