# SPDX-License-Identifier: GPL-2.0-or-later
"""mlock_vma_page: the page goes to the unevictable list; clear_page_mlock: it comes back."""

from __future__ import annotations

from ksmtrio.mm.mlock_page import clear_page_mlock, mlock_vma_page
from ksmtrio.mm.mm_types import VM_LOCKED
from ksmtrio.mm.mmzone import LRU_ACTIVE_ANON, LRU_INACTIVE_ANON, LRU_UNEVICTABLE
from ksmtrio.mm.page_flags import PG_MLOCKED, PG_UNEVICTABLE
from ksmtrio.mm.swap import lru_add_drain_all
from ksmtrio.mm.vmscan import isolate_lru_page, putback_lru_page
from tests.kernel_world import AT, KernelWorld, ksm, machine, process, run


def on_list(w: KernelWorld, name: str) -> list[int]:
    return [page.pfn for page in w.g.zones[0]._lru_list[name]]


def test_a_listed_page_moves_to_the_unevictable_list() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        await page.page_lock.lock(AT)
        await mlock_vma_page(w.g, page, AT)
        await page.page_lock.unlock(AT)
        assert on_list(w, LRU_ACTIVE_ANON) == []
        assert on_list(w, LRU_UNEVICTABLE) == [page.pfn]
        assert page.flags.has(PG_MLOCKED)
        assert page.count.value == 1

    run(body, process("A", 1))


def test_an_isolated_page_moves_when_it_is_put_back() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        assert await isolate_lru_page(w.g, page) == 0
        await page.page_lock.lock(AT)
        await mlock_vma_page(w.g, page, AT)
        await page.page_lock.unlock(AT)
        assert not page.flags.has(PG_UNEVICTABLE)
        await putback_lru_page(w.g, page)
        assert on_list(w, LRU_UNEVICTABLE) == [page.pfn]

    run(body, process("A", 1))


def test_clearing_takes_the_page_back_to_an_ordinary_list() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        await page.page_lock.lock(AT)
        await mlock_vma_page(w.g, page, AT)
        await clear_page_mlock(w.g, page, AT)
        await clear_page_mlock(w.g, page, AT)
        await page.page_lock.unlock(AT)
        await lru_add_drain_all(w.g, AT)
        assert not page.flags.has(PG_MLOCKED)
        assert on_list(w, LRU_UNEVICTABLE) == []
        assert on_list(w, LRU_INACTIVE_ANON) == [page.pfn]

    run(body, process("A", 1))


def test_clearing_leaves_a_page_without_mapping_where_it_is() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        await page.page_lock.lock(AT)
        await mlock_vma_page(w.g, page, AT)
        mapping, page.mapping.value = page.mapping.value, None
        await clear_page_mlock(w.g, page, AT)
        page.mapping.value = mapping
        await page.page_lock.unlock(AT)
        assert not page.flags.has(PG_MLOCKED)
        assert on_list(w, LRU_UNEVICTABLE) == [page.pfn]

    KernelWorld(process("A", 1)).go(body, rest=False)


def test_a_first_write_in_a_locked_area_makes_an_unevictable_page() -> None:
    async def body(w: KernelWorld) -> None:
        w.vma("A:0")._vm_flags |= VM_LOCKED
        await w.store("A:0", 5)
        page = w.page("A:0")
        assert page.flags.has(PG_MLOCKED)
        assert on_list(w, LRU_UNEVICTABLE) == [page.pfn]
        assert page.count.value == 1
        w.vma("A:0")._vm_flags &= ~VM_LOCKED

    KernelWorld(process("A", "-"), machine(pagevecs=True)).go(body, rest=False)


def test_a_copy_in_a_locked_area_takes_the_mark_off_the_shared_page() -> None:
    async def body(w: KernelWorld) -> None:
        w.vma("A:0")._vm_flags |= VM_LOCKED
        shared = w.page("A:0")
        await shared.page_lock.lock(AT)
        await mlock_vma_page(w.g, shared, AT)
        await shared.page_lock.unlock(AT)
        await w.store("A:0", 5)
        assert not shared.flags.has(PG_MLOCKED)
        assert w.page("A:0").flags.has(PG_MLOCKED)
        assert on_list(w, LRU_UNEVICTABLE) == [w.page("A:0").pfn]

    parts = (ksm(["A:0", "A:1"]), process("A", 7, 7, mergeable=True))
    KernelWorld(*parts).go(body, rest=False)
