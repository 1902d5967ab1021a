# SPDX-License-Identifier: GPL-2.0-or-later
"""mlock_vma_page: the page goes to the unevictable list, from wherever it is."""

from __future__ import annotations

from ksmtrio.mm.mlock_page import mlock_vma_page
from ksmtrio.mm.mmzone import LRU_ACTIVE_ANON, LRU_UNEVICTABLE
from ksmtrio.mm.page_flags import PG_MLOCKED, PG_UNEVICTABLE
from ksmtrio.mm.vmscan import isolate_lru_page, putback_lru_page
from tests.kernel_world import AT, KernelWorld, process, run


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
