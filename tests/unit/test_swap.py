# SPDX-License-Identifier: GPL-2.0-or-later
"""Pagevecs: the references they hold, when they empty, and what that frees."""

from __future__ import annotations

from ksmtrio.mm.mmzone import LRU_ACTIVE_ANON, LRU_INACTIVE_ANON, LRU_UNEVICTABLE, PAGEVEC_SIZE
from ksmtrio.mm.page_alloc import alloc_page
from ksmtrio.mm.page_flags import PG_ACTIVE, PG_LRU, PG_MLOCKED, PG_UNEVICTABLE
from ksmtrio.mm.swap import (
    add_page_to_unevictable_list,
    get_page,
    lru_add_drain,
    lru_add_drain_all,
    lru_cache_add_lru,
    put_page,
)
from tests.kernel_world import AT, KernelWorld, machine, process, run


def pagevec(w: KernelWorld, cpu: int = 0) -> list[int]:
    return [page.pfn for pages in w.g.per_cpu[cpu]._lru_add.values() for page in pages]


def lru(w: KernelWorld, name: str, nid: int = 0) -> list[int]:
    return [page.pfn for page in w.g.zones[nid]._lru_list[name]]


def test_fresh_page_waits_in_a_pagevec_with_an_extra_reference() -> None:
    async def body(w: KernelWorld) -> None:
        await w.store("A:0", 1)
        page = w.page("A:0")
        assert pagevec(w) == [page.pfn]
        assert page.count.value == 2
        assert not page.flags.has(PG_LRU)
        await lru_add_drain(w.g, AT)
        assert pagevec(w) == []
        assert page.count.value == 1
        assert page.flags.has(PG_LRU)
        assert page.flags.has(PG_ACTIVE)
        assert lru(w, LRU_ACTIVE_ANON) == [page.pfn]

    run(body, process("A", "-"))


def test_full_pagevec_drains_itself() -> None:
    async def body(w: KernelWorld) -> None:
        for number in range(PAGEVEC_SIZE - 1):
            await w.store(f"A:{number}", 1)
        assert len(pagevec(w)) == PAGEVEC_SIZE - 1
        await w.store(f"A:{PAGEVEC_SIZE - 1}", 1)
        assert pagevec(w) == []
        assert len(lru(w, LRU_ACTIVE_ANON)) == PAGEVEC_SIZE

    run(body, machine(pages_per_block=16), process("A", *["-"] * PAGEVEC_SIZE))


def test_page_unmapped_while_in_a_pagevec_is_freed_by_the_drain() -> None:
    async def body(w: KernelWorld) -> None:
        page = await alloc_page(w.g, AT)
        assert page is not None
        await lru_cache_add_lru(w.g, page, LRU_INACTIVE_ANON, AT)
        await put_page(w.g, page, AT)
        assert page.count.value == 1
        await lru_add_drain(w.g, AT)
        assert page.count.value == 0
        assert lru(w, LRU_INACTIVE_ANON) == []

    run(body)


def test_local_drain_leaves_other_cpus_alone_and_the_global_one_does_not() -> None:
    async def toucher(w: KernelWorld) -> None:
        await w.store("A:0", 1)

    async def drainer(w: KernelWorld) -> None:
        await lru_add_drain(w.g, AT)
        assert len(pagevec(w, 0)) == 1
        await lru_add_drain_all(w.g, AT)
        assert pagevec(w, 0) == []

    w = KernelWorld(machine(cpus=2), process("A", "-"), actors=("toucher", "drainer"))
    assert w.go(toucher, drainer).found == []


def test_without_pagevecs_a_page_reaches_its_list_at_once() -> None:
    async def body(w: KernelWorld) -> None:
        await w.store("A:0", 1)
        assert pagevec(w) == []
        assert w.page("A:0").count.value == 1
        assert w.page("A:0").flags.has(PG_LRU)

    run(body, machine(pagevecs=False), process("A", "-"))


def test_unevictable_list_bypasses_the_pagevecs() -> None:
    async def body(w: KernelWorld) -> None:
        page = await alloc_page(w.g, AT)
        assert page is not None
        page.flags.value |= PG_MLOCKED
        await add_page_to_unevictable_list(w.g, page, AT)
        assert page.count.value == 1
        assert page.flags.has(PG_LRU)
        assert page.flags.has(PG_UNEVICTABLE)
        assert lru(w, LRU_UNEVICTABLE) == [page.pfn]
        await put_page(w.g, page, AT)
        assert lru(w, LRU_UNEVICTABLE) == []

    run(body)


def test_putting_all_but_the_last_reference_frees_nothing() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        await get_page(page, AT)
        await put_page(w.g, page, AT)
        assert page.count.value == 1
        assert page.flags.has(PG_LRU)

    run(body, process("A", 1))


def test_page_freed_from_the_lru_leaves_its_list() -> None:
    async def body(w: KernelWorld) -> None:
        pfn = w.page("A:0").pfn
        assert lru(w, LRU_ACTIVE_ANON) == [pfn]
        await w.munmap("A:0", 1)
        assert lru(w, LRU_ACTIVE_ANON) == []

    run(body, process("A", 1))


def test_pagevec_of_another_cpu_is_guarded() -> None:
    async def body(w: KernelWorld) -> None:
        assert w.g.per_cpu[1].lru_add

    assert KernelWorld(machine(cpus=2), guarded=False).go(body).found == ["locks:unguarded-access"]
