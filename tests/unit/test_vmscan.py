# SPDX-License-Identifier: GPL-2.0-or-later
"""Isolating pages from their LRU list, and putting them back."""

from __future__ import annotations

from errno import EBUSY

from ksmtrio.mm.mmzone import LRU_ACTIVE_ANON, LRU_UNEVICTABLE
from ksmtrio.mm.page_flags import PG_ACTIVE, PG_LRU, PG_MLOCKED, PG_UNEVICTABLE
from ksmtrio.mm.swap import lru_add_drain
from ksmtrio.mm.vmscan import isolate_lru_page, putback_lru_page, putback_lru_pages
from tests.kernel_world import AT, KernelWorld, process, run, turns


def on_list(w: KernelWorld, name: str) -> list[int]:
    return [page.pfn for page in w.g.zones[0]._lru_list[name]]


def test_isolation_takes_the_page_off_its_list_with_a_reference() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        assert await isolate_lru_page(w.g, page) == 0
        assert page.count.value == 2
        assert not page.flags.has(PG_LRU)
        assert page.flags.has(PG_ACTIVE)
        assert on_list(w, LRU_ACTIVE_ANON) == []
        await putback_lru_page(w.g, page)

    run(body, process("A", 1))


def test_isolated_page_cannot_be_isolated_again() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        assert await isolate_lru_page(w.g, page) == 0
        assert await isolate_lru_page(w.g, page) == -EBUSY
        assert page.count.value == 2
        await putback_lru_page(w.g, page)

    run(body, process("A", 1))


def test_page_in_a_pagevec_cannot_be_isolated() -> None:
    async def body(w: KernelWorld) -> None:
        await w.store("A:0", 1)
        assert await isolate_lru_page(w.g, w.page("A:0")) == -EBUSY
        await lru_add_drain(w.g, AT)
        assert await isolate_lru_page(w.g, w.page("A:0")) == 0
        await putback_lru_page(w.g, w.page("A:0"))

    run(body, process("A", "-"))


def test_page_whose_last_reference_goes_after_the_first_look_is_not_isolated() -> None:
    async def isolator(w: KernelWorld) -> None:
        w.log.append(await isolate_lru_page(w.g, w.g.pages[0]))

    async def unmapper(w: KernelWorld) -> None:
        await w.munmap("A:0", 1)

    schedule = turns("isolator@isolate_lru_page.2", "unmapper@put_page.2", "isolator", "unmapper")
    w = KernelWorld(process("A", 1), actors=("isolator", "unmapper"), strategy=schedule)
    assert w.go(isolator, unmapper).found == []
    assert w.log == [-EBUSY]


def test_page_put_back_returns_by_way_of_a_pagevec() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        await isolate_lru_page(w.g, page)
        await putback_lru_page(w.g, page)
        assert page.count.value == 2
        assert not page.flags.has(PG_LRU)
        await lru_add_drain(w.g, AT)
        assert page.count.value == 1
        assert on_list(w, LRU_ACTIVE_ANON) == [page.pfn]

    run(body, process("A", 1))


def test_page_put_back_with_its_last_reference_lives_until_the_pagevec_drains() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        await isolate_lru_page(w.g, page)
        await w.munmap("A:0", 1)
        assert page.count.value == 1
        await putback_lru_page(w.g, page)
        assert page.count.value == 1
        await lru_add_drain(w.g, AT)
        assert page.count.value == 0

    run(body, process("A", 1))


def test_mlocked_page_is_put_back_onto_the_unevictable_list() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        await isolate_lru_page(w.g, page)
        await page.flags.set(AT, PG_MLOCKED)
        await putback_lru_page(w.g, page)
        assert page.flags.has(PG_UNEVICTABLE)
        assert not page.flags.has(PG_ACTIVE)
        assert on_list(w, LRU_UNEVICTABLE) == [page.pfn]
        assert page.count.value == 1

    run(body, process("A", 1))


def test_page_munlocked_while_it_is_put_back_ends_on_an_evictable_list() -> None:
    async def putter(w: KernelWorld) -> None:
        page = w.page("A:0")
        await isolate_lru_page(w.g, page)
        await page.flags.set(AT, PG_MLOCKED)
        await putback_lru_page(w.g, page)

    async def munlocker(w: KernelWorld) -> None:
        await w.page("A:0").flags.clear(AT, PG_MLOCKED)

    schedule = turns("putter@putback_lru_page.3.3", "munlocker", "putter")
    w = KernelWorld(process("A", 1), actors=("putter", "munlocker"), strategy=schedule)
    assert w.go(putter, munlocker).found == []
    assert on_list(w, LRU_UNEVICTABLE) == []
    assert w.page("A:0").count.value == 1


def test_putting_back_a_page_that_is_on_a_list_is_a_bug() -> None:
    async def body(w: KernelWorld) -> None:
        await putback_lru_page(w.g, w.page("A:0"))

    assert KernelWorld(process("A", 1)).go(body).found == ["bugs:VM_BUG_ON"]


def test_putting_a_list_back_empties_it() -> None:
    async def body(w: KernelWorld) -> None:
        pages = [w.page("A:0"), w.page("A:1")]
        for page in pages:
            await isolate_lru_page(w.g, page)
        await putback_lru_pages(w.g, pages)
        assert pages == []

    run(body, process("A", 1, 2))
