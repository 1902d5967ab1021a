# SPDX-License-Identifier: GPL-2.0-or-later
"""The slab oracle sees accesses to freed objects, and frees of freed objects."""

from __future__ import annotations

from ksmtrio.locking.rcu import rcu_read_lock, rcu_read_unlock
from ksmtrio.oracles.slab import SlabOracle
from tests.unit.oracle_world import World, kinds


def test_read_of_freed_stable_node_is_reported_and_ends_the_run():
    world = World([SlabOracle()])
    node = world.node
    after: list[str] = []

    async def freer():
        await world.g.ksm.ksm_run.read("remove_node_from_stable_tree.1")
        node.die("freed", "remove_node_from_stable_tree.3")

    async def reader():
        await node.kpfn.read("get_ksm_page.1")
        after.append("went on")

    (finding,) = world.run(hotplug=freer, ksmd=reader)
    assert finding.signature == (
        "slab:use-after-free@get_ksm_page.1<-remove_node_from_stable_tree.3"
    )
    assert finding.message == (
        "BUG: KASAN: use-after-free in get_ksm_page.1: read of start/stable_node#1.kpfn by ksmd; "
        "freed by hotplug at remove_node_from_stable_tree.3"
    )
    assert finding.actors == ("ksmd", "hotplug")
    assert finding.corrupting
    assert not after


def test_guarded_field_of_freed_object_is_reported():
    world = World([SlabOracle()])
    item = world.item

    async def ksmd():
        await world.g.ksm.ksm_thread_mutex.lock("ksm_scan_thread.2")
        item.die("freed", "get_next_rmap_item.1")
        await world.rt.cond_resched("ksm_do_scan.1")
        item.oldchecksum = 3

    (finding,) = world.run(ksmd=ksmd)
    assert finding.kind == "use-after-free"
    assert "start/rmap_item#1.oldchecksum" in finding.message


def test_lock_of_freed_anon_vma_is_reported():
    world = World([SlabOracle()])
    anon_vma = world.g.anon_vmas[0]

    async def body():
        anon_vma.die("freed", "anon_vma_unlink.1")
        await anon_vma.lock.lock("rmap_walk_anon.2")

    (finding,) = world.run(walker=body)
    assert "spin_lock of start/anon_vma#1.lock by walker" in finding.message


def test_type_stable_object_may_be_read_under_an_older_rcu_section():
    world = World([SlabOracle()])
    anon_vma = world.g.anon_vmas[0]

    async def body():
        rcu_read_lock(world.rt)
        anon_vma.die("freed", "anon_vma_unlink.1")
        await anon_vma.ksm_refcount.read("page_lock_anon_vma.1")
        rcu_read_unlock(world.rt)

    assert world.run(walker=body) == []


def test_double_free_is_reported():
    world = World([SlabOracle()])

    async def body():
        world.item.die("freed", "remove_trailing_rmap_items.1")
        world.item.die("freed", "remove_trailing_rmap_items.1")

    (finding,) = world.run(ksmd=body)
    assert kinds([finding]) == ["slab:double-free"]
    assert finding.message == (
        "BUG: KASAN: double-free in remove_trailing_rmap_items.1: double free of "
        "start/rmap_item#1; freed by ksmd at remove_trailing_rmap_items.1"
    )


def test_access_to_live_objects_is_silent():
    world = World([SlabOracle()])

    async def body():
        await world.node.kpfn.read("get_ksm_page.1")

    assert world.run(ksmd=body) == []
    assert world.rest() == []
