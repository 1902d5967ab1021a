# SPDX-License-Identifier: GPL-2.0-or-later
"""KSM's memory notifier: the lockout, the prune, and when each ends."""

from __future__ import annotations

from errno import EBUSY

import pytest

from ksmtrio.mm.ksm_hotplug import (
    MEM_CANCEL_OFFLINE,
    MEM_CANCEL_ONLINE,
    MEM_GOING_OFFLINE,
    MEM_GOING_ONLINE,
    MEM_OFFLINE,
    MEM_ONLINE,
    ksm_check_stable_tree,
    ksm_memory_callback,
)
from ksmtrio.mm.ksm_types import STABLE_FLAG
from ksmtrio.notifier import NOTIFY_OK, MemoryNotify
from tests.kernel_world import AT, KernelWorld, Log, ksm, notifier, process, run, turns

MERGED = (
    ksm(["A:0", "A:1"], ["B:0", "B:1"]),
    process("A", 7, 7, mergeable=True, node=0),
    process("B", 8, 8, mergeable=True, node=1),
)
NODE1 = MemoryNotify(8, 8)


def test_check_finds_the_node_whose_frame_lies_in_the_range() -> None:
    async def body(w: KernelWorld) -> None:
        await w.ksm.ksm_thread_mutex.lock(AT)
        assert await ksm_check_stable_tree(w.g, 0, 8) is w.node("A:0")
        assert await ksm_check_stable_tree(w.g, 8, 16) is w.node("B:0")
        assert await ksm_check_stable_tree(w.g, 1, 8) is None
        assert await ksm_check_stable_tree(w.g, 0, 0) is None
        await w.ksm.ksm_thread_mutex.unlock(AT)

    run(body, *MERGED)


def test_check_touches_no_struct_page_unless_nodes_are_pointers() -> None:
    async def body(w: KernelWorld) -> None:
        await w.ksm.ksm_thread_mutex.lock(AT)
        await ksm_check_stable_tree(w.g, 8, 16)
        await w.ksm.ksm_thread_mutex.unlock(AT)

    def touched(*without: str) -> bool:
        log = Log()
        run(body, *MERGED, without=without, recorder=log)
        labels = [at for at, _, name in log.operations if name.startswith("page(")]
        return "ksm_check_stable_tree.2" in labels

    assert not touched()
    assert touched("stable_node_by_pfn")


def test_going_offline_takes_the_mutex_and_offline_prunes_and_releases_it() -> None:
    async def body(w: KernelWorld) -> None:
        mutex, item, node = w.ksm.ksm_thread_mutex, w.item("B:0"), w.node("B:0")
        assert await ksm_memory_callback(w.g, MEM_GOING_OFFLINE, NODE1) == NOTIFY_OK
        assert mutex.held_by(w.rt.me)
        assert w.ksm._stable_root[1] is node
        await w.munmap("B:0", 2)
        assert await ksm_memory_callback(w.g, MEM_OFFLINE, NODE1) == NOTIFY_OK
        assert mutex.free
        assert node.dead is not None
        assert w.ksm._stable_root == [w.node("A:0")]
        assert not item._address & STABLE_FLAG
        assert w.counters() == (1, 1, 0, 2)

    run(body, *MERGED)


def test_cancellation_releases_the_mutex_and_prunes_nothing() -> None:
    async def body(w: KernelWorld) -> None:
        await ksm_memory_callback(w.g, MEM_GOING_OFFLINE, NODE1)
        assert await ksm_memory_callback(w.g, MEM_CANCEL_OFFLINE, NODE1) == NOTIFY_OK
        assert w.ksm.ksm_thread_mutex.free
        assert len(w.ksm._stable_root) == 2

    run(body, *MERGED)


@pytest.mark.parametrize("action", [MEM_GOING_ONLINE, MEM_ONLINE, MEM_CANCEL_ONLINE])
def test_other_actions_do_nothing(action: str) -> None:
    async def body(w: KernelWorld) -> None:
        assert await ksm_memory_callback(w.g, action, NODE1) == NOTIFY_OK
        assert w.ksm.ksm_thread_mutex.free
        assert len(w.ksm._stable_root) == 2

    run(body, *MERGED)


def test_callback_is_on_the_chain_before_all_others() -> None:
    driver = notifier("driver", priority=10)
    chain = KernelWorld(driver).g.memory_chain._chain
    assert [(block.name, block.priority) for block in chain] == [("ksm", 100), ("driver", 10)]


def test_callback_of_low_priority_comes_after_the_others() -> None:
    driver = notifier("driver", priority=10)
    chain = KernelWorld(driver, without=["ksm_notifier_first"]).g.memory_chain._chain
    assert [block.name for block in chain] == ["driver", "ksm"]


def test_callback_can_be_missing_from_the_chain() -> None:
    assert KernelWorld(without=["ksm_notifier_registered"]).g.memory_chain._chain == ()


def test_ksmd_waits_from_going_offline_until_the_offline_has_ended() -> None:
    async def driver(w: KernelWorld) -> None:
        w.log.append(("offline", await w.offline(1)))

    async def ksmd(w: KernelWorld) -> None:
        await w.batch(100)
        w.log.append("scanned")

    schedule = turns("driver@scan_lru_pages.1", "ksmd", "driver", "ksmd")
    w = KernelWorld(*MERGED, actors=("driver", "ksmd"), strategy=schedule)
    assert w.go(driver, ksmd).found == []
    assert set(w.log) == {("offline", 0), "scanned"}
    assert [n.kpfn.value < 8 for n in w.ksm._stable_root] == [True, True]  # type: ignore[operator]


def test_offline_waits_for_the_batch_of_ksmd() -> None:
    async def ksmd(w: KernelWorld) -> None:
        await w.batch(100)
        w.log.append("scanned")

    async def driver(w: KernelWorld) -> None:
        await w.offline(1)
        w.log.append("offline")

    schedule = turns("ksmd@follow_page.1", "driver", "ksmd", "driver")
    w = KernelWorld(*MERGED, actors=("ksmd", "driver"), strategy=schedule)
    assert w.go(ksmd, driver).found == []
    assert w.log == ["scanned", "offline"]


def test_veto_of_a_later_callback_leaves_the_mutex_free() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.offline(1) == -EBUSY
        assert w.ksm.ksm_thread_mutex.free

    run(body, *MERGED, notifier("driver", priority=10, veto=True, errno="EBUSY"))


def test_block_offline_with_a_stale_node_leaves_no_node_behind() -> None:
    async def body(w: KernelWorld) -> None:
        await w.munmap("B:0", 2)
        assert len(w.ksm._stable_root) == 2
        assert await w.offline(1) == 0
        assert w.ksm._stable_root == [w.node("A:0")]

    run(body, *MERGED)
