# SPDX-License-Identifier: GPL-2.0-or-later
"""KSM's structures: their start values and the locks that guard them."""

from __future__ import annotations

from ksmtrio.mm.ksm_types import PAGE_MASK, SEQNR_MASK, STABLE_FLAG, UNSTABLE_FLAG
from ksmtrio.units import PAGE_SIZE
from tests.kernel_world import AT, KernelWorld, ksm, process, run

MERGED = (ksm(["A:0", "A:1"]), process("A", 7, 7, mergeable=True))


def test_flags_and_sequence_number_fit_below_the_page_address() -> None:
    assert STABLE_FLAG & UNSTABLE_FLAG == 0
    assert (STABLE_FLAG | UNSTABLE_FLAG) & SEQNR_MASK == 0
    assert STABLE_FLAG | UNSTABLE_FLAG | SEQNR_MASK < PAGE_SIZE
    assert PAGE_MASK & PAGE_SIZE
    assert not PAGE_MASK & (PAGE_SIZE - 1)


def test_nothing_is_registered_and_counted_at_boot() -> None:
    w = KernelWorld(process("A", 1))
    assert w.counters() == (0, 0, 0, 0)
    assert w.ksm.list_empty.value
    assert w.ksm.cursor._mm_slot is w.ksm.head
    assert w.ksm.head.mm is None


def test_hlist_is_changed_only_under_the_lock_of_the_page_at_kpfn() -> None:
    async def with_lock(w: KernelWorld) -> None:
        node = w.node("A:0")
        await w.page("A:0").page_lock.lock(AT)
        node.hlist = node.hlist
        await w.page("A:0").page_lock.unlock(AT)

    async def with_mutex_only(w: KernelWorld) -> None:
        node = w.node("A:0")
        await w.ksm.ksm_thread_mutex.lock(AT)
        node.hlist = node.hlist
        await w.ksm.ksm_thread_mutex.unlock(AT)

    run(with_lock, *MERGED)
    assert KernelWorld(*MERGED, guarded=False).go(with_mutex_only).found == [
        "locks:unguarded-access"
    ]


def test_holder_of_the_mutex_may_look_at_the_hlist() -> None:
    async def body(w: KernelWorld) -> None:
        await w.ksm.ksm_thread_mutex.lock(AT)
        assert len(w.node("A:0").hlist) == 2
        await w.ksm.ksm_thread_mutex.unlock(AT)

    run(body, *MERGED)


def test_rmap_walker_may_read_an_item_under_the_page_lock_but_not_change_it() -> None:
    async def body(w: KernelWorld) -> None:
        item = w.item("A:0")
        await w.page("A:0").page_lock.lock(AT)
        assert item.address & STABLE_FLAG
        w.log.append(list(w.found))
        item.address = item.address
        await w.page("A:0").page_lock.unlock(AT)

    w = KernelWorld(*MERGED, guarded=False).go(body)
    assert w.log == [[]]
    assert w.found == ["locks:unguarded-access"]


def test_trees_belong_to_the_holder_of_the_mutex() -> None:
    async def body(w: KernelWorld) -> None:
        assert w.ksm.stable_root

    assert KernelWorld(*MERGED, guarded=False).go(body).found == ["locks:unguarded-access"]


def test_cursor_slot_is_written_under_the_list_lock() -> None:
    async def body(w: KernelWorld) -> None:
        await w.ksm.ksm_thread_mutex.lock(AT)
        w.ksm.cursor.mm_slot = w.ksm.cursor.mm_slot
        await w.ksm.ksm_thread_mutex.unlock(AT)

    assert KernelWorld(*MERGED, guarded=False).go(body).found == ["locks:unguarded-access"]


def test_objects_are_named_by_who_made_them() -> None:
    w = KernelWorld(*MERGED)
    assert w.node("A:0").name == "start/stable_node#1"
    assert w.item("A:1").name == "start/rmap_item#2"
    assert w.ksm.head.name == "ksm_mm_head"
